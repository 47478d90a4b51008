"""Whole matrices through the register-blocked product: panels of B outside, rows of A inside.

A panel of B stays in the second-level cache while all rows of A go past it. Rows are split into
blocks of sizes as equal as can be: 16 rows with at most 6 to a block are 5 + 5 + 6, not 6 + 6 + 4.
"""

from __future__ import annotations

import numpy as np

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.packing import pack_rows
from rnnbench.backends.numba.product import MOST_ROWS, product

MOST = (1, MOST_ROWS[1], MOST_ROWS[2], MOST_ROWS[3], MOST_ROWS[4])

PARTIAL = 64
"""Terms of a sum over the rows that are added up before they join the total."""
BLOCK = 256
"""Rows that are packed at a time for such a sum."""


@jit
def multiply(like, rows, vectors, a, a_row, a_k, b, c0, c0_row, c0_vector, c, c_row, c_vector, K):
    """C ← C₀ + A B for one panel of B and any number of rows; the arguments are `product`'s."""
    size = like.itemsize
    blocks = (rows + MOST[vectors] - 1) // MOST[vectors]
    done = 0
    for block in range(1, blocks + 1):
        now = rows * block // blocks - done
        product(
            like, now, vectors, a + done * a_row * size, a_row, a_k, b,
            c0 + done * c0_row * size, c0_row, c0_vector,
            c + done * c_row * size, c_row, c_vector, K,
        )  # fmt: skip
        done += now


@jit
def multiply_panels(like, rows, vectors, group, width, a, a_row, b, c0, c0_row, c, c_row, K):
    """C ← C₀ + A B for all of B: ``vectors`` vectors in panels of ``group``, columns in order."""
    size = like.itemsize
    for start in range(0, vectors, group):
        panel = min(group, vectors - start)
        first = start * width * size
        multiply(
            like, rows, panel, a, a_row, 1, b, c0 + first, c0_row, width, c + first, c_row, width, K
        )
        b += K * panel * width * size


@jit
def add_outer(
    like,
    delta,
    distance,
    gates,
    H,
    source,
    source_row,
    other,
    index,
    I,
    width,
    packed,
    out,
    out_row,
):
    """out ← out + Σ_n δ_n r_nᵀ: a weight's gradient, over all rows n.

    gates, H     of δ (N, distance): the column where each gate begins, and how many it has; gate g
                 gives rows g·H … (g+1)·H of ``out``
    r_n          row index[n] of ``source`` (·, I), or row ~index[n] of ``other`` where that is < 0
    packed       room for BLOCK rows of whole vectors

    One sum over all N terms would round N times in a row, with an error that grows like √N; here it
    grows like √PARTIAL + √(N/PARTIAL).
    """
    size = like.itemsize
    vectors = (I + width - 1) // width
    most = MOST[4]
    for first in range(0, len(index), BLOCK):
        rows = index[first : first + BLOCK]
        pack_rows(like, source, source_row, other, I, rows, I, width, 4, packed)
        for start in range(0, vectors, 4):
            panel = min(4, vectors - start)
            b = packed + start * len(rows) * width * size
            for g in range(len(gates)):
                for j in range(0, H, most):
                    a = delta + (first * distance + gates[g] + j) * size
                    c = out + ((g * H + j) * out_row + start * width) * size
                    for k in range(0, len(rows), PARTIAL):
                        multiply(
                            like, min(most, H - j), panel, a + k * distance * size, 1, distance,
                            b + k * panel * width * size, c, out_row, width, c, out_row, width,
                            min(PARTIAL, len(rows) - k),
                        )  # fmt: skip


@jit
def add_columns(delta, gates, H, out):
    """out ← out + Σ_n δ_n: a bias's gradient, with partial sums as in `add_outer`.

    delta (N, distance) and out (gates·H,) are arrays here.
    """
    partial = np.empty(H, delta.dtype)
    for g in range(len(gates)):
        total = out[g * H : (g + 1) * H]
        for first in range(0, len(delta), PARTIAL):
            partial[:] = 0
            for row in delta[first : first + PARTIAL, gates[g] : gates[g] + H]:
                for j in range(H):
                    partial[j] += row[j]
            for j in range(H):
                total[j] += partial[j]
