r"""Vector kernels of truncated BPTT's mode "sliding": all windows K steps back.

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

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rnnbench.backends.numba.arrays import address, solid
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gemm import MOST, multiply_panels
from rnnbench.backends.numba.layers import GRU, LSTM, RNN_RELU
from rnnbench.backends.numba.memory import Room
from rnnbench.backends.numba.microkernel import MOST_ROWS, PANEL, SAME, block_sums, choose_block
from rnnbench.backends.numba.packing import copy_vector, pack_rows
from rnnbench.backends.numba.plan import Plan
from rnnbench.backends.numba.records import as_record
from rnnbench.backends.numba.vector import I64, Emitter, emitted, size_of
from rnnbench.bptt.linearised import Layer, Sums
from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.spec import Spec

TILE_BYTES = 1 << 19
"""Size of a tile's rows in one layer and of the factors that they meet: a part of the second-level
cache, whose rest is for the weights."""


class Addresses(
    namedtuple(
        "Addresses",
        "to_a to_u to_h to_c past_c mask dh dc w_hh w_ih w_hr sum_dh sum_dc",
    )
):
    """Addresses of one layer; 0 stands for what it has not.

    to_a … past_c     the factors of its backward step, see `rnnbench.bptt.linearised.Jacobian`
    mask              dropout's
    dh, dc            of a tile's rows, (windows·B, s_slot) and (windows·B, slot)
    w_hh, w_ih, w_hr  packed weights
    sum_dh, sum_dc    (T, B, S) and (T, B, H)
    """


class Tile(namedtuple("Tile", "B k first stride windows dy delta dm down")):
    """Some windows, and room for their rows.

    first, stride    the step of the first window's loss, and steps from one window to the next
    dy               (windows·B, S)
    delta, dm, down  δ, dh in front of a projection, and dh of the layer below in front of dropout
    """


@emitted
def rnn_back(e: Emitter, slope: Any, dm: Any, delta: Any, count: Any) -> None:
    mask = e.first(count)
    e.store(e.load_masked(dm, mask) * e.load_masked(slope, mask), delta)


@emitted
def gru_back(
    e: Emitter, to_a: Any, to_u: Any, to_h: Any, H: Any, dh: Any, delta: Any, slot: Any, count: Any
) -> None:
    """Emit δ of a GRU; dh on return is what goes past the gates."""
    mask = e.first(count)
    d = e.load_masked(dh, mask)
    for s, gate in enumerate((2, 0, 1)):
        factor = e.load_masked(e.offset(to_a, H, gate), mask)
        e.store(d * factor, e.offset(delta, slot, s))
    e.store(d * e.load_masked(e.offset(to_u, H, 2), mask), e.offset(delta, slot, 3))
    e.store(d * e.load_masked(to_h, mask), dh)


@emitted
def lstm_back(
    e: Emitter, to_a: Any, to_c: Any, past_c: Any, H: Any, dm: Any, dc: Any, total: Any,
    delta: Any, slot: Any, count: Any,
) -> None:  # fmt: skip
    """Emit δ of an LSTM and add dc to ``total``; dc is the next step's, on return ∂L/∂c_{t−1}."""
    mask = e.first(count)
    d = e.load_masked(dm, mask)
    c = d.fma(e.load_masked(to_c, mask), e.load_masked(dc, mask))
    e.store_masked(e.load_masked(total, mask) + c, total, mask)
    for s, source in enumerate((c, c, c, d)):
        factor = e.load_masked(e.offset(to_a, H, s), mask)
        e.store(source * factor, e.offset(delta, slot, s))
    e.store(c * e.load_masked(past_c, mask), dc)


@emitted
def add_row(e: Emitter, part: Any, total: Any, count: Any) -> None:
    mask = e.first(count)
    e.store_masked(e.load_masked(total, mask) + e.load_masked(part, mask), total, mask)


@emitted
def add_masked(e: Emitter, part: Any, factor: Any, total: Any, count: Any) -> None:
    """Emit total ← total + part ⊙ factor, of which ``count`` numbers exist."""
    mask = e.first(count)
    product = e.load_masked(part, mask).fma(e.load_masked(factor, mask), e.load_masked(total, mask))
    e.store(product, total)


@emitted
def rnn_product(
    e: Emitter, rows: Any, vectors: Any, delta: Any, delta_row: Any, w: Any, slope: Any, total: Any,
    step_row: Any, out: Any, count: Any, K: Any,
) -> None:  # fmt: skip
    """Emit a block of dh = δ W_hh that is not stored: total ← total + dh, and out ← dh ⊙ slope."""
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


