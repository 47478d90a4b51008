"""A whole pass of one layer in one direction as one compiled call, packing included.

Arguments as in `layers`; b_ih is 0 for a layer without biases, w_hr for one without projection.
"""

from __future__ import annotations

import numpy as np

from rnnbench.backends.numba import gemm, layers
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gate_order import pack_biases, pack_transposed, unpack_bias
from rnnbench.backends.numba.gemm import multiply_panels
from rnnbench.backends.numba.microkernel import SAME
from rnnbench.backends.numba.packing import copy_part, pack_rows
from rnnbench.backends.numba.vector import size_of


@inlined
def _copy_last(like, steps, t, source, source_row, out, n, width):
    """Of those sequences that end with step t of the loop, the row of ``source`` to ``out``."""
    size, start, b = size_of(like), steps[t, 0], steps[t, 1]
    going_on = min(b, steps[t + 1, 1]) if t + 1 < len(steps) else 0
    for i in range(going_on, b):
        for j in range(0, n, width):
            at = source + ((start + i) * source_row + j) * size
            copy_part(like, at, n - j, out + (i * n + j) * size)


@jit
def forward(
    like, steps, chunk, keep_gates, keep_c, cell, I, H, S, width, input_gates, hidden_gates,
    x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, to_ih, to_hh, to_hr, bias, bias_u, zeros,
    gates, c, m, p, y, y_row, h_n, c_n, share,
):  # fmt: skip
    """Output and final state.

    to_ih, to_hh, to_hr, bias, bias_u   room for the packed weights
    share                               low, high, team, who and members of `layers`: as one array,
                                        since each number takes time to hand over
    """
    low, high, team, who, members = share[0], share[1], share[2], share[3], share[4]
    size, slot = size_of(like), layers.slot_of(H, width)
    pack_transposed(like, w_ih, I, input_gates, H, width, low, high, to_ih)
    pack_transposed(like, w_hh, S, hidden_gates, H, width, low, high, to_hh)
    if w_hr:
        gate = input_gates[:1]  # the gate 0 of an LSTM
        pack_transposed(like, w_hr, H, gate, S, width, SAME, layers.slot_of(S, width), to_hr)
    if b_ih:
        pack_biases(
            like, width, H, cell == layers.GRU, input_gates, b_ih, b_hh, low, high, bias, bias_u
        )
    else:
        bias = bias_u = zeros
    layers.forward(
        like, steps, chunk, keep_gates, keep_c, cell, I, H, S, width, x, h0, c0, to_ih, to_hh,
        to_hr, bias, bias_u, gates, c, m, p, zeros, y, y_row, low, high, team, who, members,
    )  # fmt: skip
    if who > 0:
        return
    for t in range(len(steps)):
        _copy_last(like, steps, t, y, y_row, h_n, S, width)
        if c0 and keep_c:
            _copy_last(like, steps, t, c, layers.apart(slot, size), c_n, H, width)
    if c0 and not keep_c:
        B = max(steps[0, 1], steps[len(steps) - 1, 1])
        c_row = layers.apart(slot, size)
        for i in range(B):
            for j in range(0, H, width):
                copy_part(like, c + (i * c_row + j) * size, H - j, c_n + (i * H + j) * size)


@jit
def backward_steps(
    like, steps, cell, H, S, width, hidden_rows, h0, c0, w_hh, w_hr, to_hh, to_hr, zeros, gates, c,
    y, y_row, dy, dy_row, dh, dc, delta, dm, dh_all, share,
):  # fmt: skip
    """The time loop: δ of all rows of ``steps``, and the initial state's gradients in dh and dc.

    to_hh, to_hr   room for the packed weights
    zeros          a row of zeros as long as any of the arrays' rows
    share          as in `forward`
    """
    low, high, team, who, members = share[0], share[1], share[2], share[3], share[4]
    size = size_of(like)
    if team:
        to_hh += low * len(hidden_rows) * size
        own = min(high, S) - low
        pack_rows(like, w_hh + low * size, S, zeros, SAME, hidden_rows, own, width, to_hh)
    else:
        pack_rows(like, w_hh, S, zeros, SAME, hidden_rows, S, width, to_hh)
    if w_hr:
        pack_rows(like, w_hr, H, zeros, SAME, np.arange(S), H, width, to_hr)
    layers.backward(
        like, steps, cell, H, S, width, h0, c0, to_hh, to_hr, gates, c, y, y_row, dy, dy_row,
        dh, dc, dm, dh_all, delta, zeros, low, high, team, who, members,
    )  # fmt: skip


@jit
def backward_products(
    like, before, cell, I, H, S, width, input_rows, input_columns, hidden_columns, x, h0, w_ih,
    to_ih, zeros, y, y_row, delta, packed, sums, dx, dw_ih, dw_hh, first, last, low, high,
):  # fmt: skip
    """dx of the rows from first to last, and the share of δ's columns from low to high in the rest.

    Rows of dx (0 if it is not asked for), dw_ih and dw_hh are whole vectors; see
    `products.weight_gradients`.
    """
    size, slot = size_of(like), layers.slot_of(H, width)
    s_slot, x_slot = layers.slot_of(S, width), layers.slot_of(I, width)
    row = layers.row_of(cell, slot, size)
    if dx:
        pack_rows(like, w_ih, I, zeros, SAME, input_rows, I, width, to_ih)
        at_once = max(1, gemm.ROWS_BYTES // (row * size))
        for n in range(first, last, at_once):
            multiply_panels(
                like, min(at_once, last - n), x_slot // width, width, delta + n * row * size, row,
                to_ih, zeros, SAME, dx + n * x_slot * size, x_slot, len(input_rows), SAME,
            )  # fmt: skip
    gemm.weight_gradients(
        like, delta, row, H, width, before, input_columns, hidden_columns, x, I, y, y_row, h0, S,
        packed, dw_ih, x_slot, dw_hh, s_slot, sums, zeros, low, high,
    )  # fmt: skip


@jit
def bias_gradients(like, H, width, input_columns, hidden_columns, sums, db_ih, db_hh):
    """From δ's sums."""
    unpack_bias(like, sums, input_columns, H, width, db_ih)
    unpack_bias(like, sums, hidden_columns, H, width, db_hh)


@jit
def projection_gradient(like, N, H, S, width, gates, c, dh_all, m, packed, dw_hr, zeros):
    """Gradient of W_hr, with rows of whole vectors; m (N, slot) is room for o ⊙ tanh c."""
    slot, s_slot = layers.slot_of(H, width), layers.slot_of(S, width)
    layers.hidden_rows(like, N, slot, width, gates, c, m)
    gemm.projection_gradient(like, dh_all, s_slot, S, N, width, m, slot, packed, dw_hr, zeros)
