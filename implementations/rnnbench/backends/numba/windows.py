r"""All windows of truncated BPTT K steps back: the vector kernels of mode "sliding".

The mathematics is `rnnbench.truncation.sliding`'s, and its ``steps_back`` is the plain reference.
δ_t(a) of window t and sequence b is one row. A step back multiplies rows by the factors of the step
at which each stands, and then all of them by one matrix:

    α, μ ← dm, dc ⊙ factors of step t − a       dh_l ← μ W_hh (+ dm ⊙ z)       dh_{l−1} += α W_ih

Windows are taken in tiles, small enough that their rows stay in the cache for all K steps back, and
large enough that a panel of W_hh serves many rows. Row (w, b) of a tile is at w·B + b; windows that
began before the sequence leave at the front. Of dh an RNN of one layer needs no more than its sum
and the next δ, so that it stays in the registers of the product.

Sums over windows are added tile by tile, age by age, window by window: always in that order, so
that they are the same bits on every run.

Rows of δ hold a cell's slots as in `cells`: the GRU's α are slots 0 to 2 and its μ slots 1 to 3.
Padding of a row stays zero. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rnnbench.backends.numba import gate_order, packing
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gemm import MOST, multiply_panels
from rnnbench.backends.numba.layers import (
    CODES,
    GRU,
    LSTM,
    RNN_RELU,
    SLOTS,
    columns_of,
    hidden_columns,
    slot_of,
)
from rnnbench.backends.numba.memory import Room
from rnnbench.backends.numba.microkernel import MOST_ROWS, PANEL, SAME, block_sums, choose_block
from rnnbench.backends.numba.packing import copy_vector
from rnnbench.backends.numba.vector import I64, Emitter, Lanes, emitted, size_of
from rnnbench.bptt.linearised import Layer, Sums
from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.spec import Spec

TILE_BYTES = 1 << 19
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


def _rnn_product(
    e: Emitter, rows: Any, vectors: Any, delta: Any, delta_row: Any, w: Any, slope: Any, total: Any,
    step_row: Any, out: Any, count: Any, K: Any,
) -> None:  # fmt: skip
    """A block of dh = δ W_hh that is not stored: it is added to ``total``, and out ← dh ⊙ slope."""
    width = e.lanes.width

    def finish(n_rows: int, n_vectors: int) -> None:
        sums = block_sums(e, n_rows, n_vectors, delta, delta_row, I64(1), w, K, None)
        masks = [e.first(e.builder.sub(count, I64(v * width))) for v in range(n_vectors)]
        for r in range(n_rows):
            for v, mask in enumerate(masks):
                dh = sums[r * n_vectors + v]
                unit = e.offset(e.builder.mul(step_row, I64(r * e.lanes.size)), v * width)
                at = e.builder.add(total, unit)
                e.store_masked(e.load_masked(at, mask) + dh, at, mask)
                factor = e.load_masked(e.builder.add(slope, unit), mask)
                e.store_masked(dh * factor, e.offset(e.offset(out, delta_row, r), v * width), mask)

    choose_block(e, rows, vectors, MOST_ROWS, finish)


rnn_product = emitted(_rnn_product)
rnn_back = emitted(_rnn_back)
gru_back = emitted(_gru_back)
lstm_back = emitted(_lstm_back)
add_row = emitted(_add_row)
add_masked = emitted(_add_masked)


@inlined
def _cell_back(like, cell, H, width, layer, rows, step, distance, dm, dm_row, dc, sum_dh, delta):
    """δ of some rows of a tile from dm and dc, which are added to the sums of their steps.

    step, distance   the first row's row of the factors, and how much further the next one's is
    sum_dh           the sum that dm goes to, or 0 where that is behind a projection
    """
    size, slot = size_of(like), slot_of(H, width)
    slots = 1 if cell <= RNN_RELU else 4
    gates = 1 if cell <= RNN_RELU else 3 if cell == GRU else 4
    vector = width * size
    for i in range(rows):
        unit = (step + i * distance) * H * size
        to_a, down = layer[TO_A] + unit * gates, dm + i * dm_row * size
        to = delta + i * slots * slot * size
        if sum_dh:
            for v in range(slot // width):
                add_row(like, down + v * vector, sum_dh + unit + v * vector, H - v * width)
        if cell <= RNN_RELU:
            for v in range(slot // width):
                j = v * vector
                rnn_back(like, to_a + j, down + j, to + j, H - v * width)
        elif cell == GRU:
            to_u, to_h = layer[TO_U] + unit * gates, layer[TO_H] + unit
            for v in range(slot // width):
                j = v * vector
                gru_back(
                    like, to_a + j, to_u + j, to_h + j, H, down + j, to + j, slot, H - v * width
                )
        else:
            to_c, past_c, sum_dc = layer[TO_C] + unit, layer[PAST_C] + unit, layer[SUM_DC] + unit
            c = dc + i * slot * size
            for v in range(slot // width):
                j = v * vector
                lstm_back(
                    like, to_a + j, to_c + j, past_c + j, H, down + j, c + j, sum_dc + j, to + j,
                    slot, H - v * width,
                )  # fmt: skip


@inlined
def _add_rows(like, S, s_slot, width, rows, step, distance, dh, total):
    """dh of some rows of a tile, added to the sums of their steps."""
    size = size_of(like)
    for i in range(rows):
        part, to = dh + i * s_slot * size, total + (step + i * distance) * S * size
        for j in range(0, S, width):
            add_row(like, part + j * size, to + j * size, S - j)


@inlined
def _add_below(like, S, s_slot, width, rows, step, distance, down, mask, dh):
    """dh of the layer below ← dh + down ⊙ dropout's mask of their steps."""
    size = size_of(like)
    for i in range(rows):
        row, factor = i * s_slot * size, mask + (step + i * distance) * S * size
        for j in range(0, S, width):
            at = row + j * size
            add_masked(like, down + at, factor + j * size, dh + at, S - j)