@inlined
def _cell_back(like, z, layer, rows, step, distance, dm, dm_row, dc, sum_dh, delta):
    """Find δ of some rows of a tile from dm and dc, and add these to the sums of their steps.

    step, distance   the first row's row of the factors, and how much further the next one's is
    sum_dh           the sum that dm goes to, or 0 where that is behind a projection
    """
    size, cell, H, slot, width = size_of(like), z.cell, z.H, z.slot, z.width
    for i in range(rows):
        unit = (step + i * distance) * H
        for j in range(0, slot, width):
            one, count, gates = (unit + j) * size, H - j, (unit * z.gates + j) * size
            down, to = dm + (i * dm_row + j) * size, delta + (i * z.columns + j) * size
            if sum_dh:
                add_row(like, down, sum_dh + one, count)
            if cell <= RNN_RELU:
                rnn_back(like, layer.to_a + gates, down, to, count)
            elif cell == GRU:
                gru_back(
                    like, layer.to_a + gates, layer.to_u + gates, layer.to_h + one, H, down, to,
                    slot, count,
                )  # fmt: skip
            else:
                lstm_back(
                    like, layer.to_a + gates, layer.to_c + one, layer.past_c + one, H, down,
                    dc + (i * slot + j) * size, layer.sum_dc + one, to, slot, count,
                )  # fmt: skip


@inlined
def _add_rows(like, z, rows, step, distance, dh, total):
    """Add dh of some rows of a tile to the sums of their steps."""
    size = size_of(like)
    for i in range(rows):
        part, to = dh + i * z.s_slot * size, total + (step + i * distance) * z.S * size
        for j in range(0, z.S, z.width):
            add_row(like, part + j * size, to + j * size, z.S - j)


@inlined
def _add_below(like, z, rows, step, distance, down, mask, dh):
    """Add down ⊙ dropout's mask of their steps to dh of the layer below."""
    size = size_of(like)
    for i in range(rows):
        row, factor = i * z.s_slot * size, mask + (step + i * distance) * z.S * size
        for j in range(0, z.S, z.width):
            at = row + j * size
            add_masked(like, down + at, factor + j * size, dh + at, z.S - j)


@inlined
def _begin(like, z, tile, layers):
    """Set dh and dc of a tile at age 0: dy in the top layer, nothing below."""
    size, S = size_of(like), z.S
    for index in range(len(layers)):
        top = index == len(layers) - 1
        for i in range(tile.windows * tile.B):
            for j in range(0, S, z.width):
                to = layers[index].dh + (i * z.s_slot + j) * size
                copy_vector(like, tile.dy + (i * S + j) * size, S - j if top else 0, to)
            if z.cell == LSTM:
                for j in range(0, z.H, z.width):
                    copy_vector(like, z.zeros, 0, layers[index].dc + (i * z.slot + j) * size)


@inlined
def _layer_back(like, z, tile, layers, index, last, start, groups, rows, step, distance):
    """Take one layer one step back: its rows, from ``start`` on, in ``groups`` of ``rows``.

    last              whether this is the K-th step, which nothing follows
    step, distance    as in `_cell_back`
    """
    size, width, slot, s_slot = size_of(like), z.width, z.slot, z.s_slot
    leap = tile.stride * tile.B  # from a group's factors to the next one's
    K, inside = z.gates * slot, groups * rows
    layer = layers[index]
    dh, dc = layer.dh + start * s_slot * size, layer.dc + start * slot * size
    source, source_row, sum_dh = dh, s_slot, layer.sum_dh
    if tile.dm:
        source, source_row, sum_dh = tile.dm, slot, 0
        for g in range(groups):
            _add_rows(
                like, z, rows, step + g * leap, distance, dh + g * rows * s_slot * size,
                layer.sum_dh,
            )  # fmt: skip
        multiply_panels(
            like, inside, slot // width, width, dh, s_slot, layer.w_hr, z.zeros, SAME, tile.dm,
            slot, z.S, SAME,
        )  # fmt: skip
    for g in range(groups):
        i = g * rows
        _cell_back(
            like, z, layer, rows, step + g * leap, distance, source + i * source_row * size,
            source_row, dc + i * slot * size, sum_dh, tile.delta + i * z.columns * size,
        )  # fmt: skip
    if index > 0:
        below = layers[index - 1].dh + start * s_slot * size
        to, first, first_row = (tile.down, z.zeros, SAME) if layer.mask else (below, below, s_slot)
        multiply_panels(
            like, inside, s_slot // width, width, tile.delta, z.columns, layer.w_ih, first,
            first_row, to, s_slot, K, SAME,
        )  # fmt: skip
        if layer.mask:
            for g in range(groups):
                i = g * rows * s_slot * size
                _add_below(
                    like, z, rows, step + g * leap, distance, tile.down + i, layer.mask, below + i
                )
    if not last:
        first, first_row = (dh, s_slot) if z.cell == GRU else (z.zeros, SAME)
        multiply_panels(
            like, inside, s_slot // width, width, tile.delta + z.hidden * size, z.columns,
            layer.w_hh, first, first_row, dh, s_slot, K, SAME,
        )  # fmt: skip


