"""One layer in one direction on the vector kernels, forward and by BPTT backward.

Each pass of a layer and direction is one compiled call (`passes`): packing the weights, the time
loop, and backward the products over all rows at once, with the columns of δ that a weight sees:

    dW_ih = δᵀ x    dW_hh = δᵀ h_before    db = Σ δ    dx = δ W_ih    dW_hr = dhᵀ (o ⊙ tanh c)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnbench.backends.numba import gemm, passes, threads
from rnnbench.backends.numba.arrays import address, as_rows, cut, padded, solid, weight_addresses
from rnnbench.backends.numba.memory import Room, empty
from rnnbench.backends.numba.ordering import Integers, RowOrder, row_order
from rnnbench.backends.numba.plan import Plan, chunk_steps, part_count, run_shared, scratch
from rnnbench.backends.numba.records import Backward, Forward, Products, Record, as_record
from rnnbench.bptt.recurrence import (
    BackwardInputs,
    LayerGradients,
    LayerPass,
    LayerResult,
    LayerWeights,
    Recurrence,
    Result,
    Start,
)


class NumbaRecurrence(Recurrence):
    """One layer in one direction on the vector kernels.

    Several threads share a pass by rows of the batch, or by units where there is one row, or few
    rows and much to read; and the products behind it by rows of dx and by rows of the weights'
    gradients. Each number is summed by one thread: in a team, in the order of a thread alone; of
    rows, blocks are cut anew for each share, and a block's size says in how many parts a sum is
    made (`microkernel`), so that another number of threads may round it otherwise.
    """

    def directions(
        self, layer: LayerPass, calls: Sequence[Callable[[], Result]]
    ) -> Sequence[Result]:
        spec, layout = layer.spec, layer.layout
        if len(calls) > 1 and part_count(spec, layout, spec.input_size, len(calls)) > 1:
            return threads.run_as_here(calls)
        return super().directions(layer, calls)

    def both_directions(
        self, starts: Sequence[Start], *, keep: bool
    ) -> tuple[Tensor, Sequence[LayerResult]]:
        layer = starts[0][0]
        y = empty(layer.x, layer.layout.N, len(starts) * layer.spec.state_size)
        sides = y.split(layer.spec.state_size, 1)
        calls = [
            partial(self.forward, *start, keep=keep, y=side)
            for start, side in zip(starts, sides, strict=True)
        ]
        return y, self.directions(layer, calls)

    def forward(
        self,
        layer: LayerPass,
        h0: Tensor,
        c0: Tensor | None,
        *,
        keep: bool,
        y: Tensor | None = None,
    ) -> LayerResult:
        """Run over all steps.

        y: memory for the output, whose rows may lie apart; None for some of its own.
        """
        spec, layout, x, weights, reverse = layer
        plan, N, B = Plan.of(spec, x.shape[1]), layout.N, layout.B
        x, h0 = solid(x), solid(h0)
        c0 = None if c0 is None else solid(c0)
        (w_ih, w_hh, b_ih, b_hh, w_hr), _alive = weight_addresses(weights)
        y, h_n = empty(x, N, spec.state_size) if y is None else y, x.new_empty(B, spec.state_size)
        c_n = None if c0 is None else x.new_empty(B, spec.hidden_size)
        gates = empty(x, N, plan.sizes.row) if keep and spec.gates > 1 else None
        c = empty(x, N, plan.sizes.c_row) if keep and c0 is not None else None
        addresses = as_record(Forward(
            x.data_ptr(), h0.data_ptr(), address(c0), w_ih, w_hh, b_ih, b_hh, w_hr,
            address(gates), address(c),
            y.data_ptr(), y.stride(0), h_n.data_ptr(), address(c_n),
        ))  # fmt: skip

        def loop(steps: Integers, rows: int) -> Callable[[Record], None]:
            chunk = chunk_steps(plan, layout) if rows == B else 1
            numbers, divided = scratch(plan, layout, chunk=chunk, rows=rows, keep=keep)
            room = empty(x, numbers)

            def run(share: Record) -> None:
                passes.forward(
                    plan.like, steps, plan.record, divided, addresses, share, room.data_ptr()
                )

            return run

        run_shared(spec, layout, plan, row_order(layout, reverse=reverse).steps, loop)
        saved = (h0, y, gates, c0, c) if keep else ()
        return LayerResult(y, h_n, c_n, tuple([part for part in saved if part is not None]))

    def copy(self, y: Tensor) -> Tensor:
        return empty(y, *y.shape).copy_(y)

    def backward(self, layer: LayerPass, given: BackwardInputs) -> LayerGradients:
        if layer.layout.N == 0:
            return _no_rows(layer, given)
        run = _BackwardPass.of(layer, given)
        run.products(as_team=run.time_loop())
        return run.gradients()


@dataclass
class _BackwardPass:
    """One backward pass and its memory.

    order   the rows in the order of the forward loop
    found   the gradients, in rows of whole vectors
    alive   what holds the memory at ``addresses`` besides ``found``
    """

    layer: LayerPass
    plan: Plan
    order: RowOrder
    addresses: Record
    found: LayerGradients
    alive: tuple[object, ...]

    @classmethod
    def of(cls, layer: LayerPass, given: BackwardInputs) -> _BackwardPass:
        """Allocate what the pass needs, from what `NumbaRecurrence.forward` saved."""
        spec, layout, x, weights, reverse = layer
        saved, dy, dh_n, dc_n, needs_dx, spent = given
        plan, N, P = Plan.of(spec, x.shape[1]), layout.N, bool(spec.proj_size)
        z = plan.sizes
        y, y_row = as_rows(saved[1])
        h0, *rest = map(solid, (saved[0], *saved[2:]))
        gates, c0, c = (*rest, None, None, None)[:3]
        x = solid(x)
        (w_ih, w_hh, _, _, w_hr), alive = weight_addresses(weights)
        dy, dy_row = as_rows(dy)
        dh, dc = padded(dh_n, z.s_slot), None if dc_n is None else padded(dc_n, z.slot)
        in_place = spent and gates is not None and not P
        room = Room(
            x, 0 if in_place else z.row * N, layout.B * z.slot * P, N * z.s_slot * P,
            N * z.slot * P, z.columns,
        )  # fmt: skip
        delta, dm, dh_all, m, sums = room.addresses
        if in_place:  # δ takes the gates' place: new memory took a tenth of the pass's time
            delta = address(gates)
        found = LayerGradients(
            empty(x, N, z.x_slot) if needs_dx else None, dh, dc,
            LayerWeights(
                empty(x, len(weights.ih), z.x_slot), empty(x, len(weights.hh), z.s_slot),
                x.new_empty(len(weights.ih)) if spec.bias else None,
                x.new_empty(len(weights.ih)) if spec.bias else None,
                empty(x, z.S, z.slot) if P else None,
            ),
        )  # fmt: skip
        dw = found.weights
        addresses = as_record(Backward(
            N, x.data_ptr(), h0.data_ptr(), address(c0), w_ih, w_hh, w_hr, address(gates),
            address(c), y.data_ptr(), y_row, dy.data_ptr(), dy_row, dh.data_ptr(), address(dc),
            delta, dm, dh_all, m, sums, address(found.dx), address(dw.ih), address(dw.hh),
            address(dw.hr), address(dw.bias_ih), address(dw.bias_hh),
        ))  # fmt: skip
        order = row_order(layout, reverse=reverse)
        held = (*alive, x, h0, gates, c0, c, y, dy, room)
        return cls(layer._replace(x=x), plan, order, addresses, found, held)

    def time_loop(self) -> bool:
        """Find δ of all rows, and the initial state's gradients; return whether as a team."""
        plan, (spec, layout, x, _, _) = self.plan, self.layer

        def loop(steps: Integers, rows: int) -> Callable[[Record], None]:
            room = empty(x, plan.backward[1])

            def run(share: Record) -> None:
                passes.backward_steps(
                    plan.like, steps, plan.record, plan.hidden_rows, self.addresses, share,
                    room.data_ptr(),
                )  # fmt: skip

            return run

        return run_shared(spec, layout, plan, self.order.steps, loop)

    def products(self, *, as_team: bool) -> None:
        """Find dx and the weights' gradients from δ."""
        plan, z, (spec, layout, x, _, _) = self.plan, self.plan.sizes, self.layer
        per_block = gemm.BLOCK * (z.row + z.x_slot + z.s_slot)

        def products_of(rows: tuple[int, int], vectors: tuple[int, int]) -> None:
            room = empty(x, plan.backward[0] + per_block)
            passes.backward_products(
                plan.like, self.order.before, plan.record, plan.input_rows, plan.input_columns,
                plan.hidden_columns, self.addresses,
                as_record(Products(*rows, *(n * z.width for n in vectors))), room.data_ptr(),
            )  # fmt: skip

        parts = part_count(spec, layout, z.I, layout.N if as_team else layout.B)
        halves = (threads.ranges(n, parts) for n in (layout.N, z.columns // z.width))
        threads.run([partial(products_of, *share) for share in zip(*halves, strict=True)])
        if spec.bias:
            passes.bias_gradients(
                plan.like, plan.record, plan.input_columns, plan.hidden_columns, self.addresses
            )
        if spec.proj_size:
            room = empty(x, gemm.BLOCK * (z.s_slot + z.slot) + z.s_slot)
            passes.projection_gradient(plan.like, plan.record, self.addresses, room.data_ptr())

    def gradients(self) -> LayerGradients:
        """Return what was found, without the rows' padding."""
        z, (dx, dh, dc, dw) = self.plan.sizes, self.found
        weights = LayerWeights(
            cut(dw.ih, z.I), cut(dw.hh, z.S), dw.bias_ih, dw.bias_hh, cut(dw.hr, z.H)
        )
        return LayerGradients(cut(dx, z.I), cut(dh, z.S), cut(dc, z.H), weights)


def _no_rows(layer: LayerPass, given: BackwardInputs) -> LayerGradients:
    """Return the gradients of an empty batch: sums over nothing."""
    zeros = LayerWeights(*[None if w is None else torch.zeros_like(w) for w in layer.weights])  # type: ignore[arg-type]
    return LayerGradients(torch.zeros_like(layer.x), given.dh_n, given.dc_n, zeros)