@inlined
def _begin(like, cell, H, S, width, rows, layers, dy, zeros):
    """dh and dc of a tile at age 0: dy in the top layer, nothing below."""
    size, slot, s_slot = size_of(like), slot_of(H, width), slot_of(S, width)
    for index in range(len(layers)):
        top = index == len(layers) - 1
        for i in range(rows):
            for j in range(0, S, width):
                to = layers[index, DH] + (i * s_slot + j) * size
                copy_vector(like, dy + (i * S + j) * size, S - j if top else 0, to)
            if cell == LSTM:
                for j in range(0, H, width):
                    copy_vector(like, zeros, 0, layers[index, DC] + (i * slot + j) * size)


@inlined
def _layer_back(
    like, cell, H, S, width, layers, index, last, start, groups, rows, step, distance, leap,
    delta, dm, down, zeros,
):  # fmt: skip
    """One layer one step back: its rows, from ``start`` on, in ``groups`` of ``rows``.

    last              whether this is the K-th step, which nothing follows
    step, distance    as in `_cell_back`; leap, from a group's to the next one's
    """
    size, slot, s_slot = size_of(like), slot_of(H, width), slot_of(S, width)
    row = columns_of(cell, slot)
    K = hidden_columns(cell, slot)
    hidden = slot if cell == GRU else 0  # the first column of δ that h's weights see
    inside = groups * rows
    layer = layers[index]
    dh, dc = layer[DH] + start * s_slot * size, layer[DC] + start * slot * size
    source, source_row, sum_dh = dh, s_slot, layer[SUM_DH]
    if dm:
        source, source_row, sum_dh = dm, slot, 0
        for g in range(groups):
            _add_rows(
                like, S, s_slot, width, rows, step + g * leap, distance,
                dh + g * rows * s_slot * size, layer[SUM_DH],
            )  # fmt: skip
        multiply_panels(
            like, inside, slot // width, width, dh, s_slot, layer[W_HR], zeros, SAME, dm, slot, S,
            SAME,
        )  # fmt: skip
    for g in range(groups):
        i = g * rows
        _cell_back(
            like, cell, H, width, layer, rows, step + g * leap, distance,
            source + i * source_row * size, source_row, dc + i * slot * size, sum_dh,
            delta + i * row * size,
        )  # fmt: skip
    if index > 0:
        below = layers[index - 1, DH] + start * s_slot * size
        to, first, first_row = (down, zeros, SAME) if layer[MASK] else (below, below, s_slot)
        multiply_panels(
            like, inside, s_slot // width, width, delta, row, layer[W_IH], first, first_row,
            to, s_slot, K, SAME,
        )  # fmt: skip
        if layer[MASK]:
            for g in range(groups):
                i = g * rows * s_slot * size
                _add_below(
                    like, S, s_slot, width, rows, step + g * leap, distance, down + i,
                    layer[MASK], below + i,
                )  # fmt: skip
    if not last:
        first, first_row = (dh, s_slot) if cell == GRU else (zeros, SAME)
        multiply_panels(
            like, inside, s_slot // width, width, delta + hidden * size, row, layer[W_HH],
            first, first_row, dh, s_slot, K, SAME,
        )  # fmt: skip


