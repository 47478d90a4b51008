"""The numba backend: our own vector kernels on the CPU, forward and by BPTT backward.

Each pass of a layer and direction is one compiled call (`passes`): packing the weights, the time
loop, and backward the products over all rows at once, with the columns of δ that a weight sees:

    dW_ih = δᵀ x    dW_hh = δᵀ h_before    db = Σ δ    dx = δ W_ih    dW_hr = dhᵀ (o ⊙ tanh c)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.backends.numba import gate_order, layers, passes, products, threads
from rnnbench.backends.numba.memory import Room, empty
from rnnbench.backends.numba.product import PANEL
from rnnbench.backends.numba.row_order import row_order
from rnnbench.backends.numba.vector import Lanes, processor
from rnnbench.errors import InputError
from rnnbench.jitted import Jitted
from rnnbench.recurrence import (
    LayerGradients,
    LayerResult,
    LayerWeights,
    Layout,
    Recurrence,
    Result,
)
from rnnbench.spec import Spec

CHUNK_BYTES = 1 << 17
"""Of gates whose input products are made at a time, at least: they, their inputs and the weights
stay in the second-level cache."""
CHUNK_SHARE = 4
"""A chunk is no smaller than W_ih divided by that, which is read once more for each chunk."""


class _Plan(NamedTuple):
    """What the kernels of a layer are told besides addresses; sizes in numbers.

    width                of a vector
    slot, s_slot, x_slot the sizes of c, h and x in whole vectors
    columns              the numbers in a row of gates: the cell's slots
    row, c_row           from one row of gates, or of c, to the next
    like                 what tells a kernel the dtype
    zeros, at_zeros      a row of zeros as long as any, and its address
    gates                of both orders
    shares               panels of units, which a team can share; 1 where it cannot
    alone                the share of a thread alone, see `passes.forward`
    forward, backward    packed weights in each pass, see `passes`
    """

    code: int
    width: int
    slot: int
    s_slot: int
    x_slot: int
    columns: int
    row: int
    c_row: int
    like: np.floating[Any]
    zeros: NDArray[Any]
    at_zeros: int
    input_order: gate_order.Order
    hidden_order: gate_order.Order
    gates: tuple[NDArray[np.int64], NDArray[np.int64]]
    shares: int
    alone: NDArray[np.int64]
    forward: tuple[int, ...]
    backward: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, spec: Spec, inputs: int) -> _Plan:
        width = Lanes.of(spec.dtype).width
        H, S, P = spec.hidden_size, spec.state_size, spec.proj_size
        slot, s_slot, x_slot = (-(-n // width) * width for n in (H, S, inputs))
        columns, gates = layers.SLOTS[spec.cell] * slot, spec.gates
        size = np.dtype(spec.dtype).itemsize
        row, c_row = (layers.apart.py_func(n, size) for n in (columns, slot))
        zeros = np.zeros(max(columns, s_slot, x_slot), spec.dtype)
        orders = gate_order.INPUT[spec.cell], gate_order.HIDDEN[spec.cell]
        return cls(
            layers.CODES[spec.cell], width, slot, s_slot, x_slot, columns, row, c_row,
            np.dtype(spec.dtype).type(0), zeros, zeros.ctypes.data, *orders,
            (gate_order.gates(orders[0]), gate_order.gates(orders[1])),
            -(-slot // (PANEL * width)) if gates > 1 and not P else 1,
            np.array([0, slot, 0, 0, 1]),
            (gates * slot * inputs, gates * slot * S, s_slot * H * bool(P), gates * slot, slot),
            (gates * slot * x_slot, gates * slot * s_slot, slot * S * bool(P)),
        )  # fmt: skip


def _address(tensor: Tensor | None, further: int = 0) -> int:
    """Of the tensor's memory, so many bytes further on; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr() + further


def _solid(tensor: Tensor) -> Tensor:
    """The tensor as numbers in memory one behind the other, which is all that kernels know.

    Raises InputError for a tensor whose memory was taken away.
    """
    if tensor.is_contiguous() and not tensor.is_neg() and tensor.data_ptr():
        return tensor
    if tensor.is_neg() or tensor._is_zerotensor():
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor = tensor.contiguous()
    if tensor.data_ptr() == 0 and tensor.numel():
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} has no memory behind it")
    return tensor


