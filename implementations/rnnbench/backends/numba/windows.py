r"""All windows of truncated BPTT K steps back: the vector kernels of mode "sliding".

The mathematics is `rnnbench.truncation.sliding`'s, and its ``steps_back`` is the plain reference.
δ_t(a) of window t and sequence b is one row. A step back multiplies rows by the factors of the step
at which each stands, and then all of them by one matrix:

    α, μ ← dm, dc ⊙ factors of step t − a       dh_l ← μ W_hh (+ dm ⊙ z)       dh_{l−1} += α W_ih

Windows are taken in tiles, small enough that their rows stay in the cache for all K steps back, and
large enough that a panel of W_hh serves many rows. Row (w, b) of a tile is at w·B + b; windows that
began before the sequence leave at the front. Sums over windows are added tile by tile, age by age,
window by window: always in that order, so that they are the same bits on every run.

Rows of δ hold a cell's slots as in `cells`: the GRU's α are slots 0 to 2 and its μ slots 1 to 3.
Padding of a row stays zero. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.backends.numba import gate_order, packing
from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.layers import CODES, GRU, LSTM, RNN_RELU, SLOTS, slot_of
from rnnbench.backends.numba.memory import Room
from rnnbench.backends.numba.packing import copy_vector
from rnnbench.backends.numba.products import multiply_panels
from rnnbench.backends.numba.vector import Emitter, Lanes, emitted
from rnnbench.linearised import Layer, Sums
from rnnbench.recurrence import LayerWeights
from rnnbench.spec import Spec

TILE_BYTES = 1 << 17
"""Of a tile's rows in one layer, with the factors that they meet: a part of the second-level
cache, whose rest is for the weights."""

COLUMNS = 13
TO_A, TO_U, TO_H, TO_C, PAST_C, MASK, DH, DC, W_HH, W_IH, W_HR, SUM_DH, SUM_DC = range(COLUMNS)
"""Columns of a layer's addresses; 0 stands for what it has not."""


def _rnn_back(e: Emitter, slope: Any, dm: Any, delta: Any, count: Any) -> None:
    mask = e.first(count)
    e.store(e.load_masked(dm, mask) * e.load_masked(slope, mask), delta)


def _gru_back(
    e: Emitter, to_a: Any, to_u: Any, to_h: Any, H: Any, dh: Any, delta: Any, slot: Any, count: Any
) -> None:
    """dh on return is what goes past the gates."""
    mask = e.first(count)
    d = e.load_masked(dh, mask)
    for s, gate in enumerate((2, 0, 1)):
        factor = e.load_masked(e.offset(to_a, H, gate), mask)
        e.store(d * factor, e.offset(delta, slot, s))
    e.store(d * e.load_masked(e.offset(to_u, H, 2), mask), e.offset(delta, slot, 3))
    e.store(d * e.load_masked(to_h, mask), dh)


def _lstm_back(
    e: Emitter, to_a: Any, to_c: Any, past_c: Any, H: Any, dm: Any, dc: Any, total: Any,
    delta: Any, slot: Any, count: Any,
) -> None:  # fmt: skip
    """dc is the next step's, on return ∂L/∂c_{t−1}; this step's own is added to ``total``."""
    mask = e.first(count)
    d = e.load_masked(dm, mask)
    c = d.fma(e.load_masked(to_c, mask), e.load_masked(dc, mask))
    e.store_masked(e.load_masked(total, mask) + c, total, mask)
    for s, source in enumerate((c, c, c, d)):
        factor = e.load_masked(e.offset(to_a, H, s), mask)
        e.store(source * factor, e.offset(delta, slot, s))
    e.store(c * e.load_masked(past_c, mask), dc)


def _add_row(e: Emitter, part: Any, total: Any, count: Any) -> None:
    mask = e.first(count)
    e.store_masked(e.load_masked(total, mask) + e.load_masked(part, mask), total, mask)


def _add_masked(e: Emitter, part: Any, factor: Any, total: Any, count: Any) -> None:
    """total ← total + part ⊙ factor, of which ``count`` numbers exist."""
    mask = e.first(count)
    product = e.load_masked(part, mask).fma(e.load_masked(factor, mask), e.load_masked(total, mask))
    e.store(product, total)


rnn_back = emitted(_rnn_back)
gru_back = emitted(_gru_back)
lstm_back = emitted(_lstm_back)
add_row = emitted(_add_row)
add_masked = emitted(_add_masked)