@inlined
def _rnn_rows_back(like, H, width, layer, rows, step, distance, delta, out):
    """δ of some rows of an RNN's tile a step back, from those of the step after it."""
    size, slot = size_of(like), slot_of(H, width)
    for start in range(0, slot, PANEL * width):
        panel = min(PANEL, (slot - start) // width)
        blocks = (rows + MOST[panel] - 1) // MOST[panel]
        done = 0
        for block in range(1, blocks + 1):
            now = rows * block // blocks - done
            unit = ((step + done * distance) * H + start) * size
            w = layer[W_HH] + start * slot * size
            rnn_product(
                like, now, panel, delta + done * slot * size, slot, w, layer[TO_A] + unit,
                layer[SUM_DH] + unit, distance * H, out + (done * slot + start) * size, H - start,
                slot,
            )  # fmt: skip
            done += now


@jit
def tile_back(
    like, cell, H, S, width, B, k, first, stride, windows, layers, dy, delta, dm, down, zeros
):
    """One tile of windows through all of its steps, added to the sums.

    first, stride    the step of the first window's loss, and steps from one window to the next
    layers           (L, COLUMNS) addresses; of the tile's rows, dh (windows·B, slot of S) and dc
    dy               (windows·B, S)
    delta, dm, down  room for the tile's rows; dm with a projection, down with dropout
    """
    size, s_slot = size_of(like), slot_of(S, width)
    fused = cell <= RNN_RELU and len(layers) == 1
    _begin(like, cell, H, S, width, windows * B, layers, dy, zeros)
    for age in range(k):
        gone = min(windows, max(0, (age - first + stride - 1) // stride))
        inside = windows - gone
        if inside == 0:
            return
        step = (first + gone * stride - age) * B
        groups, rows, distance = inside, B, 1
        if stride == 1 or B == 1:  # one distance from each row to the next
            groups, rows, distance = 1, inside * B, stride
        if fused and age > 0:
            # δ goes from step to step, to and fro between two arrays, and dh is never stored
            after, now = (delta, layers[0, DH]) if age % 2 else (layers[0, DH], delta)
            for g in range(groups):
                row = (gone * B + g * rows) * s_slot * size
                _rnn_rows_back(
                    like, H, width, layers[0], rows, step + g * stride * B, distance, after + row,
                    now + row,
                )  # fmt: skip
            continue
        for index in range(len(layers) - 1, -1, -1):
            _layer_back(
                like, cell, H, S, width, layers, index, age + 1 == k or fused, gone * B, groups,
                rows, step, distance, stride * B, delta, dm, down, zeros,
            )  # fmt: skip


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def steps_back(spec: Spec, layers: Sequence[Layer], dy: Tensor, steps: range, k: int) -> list[Sums]:
    """All windows K steps back; arguments and result are those of
    `rnnbench.bptt.linearised.Kernel`.

    float32 and float64 on the CPU.
    """
    T, B = layers[0].jacobian.to_a.shape[:2]
    H, S, G, width = spec.hidden_size, spec.state_size, spec.gates, Lanes.of(spec.dtype).width
    slot, s_slot = (-(-n // width) * width for n in (H, S))
    row, has_c, projected = SLOTS[spec.cell] * slot, spec.has_cell_state, bool(spec.proj_size)
    footprint = (s_slot + slot * has_c + row + (2 * G + 2) * H) * dy.element_size()
    tile = max(1, TILE_BYTES // max(1, B * footprint))
    if tile > MOST[PANEL]:
        tile -= tile % MOST[PANEL]  # whole blocks of rows
    rows = min(tile, len(steps)) * B

    like, dy = np.dtype(spec.dtype).type(0), dy.contiguous()
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
    spec: Spec, weights: LayerWeights, below: bool, like: np.floating[Any], width: int, zeros: int,
    room: Sequence[int],
) -> None:  # fmt: skip
    """W_hh, W_ih (where there is a layer below) and W_hr at ``room``, as products of rows of δ."""
    H, S = spec.hidden_size, spec.state_size
    slot = -(-H // width) * width
    w_hh, w_ih, w_hr = room
    hidden, inputs = (
        gate_order.rows(order[spec.cell], H, slot)
        for order in (gate_order.HIDDEN, gate_order.INPUT)
    )
    seen = [(weights.hh, hidden, S, w_hh)]
    if below:
        seen.append((weights.ih, inputs, S, w_ih))
    if weights.hr is not None:
        seen.append((weights.hr, np.arange(S), H, w_hr))
    for weight, index, columns, to in seen:
        w = weight.contiguous()
        packing.pack_rows(like, w.data_ptr(), columns, zeros, 0, index, columns, width, to)