def _addresses(own: LayerWeights) -> tuple[list[int], list[Tensor]]:
    """Of W_ih, W_hh, b_ih, b_hh and W_hr, 0 for one that is not there; and the tensors that must
    live as long as the addresses are used."""
    addresses, alive = [], []
    for w in own:
        if w is None:
            addresses.append(0)
        else:
            alive.append(solid := _solid(w))
            addresses.append(solid.data_ptr())
    return addresses, alive


def _parts(spec: Spec, layout: Layout, inputs: int, most: int) -> int:
    """Threads for one pass over one direction, of ``most`` that are possible."""
    if most == 1 or threads.available() == 1:
        return 1
    work = layout.N * spec.gates * spec.hidden_size * (inputs + spec.state_size)
    return max(1, min(threads.available(), most, int(work // threads.WORTH_IT)))


def _members(spec: Spec, layout: Layout, plan: _Plan, inputs: int) -> int:
    """Threads that share the units of each step: several where the batch is one row.

    Not of an RNN, whose training took longer with two: its steps are short.
    """
    if plan.shares == 1 or layout.B > 1 or threads.available() == 1:
        return 1
    work = layout.N * spec.gates * spec.hidden_size * (inputs + spec.state_size)
    most = min(plan.shares, int(work // threads.TEAM_WORTH))
    if most < 2:
        return 1  # the system is asked last: it takes the longest
    return min(most, threads.available(), threads.processors())


def _share(plan: _Plan, counters: int, who: int, members: int) -> NDArray[np.int64]:
    """A member's units, whole panels (the last ones to the end of the slot), and its place."""
    panel = PANEL * plan.width
    low, high = threads.ranges(plan.shares, members)[who]
    return np.array([low * panel, min(high * panel, plan.slot), counters, who, members])


def _rows_of(steps: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    """The steps of the batch's rows from ``low`` to ``high`` alone."""
    starts, sizes = steps[:, 0] + low, np.clip(steps[:, 1] - low, 0, high - low)
    return np.stack([starts, sizes], axis=1)


class NumbaRecurrence(Recurrence):
    """One layer in one direction on the vector kernels.

    Several threads share a pass by rows of the batch, or the units where there is but one row; and
    the products behind it by rows of dx and by rows of the weights' gradients. Each number is
    summed by one thread: in a team, in the order of a thread alone; of rows, blocks are cut anew
    for each share, and a block's size says in how many parts a sum is made (`product`), so that
    another number of threads may round it otherwise.
    """

    def directions(
        self, spec: Spec, layout: Layout, calls: Sequence[Callable[[], Result]]
    ) -> Sequence[Result]:
        if len(calls) > 1 and _parts(spec, layout, spec.input_size, len(calls)) > 1:
            return threads.run_as_here(calls)
        return super().directions(spec, layout, calls)

    def both_directions(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        own: Sequence[tuple[Tensor, Tensor | None, LayerWeights]],
        *,
        keep: bool,
    ) -> tuple[Tensor, Sequence[LayerResult]]:
        y = empty(x, layout.N, len(own) * spec.state_size)
        calls = self.forward_calls(spec, layout, x, own, keep=keep)
        sides = y.split(spec.state_size, 1)
        to_sides = [partial(call, y=side) for call, side in zip(calls, sides, strict=True)]
        return y, self.directions(spec, layout, to_sides)

    def forward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        h0: Tensor,
        c0: Tensor | None,
        weights: LayerWeights,
        *,
        reverse: bool,
        keep: bool,
        y: Tensor | None = None,
    ) -> LayerResult:
        """y: memory for the output, whose rows may lie apart; None for some of its own."""
        plan, order = _Plan.of(spec, x.shape[1]), row_order(layout, reverse=reverse)
        N, B, H, S = layout.N, layout.B, spec.hidden_size, spec.state_size
        gated, has_c, P = plan.columns > plan.slot, c0 is not None, bool(spec.proj_size)
        x, h0 = _solid(x), _solid(h0)
        at_weights, _alive = _addresses(weights)
        c0 = None if c0 is None else _solid(c0)
        y, h_n = empty(x, N, S) if y is None else y, x.new_empty(B, S)
        y_row = y.stride(0)
        c_n = x.new_empty(B, H) if has_c else None
        kept_gates = empty(x, N, plan.row) if keep and gated else None
        kept_c = empty(x, N, plan.c_row) if keep and has_c else None
        size = x.element_size()

        def room(chunk: int, rows: int) -> Room:
            return Room(
                x, *plan.forward, 0 if kept_gates is not None else min(N, chunk * rows) * plan.row,
                rows * plan.c_row * (has_c and not keep), rows * plan.slot * P,
                rows * plan.s_slot * P, weights=True,
            )  # fmt: skip

        def part(
            steps: NDArray[np.int64], chunk: int, low: int, own: Room, share: NDArray[np.int64]
        ) -> None:
            *packed, gates, c, m, p = own.addresses
            from_h, from_c = low * S * size, low * H * size
            passes.forward(
                plan.like, steps, chunk, keep and gated, keep, plan.code, x.shape[1], H, S,
                plan.width, *plan.gates, x.data_ptr(), h0.data_ptr() + from_h,
                _address(c0, from_c), *at_weights, *packed, plan.at_zeros,
                _address(kept_gates) or gates, _address(kept_c) or c, m, p, y.data_ptr(), y_row,
                h_n.data_ptr() + from_h, _address(c_n, from_c), share,
            )  # fmt: skip

        chunk_bytes = max(CHUNK_BYTES, plan.forward[0] * size // CHUNK_SHARE)
        chunk = max(1, chunk_bytes // max(1, B * plan.row * size))
        parts = _parts(spec, layout, x.shape[1], B)
        members = _members(spec, layout, plan, x.shape[1])
        if parts > 1:
            threads.run(
                [
                    partial(part, _rows_of(order.steps, low, high), 1, low, room(1, high - low),
                            plan.alone)
                    for low, high in threads.ranges(B, parts)
                ]
            )  # fmt: skip
        else:
            own = room(chunk, B)
            whole = partial(part, order.steps, chunk, 0, own)
            if members == 1 or not threads.team(
                members, lambda who, counters: whole(_share(plan, counters, who, members))
            ):
                whole(plan.alone)
        saved = (h0, y, kept_gates, c0, kept_c) if keep else ()
        return LayerResult(y, h_n, c_n, tuple([part for part in saved if part is not None]))

    def copy(self, y: Tensor) -> Tensor:
        return empty(y, *y.shape).copy_(y)

    def backward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        weights: LayerWeights,
        saved: tuple[Tensor, ...],
        dy: Tensor,
        dh_n: Tensor,
        dc_n: Tensor | None,
        *,
        reverse: bool,
        needs_dx: bool,
    ) -> LayerGradients:
        if layout.N == 0:
            return _no_rows(x, weights, dh_n, dc_n)
        plan, order = _Plan.of(spec, x.shape[1]), row_order(layout, reverse=reverse)
        N, B, H, S, inputs = layout.N, layout.B, spec.hidden_size, spec.state_size, x.shape[1]
        slot, s_slot, x_slot, P = plan.slot, plan.s_slot, plan.x_slot, bool(spec.proj_size)
        y, y_row = _rows(saved[1])
        h0, *rest = map(_solid, (saved[0], *saved[2:]))
        gates, c0, c = (*rest, None, None, None)[:3]
        x = _solid(x)
        (w_ih, w_hh, _, _, w_hr), _alive = _addresses(weights)
        dy, dy_row = _rows(dy)
        dh, dc = _padded(dh_n, s_slot), None if dc_n is None else _padded(dc_n, slot)
        dx = empty(x, N, x_slot) if needs_dx else None
        dw_ih, dw_hh = empty(x, len(weights.ih), x_slot), empty(x, len(weights.hh), s_slot)
        biases = [x.new_empty(len(weights.ih)) for _ in range(2 * spec.bias)]
        dw_hr = empty(x, S, slot) if P else None
        room = Room(x, plan.row * N, B * slot * P, N * s_slot * P, N * slot * P, plan.columns)
        delta, dm, dh_all, m, sums = room.addresses
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
                _address(c0, low * H * size), w_hh, w_hr, *own.addresses, zeros, _address(gates),
                _address(c), y.data_ptr(), y_row, dy.data_ptr(), dy_row,
                dh.data_ptr() + low * s_slot * size, _address(dc, low * slot * size), delta,
                dm + low * slot * size if P else 0, dh_all, share,
            )  # fmt: skip

        def products_of(rows: tuple[int, int], vectors: tuple[int, int]) -> None:
            own = Room(x, plan.backward[0], products.BLOCK * (plan.row + x_slot + s_slot))
            passes.backward_products(
                plan.like, order.before, plan.code, inputs, H, S, plan.width,
                gate_order.rows(plan.input_order, H, slot), input_columns, hidden_columns,
                x.data_ptr(), h0.data_ptr(), w_ih, own.addresses[0], zeros, y.data_ptr(), y_row,
                delta, own.addresses[1], sums, _address(dx), dw_ih.data_ptr(), dw_hh.data_ptr(),
                *rows, *(n * plan.width for n in vectors),
            )  # fmt: skip

        parts, members = _parts(spec, layout, inputs, B), _members(spec, layout, plan, inputs)
        if parts > 1:
            threads.run(
                [
                    partial(time_loop, _rows_of(order.steps, *own), own[0],
                            Room(x, *plan.backward[1:], weights=True), plan.alone)
                    for own in threads.ranges(B, parts)
                ]
            )  # fmt: skip
        else:
            whole = partial(time_loop, order.steps, 0, Room(x, *plan.backward[1:], weights=True))
            if members == 1 or not threads.team(
                members, lambda who, counters: whole(_share(plan, counters, who, members))
            ):
                whole(plan.alone)
        parts = _parts(spec, layout, inputs, N if members > 1 else B)
        halves = (threads.ranges(n, parts) for n in (N, plan.columns // plan.width))
        shares = zip(*halves, strict=True)
        threads.run([partial(products_of, *share) for share in shares])
        db_ih, db_hh = biases or (None, None)
        if spec.bias:
            passes.bias_gradients(
                plan.like, H, plan.width, input_columns, hidden_columns, sums, _address(db_ih),
                _address(db_hh),
            )  # fmt: skip
        if P:
            own = Room(x, products.BLOCK * (s_slot + slot) + s_slot)
            passes.projection_gradient(
                plan.like, N, H, S, plan.width, _address(gates), _address(c), dh_all, m,
                own.addresses[0], _address(dw_hr), zeros,
            )  # fmt: skip
        found = LayerWeights(_cut(dw_ih, inputs), _cut(dw_hh, S), db_ih, db_hh, _cut(dw_hr, H))
        return LayerGradients(_cut(dx, inputs), _cut(dh, S), _cut(dc, H), found)


def _no_rows(x: Tensor, weights: LayerWeights, dh_n: Tensor, dc_n: Tensor | None) -> LayerGradients:
    """Gradients of an empty batch: sums over nothing."""
    zeros = LayerWeights(*[None if w is None else torch.zeros_like(w) for w in weights])  # type: ignore[arg-type]
    return LayerGradients(torch.zeros_like(x), dh_n, dc_n, zeros)


def _rows(tensor: Tensor) -> tuple[Tensor, int]:
    """The tensor with each row's numbers side by side, and the distance from row to row."""
    columns = tensor.shape[1]
    lies = tensor.stride(1) == 1 and tensor.stride(0) >= columns
    if not lies or tensor.is_neg() or tensor._is_zerotensor():
        tensor = _solid(tensor)
    return tensor, tensor.stride(0) or columns


def _padded(tensor: Tensor, size: int) -> Tensor:
    """A copy with rows of ``size`` numbers, zeros behind its own."""
    own = tensor.shape[1]
    if own == size:
        return tensor.clone(memory_format=torch.contiguous_format)
    copy = tensor.new_zeros(len(tensor), size)
    copy[:, :own] = tensor
    return copy


def _cut(tensor: Any, size: int) -> Any:
    """The tensor without the padding of its rows; None stays None."""
    if tensor is None or tensor.shape[1] == size:
        return tensor
    return tensor[:, :size].contiguous()


class Numba(Jitted):
    """Vector kernels on the CPU, on as many of torch's threads as the work is worth."""

    recurrence = NumbaRecurrence()

    def kernels(self, spec: Spec, *, training: bool) -> Sequence[Any]:
        backward = [passes.backward_steps, passes.backward_products]
        return [passes.forward, *(backward if training else [])]

    def facts(self, dtype: str) -> Mapping[str, Any]:
        return {
            "kernel": "numba vectors",
            "vectors": f"{processor().name}, {Lanes.of(dtype).width} numbers",
            "threads": threads.available(),
        }