@jit
def _cell_back(
    like, cell, H, width, B, layer, from_row, windows, first_row, stride, dm, dm_row, delta
):
    """δ of all windows of a tile that are inside, from ``dm`` and dc.

    from_row   the first window's first row in the tile
    first_row  the row of the factors at which it stands; the next one's is stride · B further
    """
    size, slot = like.itemsize, slot_of(H, width)
    slots = 1 if cell <= RNN_RELU else 4
    gates = 1 if cell <= RNN_RELU else 3 if cell == GRU else 4
    for w in range(windows):
        for b in range(B):
            row, at = from_row + w * B + b, first_row + w * stride * B + b
            to_a = layer[TO_A] + at * gates * H * size
            unit = at * H * size
            down, to = dm + row * dm_row * size, delta + row * slots * slot * size
            for j in range(0, H * size, width * size):
                count = H - j // size
                if cell <= RNN_RELU:
                    rnn_back(like, to_a + j, down + j, to + j, count)
                elif cell == GRU:
                    gru_back(
                        like, to_a + j, layer[TO_U] + at * gates * H * size + j,
                        layer[TO_H] + unit + j, H, down + j, to + j, slot, count,
                    )  # fmt: skip
                else:
                    lstm_back(
                        like, to_a + j, layer[TO_C] + unit + j, layer[PAST_C] + unit + j, H,
                        down + j, layer[DC] + row * slot * size + j, layer[SUM_DC] + unit + j,
                        to + j, slot, count,
                    )  # fmt: skip


@jit
def _add_rows_to_steps(like, S, s_slot, width, B, windows, first_row, stride, dh, total):
    """Σ over windows of dh, at the step at which each of them stands."""
    size = like.itemsize
    for w in range(windows):
        for b in range(B):
            part = dh + (w * B + b) * s_slot * size
            to = total + (first_row + w * stride * B + b) * S * size
            for j in range(0, S, width):
                add_row(like, part + j * size, to + j * size, S - j)


@jit
def _add_below(
    like, S, s_slot, width, B, windows, first_row, stride, down, mask, dh
):
    """dh of the layer below ← dh + down ⊙ dropout's mask of the step."""
    size = like.itemsize
    for w in range(windows):
        for b in range(B):
            row = (w * B + b) * s_slot * size
            factor = mask + (first_row + w * stride * B + b) * S * size
            for j in range(0, S, width):
                at = row + j * size
                add_masked(like, down + at, factor + j * size, dh + at, S - j)


