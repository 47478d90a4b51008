"""Products of whole matrices by the microkernel: panels of B outside, rows of A inside.

A panel of B stays in the second-level cache while all rows of A go past it. Rows are split into
blocks of sizes as equal as can be: 16 rows with at most 6 to a block are 5 + 5 + 6, not 6 + 6 + 4.
"""

from __future__ import annotations

import numpy as np

from rnnbench.backends.numba.compiling import inlined, jit, shared
from rnnbench.backends.numba.microkernel import (
    MOST_ROWS,
    NEXT,
    PANEL,
    SAME,
    multiply_block,
    multiply_one_row,
)
from rnnbench.backends.numba.packing import add_rows, copy_vector, pack_rows
from rnnbench.backends.numba.vector import processor, size_of

MOST = (1, MOST_ROWS[1], MOST_ROWS[2], MOST_ROWS[3], MOST_ROWS[4])

LANES = tuple(processor().vector_bytes // size if size in (4, 8) else 0 for size in range(9))
"""Bytes of a number → how many are in a vector."""

DEPTH = 256
"""Terms of a sum over k that are added up before they join the total."""
PARTIAL = 64
"""Terms of a sum over rows that are added up before they join the total."""
BLOCK = 256
"""Rows that are packed at a time for such a sum."""
COLUMN_BYTES = 1 << 10
"""Column tile of δ, in bytes: all of the other factor is multiplied by it before the next one. Its
part of δ and of the result stay in the second-level cache, which all columns would fill."""
ROWS_BYTES = 1 << 19
"""Row tile of δ, in bytes, which stays in the second-level cache while all panels meet it."""


@shared
def multiply_rows(
    like, rows, vectors, a, a_row, a_k, b, c0, c0_row, c0_vector, c, c_row, c_vector, K, ahead
):  # fmt: skip
    """Compute C ← C₀ + A B for one panel of B and any number of rows.

    Arguments as in `microkernel.multiply_block`, but for

    ahead   the panel that is multiplied next, of as many vectors; the blocks of rows ask for it in
            turn, and for the next DEPTH rows of this one as long as there are more

    Sums of more than DEPTH terms are made of partial sums: one of all K = 1536 terms of a GRU with
    512 units rounded so often in a row that dx missed its budget.
    """
    size = size_of(like)
    row_of_b = vectors * LANES[size]
    most = MOST[vectors]
    blocks = 1 if rows <= most else (rows + most - 1) // most  # dividing takes a fifth of one row
    for k in range(0, max(K, 1), DEPTH):
        if k > 0:
            c0, c0_row, c0_vector = c, c_row, c_vector
        terms = min(DEPTH, K - k)
        following = b + (k + terms) * row_of_b * size if k + terms < K else ahead
        done = asked = 0
        for block in range(1, blocks + 1):
            now = rows if blocks == 1 else rows * block // blocks - done
            multiply_block(
                like, now, vectors, a + (done * a_row + k * a_k) * size, a_row, a_k,
                b + k * row_of_b * size, c0 + done * c0_row * size, c0_row, c0_vector,
                c + done * c_row * size, c_row, c_vector, terms,
                following + asked * terms * LANES[size] * size,
            )  # fmt: skip
            done += now
            asked = asked + 1 if asked + 1 < vectors else 0


@jit
def multiply(
    like, rows, vectors, a, a_row, a_k, b, c0, c0_row, c0_vector, c, c_row, c_vector, K, ahead
):  # fmt: skip
    """Do as `multiply_rows`; the product of a single row needs no call."""
    if rows == 1 and K <= DEPTH:
        multiply_one_row(like, vectors, a, a_k, b, c0, c0_vector, c, c_vector, K)
    else:
        multiply_rows(
            like, rows, vectors, a, a_row, a_k, b, c0, c0_row, c0_vector, c, c_row, c_vector, K,
            ahead,
        )  # fmt: skip


@jit
def multiply_panels(like, rows, vectors, width, a, a_row, b, c0, c0_row, c, c_row, K, turn):
    """Compute C ← C₀ + A B for all of B: its ``vectors`` vectors are C's columns in order.

    DEPTH columns of A go past all panels before the next do: of an LSTM with 512 units in float64
    a step's δ is half of the second-level cache, and was read from the third for each panel.

    turn   whether to begin with the last panel: every other step of a time loop does, and finds in
           the first-level cache what the step before has read last
    """
    size = size_of(like)
    panels = (vectors + PANEL - 1) // PANEL
    for k in range(0, max(K, 1), DEPTH):
        terms = min(DEPTH, K - k)
        if k > 0:
            c0, c0_row = c, c_row
        for n in range(panels):
            start = (panels - 1 - n if turn else n) * PANEL
            panel = min(PANEL, vectors - start)
            first = start * width * size
            after = n + 1 if n + 1 < panels else n
            next_start = (panels - 1 - after if turn else after) * PANEL
            next_panel = min(PANEL, vectors - next_start)
            multiply(
                like, rows, panel, a + k * size, a_row, NEXT,
                b + (K * start + k * panel) * width * size, c0 + first, c0_row, width, c + first,
                c_row, width, terms, b + (K * next_start + k * next_panel) * width * size,
            )  # fmt: skip


@jit
def pack_delta(like, delta, distance, first, rows, low, high, width, packed, sums, zeros):
    """Pack δ's columns from ``low`` to ``high``: packed[vector][row][lane]; sums ← sums + Σ δ.

    The sums begin with the first row: they need not be set before.

    Rows of δ lie a power of two apart more often than not, where they would share a cache set.
    """
    size = size_of(like)
    for j in range(low, high, width):
        out = packed + j * rows * size
        if first == 0:
            copy_vector(like, zeros, width, sums + j * size)
        for n in range(rows):
            copy_vector(
                like, delta + ((first + n) * distance + j) * size, width, out + n * width * size
            )
        for n in range(0, rows, PARTIAL):
            add_rows(like, out + n * width * size, min(PARTIAL, rows - n), sums + j * size)


@jit
def add_outer(
    like, delta, first, rows, low, high, columns, H, source, vectors, width, out, out_row, zeros
):  # fmt: skip
    """Add Σ_n δ_n r_nᵀ over the rows of one block to out, for δ's columns from low to high.

    The first block begins the sums: out need not be set before.

    delta        packed by `pack_delta`; source, the rows r_n, by `packing.pack_rows` in fours
    columns, H   the column of δ where each of the weight's gates begins, and how many it has; gate
                 g gives rows g·H … (g+1)·H of ``out``

    One sum over all N rows would round N times in a row, with an error that grows like √N; with
    partial sums it grows like √PARTIAL + √(N/PARTIAL). They also keep a panel's part of ``source``
    in the first-level cache while all of δ goes past it.
    """
    size = size_of(like)
    at_once = COLUMN_BYTES // size
    for g in range(len(columns)):
        begin, end = max(0, low - columns[g]), min(H, high - columns[g])
        for part in range(begin, end, at_once):
            for start in range(0, vectors, PANEL):
                panel = min(PANEL, vectors - start)
                to_b = source + start * rows * width * size
                for n in range(0, rows, PARTIAL):
                    terms, b = min(PARTIAL, rows - n), to_b + n * panel * width * size
                    for j in range(part, min(end, part + at_once), width):
                        a = delta + ((columns[g] + j) * rows + n * width) * size
                        c = out + ((g * H + j) * out_row + start * width) * size
                        c0, c0_row, c0_vector = c, out_row, width
                        if first + n == 0:
                            c0, c0_row, c0_vector = zeros, SAME, SAME
                        multiply(
                            like, min(width, H - j), panel, a, NEXT, width, b, c0, c0_row,
                            c0_vector, c, out_row, width, terms, b,
                        )  # fmt: skip


@inlined
def weight_gradients(like, z, a, before, input_columns, hidden_columns, low, high, packed):
    """Add up the gradients of W_ih and W_hh, and δ's sums for the biases, in one pass.

    z, a        `records.Sizes` and `records.Backward`
    before      (N,): the row of y that holds h_{t−1}, or ~i for row i of h0
    low, high   the columns of δ whose share is added, in whole vectors
    packed      room for BLOCK rows of δ, of x and of h in whole vectors
    """
    size, width, zeros = size_of(like), z.width, z.zeros
    to_x = packed + BLOCK * z.row * size
    to_h = to_x + BLOCK * z.x_slot * size
    for first in range(0, len(before), BLOCK):
        index = before[first : first + BLOCK]
        rows = len(index)
        pack_delta(like, a.delta, z.row, first, rows, low, high, width, packed, a.sums, zeros)
        own = np.arange(first, first + rows)
        pack_rows(like, a.x, z.I, a.x, z.I, own, z.I, width, to_x)
        pack_rows(like, a.y, a.y_row, a.h0, z.S, index, z.S, width, to_h)
        add_outer(
            like, packed, first, rows, low, high, input_columns, z.H, to_x, z.x_slot // width,
            width, a.dw_ih, z.x_slot, zeros,
        )  # fmt: skip
        add_outer(
            like, packed, first, rows, low, high, hidden_columns, z.H, to_h, z.s_slot // width,
            width, a.dw_hh, z.s_slot, zeros,
        )  # fmt: skip


@inlined
def projection_gradient(like, z, a, packed):
    """Compute the gradient of W_hr: (S, slot) ← Σ_n dh_n m_nᵀ, with rows of whole vectors."""
    size, width, slot, s_slot, zeros = size_of(like), z.width, z.slot, z.s_slot, z.zeros
    to_m = packed + BLOCK * s_slot * size
    columns = np.zeros(1, np.int64)
    sums = to_m + BLOCK * slot * size
    for first in range(0, a.N, BLOCK):
        own = np.arange(first, min(a.N, first + BLOCK))
        pack_delta(
            like, a.dh_all, s_slot, first, len(own), SAME, s_slot, width, packed, sums, zeros
        )
        pack_rows(like, a.m, slot, a.m, slot, own, slot, width, to_m)
        add_outer(
            like, packed, first, len(own), SAME, s_slot, columns, z.S, to_m, slot // width, width,
            a.dw_hr, slot, zeros,
        )  # fmt: skip