@inlined
def _rnn_rows_back(like, z, layer, rows, step, distance, delta, out):
    """Find δ of some rows of an RNN's tile a step back, from those of the step after it."""
    size, H, width, slot = size_of(like), z.H, z.width, z.slot
    for start in range(0, slot, PANEL * width):
        panel = min(PANEL, (slot - start) // width)
        blocks = (rows + MOST[panel] - 1) // MOST[panel]
        done = 0
        for block in range(1, blocks + 1):
            now = rows * block // blocks - done
            unit = ((step + done * distance) * H + start) * size
            w = layer.w_hh + start * slot * size
            rnn_product(
                like, now, panel, delta + done * slot * size, slot, w, layer.to_a + unit,
                layer.sum_dh + unit, distance * H, out + (done * slot + start) * size, H - start,
                slot,
            )  # fmt: skip
            done += now


@jit
def tile_back(like, sizes, layers, tiles):
    """Take one tile of windows through all of its steps, and add it to the sums.

    sizes    `records.Sizes`
    layers   `Addresses` of each layer
    tiles    `Tile`
    """
    z, tile = sizes[0], tiles[0]
    size, B, stride = size_of(like), tile.B, tile.stride
    fused = z.cell <= RNN_RELU and len(layers) == 1
    _begin(like, z, tile, layers)
    for age in range(tile.k):
        gone = min(tile.windows, max(0, (age - tile.first + stride - 1) // stride))
        inside = tile.windows - gone
        if inside == 0:
            return
        step = (tile.first + gone * stride - age) * B
        groups, rows, distance = inside, B, 1
        if stride == 1 or B == 1:  # one distance from each row to the next
            groups, rows, distance = 1, inside * B, stride
        if fused and age > 0:
            # δ goes from step to step, to and fro between two arrays, and dh is never stored
            now, after = layers[0].dh, tile.delta
            if age % 2 == 0:
                now, after = after, now
            for g in range(groups):
                row = (gone * B + g * rows) * z.s_slot * size
                _rnn_rows_back(
                    like, z, layers[0], rows, step + g * stride * B, distance, after + row,
                    now + row,
                )  # fmt: skip
            continue
        for index in range(len(layers) - 1, -1, -1):
            _layer_back(
                like, z, tile, layers, index, age + 1 == tile.k or fused, gone * B, groups, rows,
                step, distance,
            )  # fmt: skip


def steps_back(spec: Spec, layers: Sequence[Layer], dy: Tensor, steps: range, k: int) -> list[Sums]:
    """Take all windows K steps back; arguments and result as in `rnnbench.bptt.linearised.Kernel`.

    float32 and float64 on the CPU.
    """
    T, B = layers[0].jacobian.to_a.shape[:2]
    plan, G, has_c, projected = (
        Plan.of(spec, spec.output_size), spec.gates, spec.has_cell_state, bool(spec.proj_size)
    )  # fmt: skip
    z, dy = plan.sizes, dy.contiguous()
    footprint = z.s_slot + z.slot * has_c + z.columns + (2 * G + 2) * z.H
    count = max(1, TILE_BYTES // max(1, B * footprint * dy.element_size()))
    if count > MOST[PANEL]:
        count -= count % MOST[PANEL]  # whole blocks of rows
    rows = min(count, len(steps)) * B
    dropped = any(layer.mask is not None for layer in layers)
    shared = Room(dy, rows * z.columns, rows * z.slot * projected, rows * z.s_slot * dropped)
    sums, kept, table = [], [], []
    for index, layer in enumerate(layers):
        factors = [None if part is None else solid(part) for part in (*layer.jacobian, layer.mask)]
        total = Sums(dy.new_zeros(T, B, z.S), dy.new_zeros(T, B, z.H) if has_c else None)
        room = Room(
            dy, rows * z.s_slot, rows * z.slot * has_c, G * z.slot * z.s_slot,
            G * z.slot * z.s_slot, z.S * z.slot * projected,
        )  # fmt: skip
        _pack(plan, layer.weights, index > 0, room.addresses[2:])
        own = (*map(address, factors), *room.addresses, *map(address, total))
        table.append(as_record(Addresses(*own)))
        sums.append(total)
        kept.append((factors, room))
    for start in range(0, len(steps), count):
        now = steps[start : start + count]
        tile = Tile(B, k, now.start, now.step, len(now), dy[start:].data_ptr(), *shared.addresses)
        tile_back(plan.like, plan.record, np.concatenate(table), as_record(tile))
    return sums


def _pack(plan: Plan, weights: LayerWeights, below: bool, room: Sequence[int]) -> None:
    """Pack W_hh, W_ih (where there is a layer below) and W_hr at ``room``, for rows of δ."""
    z, (w_hh, w_ih, w_hr) = plan.sizes, room
    seen = [(weights.hh, plan.hidden_rows, z.S, w_hh)]
    if below:
        seen.append((weights.ih, plan.input_rows, z.S, w_ih))
    if weights.hr is not None:
        seen.append((weights.hr, np.arange(z.S), z.H, w_hr))
    for weight, index, columns, to in seen:
        w = solid(weight)
        pack_rows(plan.like, w.data_ptr(), columns, z.zeros, 0, index, columns, z.width, to)
