"""The order of gates in a weight, and of rows in a layer's arrays.

Torch holds the gates of a weight one behind the other, each H rows. The slots of a row of ``gates``
(`cells`) hold them in another order, which differs between x's weights and h's:

    rnn    one           lstm   i, f, g, o = torch's 0, 1, 2, 3
    gru    input: slots 0 to 2 are n, r, z = torch's 2, 0, 1;  h: slots 1 to 3 are r, z, n = 0, 1, 2

Both are torch's order, begun at `Sizes.first_gate` for x and at gate 0 for h.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.packing import add_parts, copy_part, turn_tile
from rnnbench.backends.numba.vector import size_of
from rnnbench.bptt.recurrence import Layout

Integers = NDArray[np.int64]


@cache
def weight_rows(gates: int, first_gate: int, H: int, slot: int) -> Integers:
    """Return the row of a weight for each column of δ that it sees; −1, zeros, for padding."""
    own = np.arange(slot)
    order = [(first_gate + s) % gates for s in range(gates)]
    return np.concatenate([np.where(own < H, gate * H + own, -1) for gate in order])


@cache
def gate_columns(gates: int, first_gate: int, first_column: int, slot: int) -> Integers:
    """Return the column of δ where each of torch's gates begins, in torch's order."""
    return first_column + (np.arange(gates) - first_gate) % gates * slot


@jit
def pack_transposed(like, source, K, gates, first_gate, H, width, low, high, out):
    """Pack B = sourceᵀ for a product whose epilogue is the cell: source (gates·H, K).

    All gates of one vector of units make a panel; of a single gate, four vectors of units do. Only
    the panels of the units from low to high are written.
    """
    size = size_of(like)
    group = 4 if gates == 1 else gates
    first, last = low // width * gates, (high + width - 1) // width * gates
    out += K * first * width * size
    for start in range(first, last, group):
        panel = min(group, last - start)
        for v in range(panel):
            unit = (start + v) // gates * width
            row = (first_gate + v) % gates * H + unit
            for k in range(0, K, width):
                turn_tile(
                    like, source + (row * K + k) * size, K, H - unit, min(width, K - k),
                    out + (k * panel + v) * width * size, panel * width,
                )  # fmt: skip
        out += K * panel * width * size


@jit
def pack_biases(like, z, b_ih, b_hh, low, high, to, to_u):
    """Add up both biases of each slot, but for the GRU's b_hn, which stands behind the reset gate.

    Of the units from low to high.
    """
    size = size_of(like)
    for s in range(z.gates):
        gate = (z.first_gate + s) % z.gates
        for j in range(low, min(high, z.H), z.width):
            first = (gate * z.H + j) * size
            alone = z.hidden > 0 and s == 0  # the GRU's n
            add_parts(
                like, b_ih + first, z.H - j, b_hh + first, 0 if alone else z.H - j,
                to + (s * z.slot + j) * size,
            )  # fmt: skip
            if alone:
                add_parts(like, b_hh + first, z.H - j, b_hh + first, 0, to_u + j * size)


@jit
def unpack_bias(like, sums, columns, H, width, out):
    """Copy δ's sums in torch's order to out (gates·H,)."""
    size = size_of(like)
    for g in range(len(columns)):
        for j in range(0, H, width):
            copy_part(like, sums + (columns[g] + j) * size, H - j, out + (g * H + j) * size)


class RowOrder(NamedTuple):
    """Rows in the order of a direction's loop.

    steps   (T, 2): first row and number of rows of each step
    before  (N,): the row that holds h_{t−1} of each row, or ~i for row i of h0
    """

    steps: Integers
    before: Integers


def row_order(layout: Layout, *, reverse: bool) -> RowOrder:
    """Return the order in which one direction goes through a layout's rows."""
    if layout.dense:
        return _dense_order(layout.T, layout.B, reverse)
    return _make_order(np.array(layout.batch_sizes, np.int64), reverse=reverse)


@lru_cache(maxsize=64)
def _dense_order(T: int, B: int, reverse: bool) -> RowOrder:
    return _make_order(np.full(T, B, np.int64), reverse=reverse)


def _make_order(sizes: Integers, *, reverse: bool) -> RowOrder:
    starts = np.cumsum(sizes) - sizes
    row = np.arange(sizes.sum())
    step = np.repeat(np.arange(len(sizes)), sizes)
    sequence = row - starts[step]
    other = step + (1 if reverse else -1)
    inside = np.clip(other, 0, len(sizes) - 1)
    exists = (other == inside) & (sequence < sizes[inside])
    before = np.where(exists, starts[inside] + sequence, ~sequence)
    steps = np.stack([starts, sizes], axis=1)
    return RowOrder(np.ascontiguousarray(steps[::-1] if reverse else steps), before)