@jit
def tile_back(
    like, cell, H, S, width, B, k, first, stride, windows, layers, dy, delta, dm, down, zeros
):
    """One tile of windows through all of its steps, added to the sums.

    first, stride   the step of the first window's loss, and steps from one window to the next
    layers          (L, COLUMNS) addresses; of the tile's rows, dh (windows·B, slot of S) and dc
    dy              (windows·B, S)
    delta, dm, down  room for the tile's rows; dm with a projection, down with dropout
    """
    size, slot, s_slot = like.itemsize, slot_of(H, width), slot_of(S, width)
    row = (1 if cell <= RNN_RELU else 4) * slot
    K = (1 if cell <= RNN_RELU else 3 if cell == GRU else 4) * slot
    hidden = slot if cell == GRU else 0
    top = len(layers) - 1
    for index in range(len(layers)):
        for i in range(windows * B):
            for j in range(0, S, width):
                copy_vector(
                    like, dy + (i * S + j) * size, S - j if index == top else 0,
                    layers[index, DH] + (i * s_slot + j) * size,
                )  # fmt: skip
            if cell == LSTM:
                for j in range(0, H, width):
                    copy_vector(like, zeros, 0, layers[index, DC] + (i * slot + j) * size)
    for age in range(k):
        gone = min(windows, max(0, (age - first + stride - 1) // stride))
        inside = windows - gone
        if inside == 0:
            return
        rows, start = inside * B, gone * B
        step = (first + gone * stride - age) * B
        for index in range(top, -1, -1):
            layer = layers[index]
            dh = layer[DH] + start * s_slot * size
            _add_rows_to_steps(
                like, S, s_slot, width, B, inside, step, stride, dh, layer[SUM_DH]
            )
            source, source_row = layer[DH], s_slot
            if dm:
                source, source_row = dm, slot
                multiply_panels(
                    like, rows, slot // width, 4, width, dh, s_slot, layer[W_HR], zeros, 0,
                    dm + start * slot * size, slot, S,
                )  # fmt: skip
            _cell_back(
                like, cell, H, width, B, layer, start, inside, step, stride, source, source_row,
                delta,
            )  # fmt: skip
            own = delta + start * row * size
            if index > 0:
                below = layers[index - 1, DH] + start * s_slot * size
                if layer[MASK]:
                    multiply_panels(
                        like, rows, s_slot // width, 4, width, own, row, layer[W_IH], zeros, 0,
                        down, s_slot, K,
                    )  # fmt: skip
                    _add_below(
                        like, S, s_slot, width, B, inside, step, stride, down, layer[MASK], below
                    )
                else:
                    multiply_panels(
                        like, rows, s_slot // width, 4, width, own, row, layer[W_IH], below, s_slot,
                        below, s_slot, K,
                    )  # fmt: skip
            if age + 1 < k:
                past, past_row = (dh, s_slot) if cell == GRU else (zeros, 0)
                multiply_panels(
                    like, rows, s_slot // width, 4, width, own + hidden * size, row, layer[W_HH],
                    past, past_row, dh, s_slot, K,
                )  # fmt: skip


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def steps_back(spec: Spec, layers: Sequence[Layer], dy: Tensor, steps: range, k: int) -> list[Sums]:
    """All windows K steps back; arguments and result are those of `rnnbench.linearised.Kernel`.

    float32 and float64 on the CPU.
    """
    T, B = layers[0].jacobian.to_a.shape[:2]
    H, S, G, width = spec.hidden_size, spec.state_size, spec.gates, Lanes.of(spec.dtype).width
    slot, s_slot = (-(-n // width) * width for n in (H, S))
    row, has_c, projected = SLOTS[spec.cell] * slot, spec.has_cell_state, bool(spec.proj_size)
    footprint = (s_slot + slot * has_c + row + (2 * G + 2) * H) * dy.element_size()
    tile = min(len(steps), max(1, TILE_BYTES // max(1, B * footprint)))
    rows = tile * B

    like, dy = np.empty(1, spec.dtype), dy.contiguous()
    dropped = any(layer.mask is not None for layer in layers)
    shared = Room(dy, rows * row, rows * slot * projected, rows * s_slot * dropped)
    nothing = dy.new_zeros(max(row, s_slot))
    zeros = nothing.data_ptr()
    sums, kept = [], []
    table = np.zeros((len(layers), COLUMNS), np.int64)
    for index, layer in enumerate(layers):
        factors = [_contiguous(part) for part in (*layer.jacobian, layer.mask)]
        total = Sums(dy.new_zeros(T, B, S), dy.new_zeros(T, B, H) if has_c else None)
        room = Room(
            dy, rows * s_slot, rows * slot * has_c, G * slot * s_slot, G * slot * s_slot,
            S * slot * projected,
        )  # fmt: skip
        _pack(spec, layer.weights, index > 0, like, width, zeros, room.addresses[2:])
        table[index] = (*map(_address, factors), *room.addresses, *map(_address, total))
        sums.append(total)
        kept.append((factors, room))
    for start in range(0, len(steps), tile):
        now = steps[start : start + tile]
        tile_back(
            like, CODES[spec.cell], H, S, width, B, k, now.start, now.step, len(now), table,
            dy[start:].data_ptr(), *shared.addresses, zeros,
        )  # fmt: skip
    return sums


def _pack(
    spec: Spec, weights: LayerWeights, below: bool, like: NDArray[Any], width: int, zeros: int,
    room: Sequence[int],
) -> None:  # fmt: skip
    """W_hh, W_ih (where there is a layer below) and W_hr at ``room``, as products of rows of δ."""
    H, S = spec.hidden_size, spec.state_size
    w_hh, w_ih, w_hr = room
    seen = [(gate_order.HIDDEN, weights.hh, w_hh)]
    if below:
        seen.append((gate_order.INPUT, weights.ih, w_ih))
    for order, w, to in seen:
        index = gate_order.rows(order[spec.cell], H, width)
        w = w.contiguous()
        packing.pack_rows(like, w.data_ptr(), S, zeros, 0, index, S, width, 4, to)
    if weights.hr is not None:
        w = weights.hr.contiguous()
        packing.pack_rows(like, w.data_ptr(), H, zeros, 0, np.arange(S), H, width, 4, w_hr)
