"""One layer in one direction on the vector kernels, forward and by BPTT backward.

Each pass of a layer and direction is one compiled call (`passes`): packing the weights, the time
loop, and backward the products over all rows at once, with the columns of δ that a weight sees:

    dW_ih = δᵀ x    dW_hh = δᵀ h_before    db = Σ δ    dx = δ W_ih    dW_hr = dhᵀ (o ⊙ tanh c)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.backends.numba import gate_order, gemm, passes, threads
from rnnbench.backends.numba.arrays import address, as_rows, cut, padded, solid, weight_addresses
from rnnbench.backends.numba.memory import Room, empty
from rnnbench.backends.numba.plan import (
    Forward,
    Plan,
    chunk_steps,
    part_count,
    rows_of_part,
    team_share,
    team_size,
)
from rnnbench.backends.numba.row_order import row_order
from rnnbench.bptt.recurrence import (
    LayerGradients,
    LayerPass,
    LayerResult,
    LayerWeights,
    Recurrence,
    Result,
    Start,
    Upstream,
)


class NumbaRecurrence(Recurrence):
    """One layer in one direction on the vector kernels.

    Several threads share a pass by rows of the batch, or by units where there is one row, or few
    rows and much to read; and the products behind it by rows of dx and by rows of the weights'
    gradients. Each number is summed by one thread: in a team, in the order of a thread alone; of
    rows, blocks are cut anew for each share, and a block's size says in how many parts a sum is
    made (`product`), so that another number of threads may round it otherwise.
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
        """y: memory for the output, whose rows may lie apart; None for some of its own."""
        spec, layout, x, weights, reverse = layer
        plan, order = Plan.of(spec, x.shape[1]), row_order(layout, reverse=reverse)
        N, B, H, S = layout.N, layout.B, spec.hidden_size, spec.state_size
        has_c = c0 is not None
        x, h0 = solid(x), solid(h0)
        at_weights, _alive = weight_addresses(weights)
        c0 = None if c0 is None else solid(c0)
        y, h_n = empty(x, N, S) if y is None else y, x.new_empty(B, S)
        y_row = y.stride(0)
        c_n = x.new_empty(B, H) if has_c else None
        kept_gates = empty(x, N, plan.row) if keep and spec.gates > 1 else None
        kept_c = empty(x, N, plan.c_row) if keep and has_c else None
        size = x.element_size()

        def part(
            steps: NDArray[np.int64], chunk: int, low: int, rows: int
        ) -> Callable[[NDArray[np.int64]], None]:
            own = Forward.of(
                spec, layout, plan, x.shape[1], steps, chunk=chunk, rows=rows, keep=keep
            )
            room = Room(x, *own.numbers, weights=True)
            from_h, from_c = low * S * size, low * H * size

            def run(share: NDArray[np.int64]) -> None:
                *packed, gates, c, m, p = room.addresses  # here, or the room would be gone
                passes.forward(
                    *own.head, x.data_ptr(), h0.data_ptr() + from_h, address(c0, from_c),
                    *at_weights, *packed, plan.at_zeros, address(kept_gates) or gates,
                    address(kept_c) or c, m, p, y.data_ptr(), y_row, h_n.data_ptr() + from_h,
                    address(c_n, from_c), share,
                )  # fmt: skip

            return run

        members = team_size(spec, layout, plan, x.shape[1])
        parts = 1 if members > 1 else part_count(spec, layout, x.shape[1], B)
        if parts > 1:
            threads.run(
                [
                    partial(
                        part(rows_of_part(order.steps, low, high), 1, low, high - low), plan.alone
                    )
                    for low, high in threads.ranges(B, parts)
                ]
            )
        else:
            whole = part(order.steps, chunk_steps(plan, layout), 0, B)
            if members == 1 or not threads.team(
                members, lambda who, counters: whole(team_share(plan, counters, who, members))
            ):
                whole(plan.alone)
        saved = (h0, y, kept_gates, c0, kept_c) if keep else ()
        return LayerResult(y, h_n, c_n, tuple([part for part in saved if part is not None]))

    def copy(self, y: Tensor) -> Tensor:
        return empty(y, *y.shape).copy_(y)

    def backward(
        self,
        layer: LayerPass,
        saved: tuple[Tensor, ...],
        upstream: Upstream,
        *,
        needs_dx: bool,
        spent: bool = False,
    ) -> LayerGradients:
        spec, layout, x, weights, reverse = layer
        dy, dh_n, dc_n = upstream
        if layout.N == 0:
            return _no_rows(x, weights, dh_n, dc_n)
        plan, order = Plan.of(spec, x.shape[1]), row_order(layout, reverse=reverse)
        N, B, H, S, inputs = layout.N, layout.B, spec.hidden_size, spec.state_size, x.shape[1]
        slot, s_slot, x_slot, P = plan.slot, plan.s_slot, plan.x_slot, bool(spec.proj_size)
        y, y_row = as_rows(saved[1])
        h0, *rest = map(solid, (saved[0], *saved[2:]))
        gates, c0, c = (*rest, None, None, None)[:3]
        x = solid(x)
        (w_ih, w_hh, _, _, w_hr), _alive = weight_addresses(weights)
        dy, dy_row = as_rows(dy)
        dh, dc = padded(dh_n, s_slot), None if dc_n is None else padded(dc_n, slot)
        dx = empty(x, N, x_slot) if needs_dx else None
        dw_ih, dw_hh = empty(x, len(weights.ih), x_slot), empty(x, len(weights.hh), s_slot)
        biases = [x.new_empty(len(weights.ih)) for _ in range(2 * spec.bias)]
        dw_hr = empty(x, S, slot) if P else None
        in_place = spent and gates is not None and not P
        room = Room(
            x, 0 if in_place else plan.row * N, B * slot * P, N * s_slot * P, N * slot * P,
            plan.columns,
        )  # fmt: skip
        delta, dm, dh_all, m, sums = room.addresses
        if in_place:  # δ takes the gates' place: new memory took a tenth of the pass's time
            delta = address(gates)
        zeros, size = plan.at_zeros, x.element_size()
        input_columns, hidden_columns = (
            gate_order.columns(one, slot) for one in (plan.input_order, plan.hidden_order)
        )

        def time_loop(
            steps: NDArray[np.int64], low: int, own: Room, share: NDArray[np.int64]
        ) -> None:
            passes.backward_steps(
                plan.like, steps, plan.code, H, S, plan.width,
                gate_order.rows(plan.hidden_order, H, slot), h0.data_ptr() + low * S * size,
                address(c0, low * H * size), w_hh, w_hr, *own.addresses, zeros, address(gates),
                address(c), y.data_ptr(), y_row, dy.data_ptr(), dy_row,
                dh.data_ptr() + low * s_slot * size, address(dc, low * slot * size), delta,
                dm + low * slot * size if P else 0, dh_all, share,
            )  # fmt: skip

        def products_of(rows: tuple[int, int], vectors: tuple[int, int]) -> None:
            own = Room(x, plan.backward[0], gemm.BLOCK * (plan.row + x_slot + s_slot))
            passes.backward_products(
                plan.like, order.before, plan.code, inputs, H, S, plan.width,
                gate_order.rows(plan.input_order, H, slot), input_columns, hidden_columns,
                x.data_ptr(), h0.data_ptr(), w_ih, own.addresses[0], zeros, y.data_ptr(), y_row,
                delta, own.addresses[1], sums, address(dx), dw_ih.data_ptr(), dw_hh.data_ptr(),
                *rows, *(n * plan.width for n in vectors),
            )  # fmt: skip

        members = team_size(spec, layout, plan, inputs)
        parts = 1 if members > 1 else part_count(spec, layout, inputs, B)
        if parts > 1:
            threads.run(
                [
                    partial(time_loop, rows_of_part(order.steps, *own), own[0],
                            Room(x, *plan.backward[1:], weights=True), plan.alone)
                    for own in threads.ranges(B, parts)
                ]
            )  # fmt: skip
        else:
            whole = partial(time_loop, order.steps, 0, Room(x, *plan.backward[1:], weights=True))
            if members == 1 or not threads.team(
                members, lambda who, counters: whole(team_share(plan, counters, who, members))
            ):
                whole(plan.alone)
        parts = part_count(spec, layout, inputs, N if members > 1 else B)
        halves = (threads.ranges(n, parts) for n in (N, plan.columns // plan.width))
        shares = zip(*halves, strict=True)
        threads.run([partial(products_of, *share) for share in shares])
        db_ih, db_hh = biases or (None, None)
        if spec.bias:
            passes.bias_gradients(
                plan.like, H, plan.width, input_columns, hidden_columns, sums, address(db_ih),
                address(db_hh),
            )  # fmt: skip
        if P:
            own = Room(x, gemm.BLOCK * (s_slot + slot) + s_slot)
            passes.projection_gradient(
                plan.like, N, H, S, plan.width, address(gates), address(c), dh_all, m,
                own.addresses[0], address(dw_hr), zeros,
            )  # fmt: skip
        found = LayerWeights(cut(dw_ih, inputs), cut(dw_hh, S), db_ih, db_hh, cut(dw_hr, H))
        return LayerGradients(cut(dx, inputs), cut(dh, S), cut(dc, H), found)


def _no_rows(x: Tensor, weights: LayerWeights, dh_n: Tensor, dc_n: Tensor | None) -> LayerGradients:
    """Gradients of an empty batch: sums over nothing."""
    zeros = LayerWeights(*[None if w is None else torch.zeros_like(w) for w in weights])  # type: ignore[arg-type]
    return LayerGradients(torch.zeros_like(x), dh_n, dc_n, zeros)
