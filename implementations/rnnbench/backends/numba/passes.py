"""A whole pass of one layer in one direction as one compiled call, packing included.

Arguments as in `layers`, each record as an array of one (`records.as_record`).
"""

from __future__ import annotations

import numpy as np

from rnnbench.backends.numba import gemm, layers, ordering
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gemm import multiply_panels
from rnnbench.backends.numba.microkernel import SAME
from rnnbench.backends.numba.packing import copy_part, pack_rows
from rnnbench.backends.numba.vector import size_of


@inlined
def _copy_last(like, steps, t, source, source_row, out, n, width):
    """Copy to ``out`` the row of ``source`` of each sequence that ends with step t of the loop."""
    size, start, b = size_of(like), steps[t, 0], steps[t, 1]
    going_on = min(b, steps[t + 1, 1]) if t + 1 < len(steps) else 0
    for i in range(going_on, b):
        for j in range(0, n, width):
            at = source + ((start + i) * source_row + j) * size
            copy_part(like, at, n - j, out + (i * n + j) * size)


@jit
def forward(like, steps, sizes, scratch, addresses, shares, room):
    """Compute output and final state; ``room`` is the memory that ``scratch`` divides."""
    z, t, a, share = sizes[0], scratch[0], addresses[0], shares[0]
    size, H, S, low, high = size_of(like), z.H, z.S, share.low, share.high
    to_hh, to_hr = room + t.to_hh, room + t.to_hr
    ordering.pack_transposed(
        like, a.w_ih, z.I, z.gates, z.first_gate, H, z.width, low, high, room + t.to_ih
    )
    ordering.pack_transposed(like, a.w_hh, S, z.gates, SAME, H, z.width, low, high, to_hh)
    if a.w_hr:
        one = np.int64(1)  # a literal would be compiled once more
        ordering.pack_transposed(like, a.w_hr, H, one, SAME, S, z.width, SAME, z.s_slot, to_hr)
    if a.b_ih:
        ordering.pack_biases(like, z, a.b_ih, a.b_hh, low, high, room + t.bias, room + t.bias_u)
    layers.forward(like, steps, z, a, t, share, room)
    if share.who > 0:
        return
    h_n, c_n = a.h_n + share.sequence * S * size, a.c_n + share.sequence * H * size
    for step in range(len(steps)):
        _copy_last(like, steps, step, a.y, a.y_row, h_n, S, z.width)
        if a.c0 and a.c:
            _copy_last(like, steps, step, a.c, z.c_row, c_n, H, z.width)
    if a.c0 and not a.c:
        for i in range(max(steps[0, 1], steps[len(steps) - 1, 1])):
            for j in range(0, H, z.width):
                at = room + t.c + (i * z.c_row + j) * size
                copy_part(like, at, H - j, c_n + (i * H + j) * size)


@jit
def backward_steps(like, steps, sizes, hidden_rows, addresses, shares, room):
    """Run the time loop: δ of all rows of ``steps``, and the initial state's gradients.

    hidden_rows   the row of W_hh for each column of δ
    room          for the packed weights
    """
    z, a, share = sizes[0], addresses[0], shares[0]
    size, S, zeros = size_of(like), z.S, z.zeros
    to_hr = room + len(hidden_rows) * z.s_slot * size
    if share.team:
        low, to_hh = share.low, room + share.low * len(hidden_rows) * size
        own = min(share.high, S) - low
        pack_rows(like, a.w_hh + low * size, S, zeros, SAME, hidden_rows, own, z.width, to_hh)
    else:
        pack_rows(like, a.w_hh, S, zeros, SAME, hidden_rows, S, z.width, room)
    if a.w_hr:
        pack_rows(like, a.w_hr, z.H, zeros, SAME, np.arange(S), z.H, z.width, to_hr)
    layers.backward(like, steps, z, a, share, room, to_hr)


@jit
def backward_products(
    like, before, sizes, input_rows, input_columns, hidden_columns, addresses, shares, room
):  # fmt: skip
    """Compute a share of dx, dW_ih and dW_hh from δ.

    before          the row of y that holds h_{t−1} of each row, or ~i for row i of h0
    input_rows      the row of W_ih for each column of δ
    input_columns   where torch's gates begin in δ for x's weights; hidden_columns, for h's
    shares          `records.Products`
    room            for W_ih packed, and for one block of rows of δ, x and h
    """
    z, a, share = sizes[0], addresses[0], shares[0]
    size, width = size_of(like), z.width
    packed = room + len(input_rows) * z.x_slot * size
    if a.dx:
        pack_rows(like, a.w_ih, z.I, z.zeros, SAME, input_rows, z.I, width, room)
        at_once = max(1, gemm.ROWS_BYTES // (z.row * size))
        for n in range(share.first, share.last, at_once):
            multiply_panels(
                like, min(at_once, share.last - n), z.x_slot // width, width,
                a.delta + n * z.row * size, z.row, room, z.zeros, SAME,
                a.dx + n * z.x_slot * size, z.x_slot, len(input_rows), SAME,
            )  # fmt: skip
    gemm.weight_gradients(
        like, z, a, before, input_columns, hidden_columns, share.low, share.high, packed
    )


@jit
def bias_gradients(like, sizes, input_columns, hidden_columns, addresses):
    """Compute db_ih and db_hh from δ's sums."""
    z, a = sizes[0], addresses[0]
    ordering.unpack_bias(like, a.sums, input_columns, z.H, z.width, a.db_ih)
    ordering.unpack_bias(like, a.sums, hidden_columns, z.H, z.width, a.db_hh)


@jit
def projection_gradient(like, sizes, addresses, room):
    """Compute dW_hr; ``m`` (N, slot) is for o ⊙ tanh c, ``room`` for one block of rows."""
    z, a = sizes[0], addresses[0]
    layers.hidden_rows(like, a.N, z, a.gates, a.c, a.m)
    gemm.projection_gradient(like, z, a, room)
