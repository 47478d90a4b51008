"""The time loops of one layer in one direction, for all cells.

Forward goes through the steps in chunks: the input's products of all rows of a chunk at once, then
step by step h's products and the cell. Backward goes step by step through the cell's derivative and
δ W_hh, and leaves δ of all rows for the products that follow (`gemm.add_outer`).

``like`` is a number that says the dtype; other arguments are addresses, or sizes in numbers. Four
records (`records`) go through all functions: ``z``, the `Sizes`; ``a``, the addresses, `Forward` or
`Backward`; ``t``, how a forward pass's own memory, at ``room``, is divided, `Scratch`; ``share``,
which rows of the batch and which units this thread computes, `Share`.

    x (N, I)  h0 (B, S)  c0 (B, H)   the user's, of that shape exactly
    y (N, S)  dy (N, S)              likewise, with ``y_row`` and ``dy_row`` from row to row
    gates, delta (N, columns)        see `cells`; a chunk of them in inference; ``z.row`` apart
    c (N, slot)                      (B, slot) where nothing is kept; ``z.c_row`` apart
    m (B, slot), p (B, s_slot)       with projection: o tanh c, and W_hr m in whole vectors
    dh (B, s_slot), dc (B, slot)     on entry of the final, on return of the initial state
    to_ih, to_hh, to_hr              packed weights: forward transposed, backward as they are
    bias (gates·slot), bias_u (slot) in the order of the slots; the GRU's b_hn

Members of a team follow the same steps, each with its own units, and wait for all once in each:
forward when h is whole, backward when δ is. A team has no projection.

steps (T, 2): first row and number of rows of each step, in the order of the forward loop; a reverse
direction is the same loop over the other order. Of step t's rows, the first `_carried` follow on
the rows of the step before; the others begin with h0.
"""

from __future__ import annotations

from rnnbench.backends.numba import barrier, cells
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gemm import multiply, multiply_panels
from rnnbench.backends.numba.microkernel import NEXT, SAME
from rnnbench.backends.numba.packing import copy_part, copy_vector
from rnnbench.backends.numba.vector import size_of

RNN_TANH, RNN_RELU, GRU, LSTM = range(4)
CODES = {"rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "gru": GRU, "lstm": LSTM}
SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 4, "lstm": 4}
"""Cell → slots in a row of gates."""


@jit
def _carried(steps, t):
    return min(steps[t - 1, 1], steps[t, 1]) if t > 0 else 0


@inlined
def _project_inputs(like, z, a, t, share, room, rows, x, gates):
    """Set gates to x W_ihᵀ + bias for a chunk, and the GRU's u to b_hn."""
    size, width, slot, row, low, high = (
        size_of(like), z.width, z.slot, z.row, share.low, share.high
    )  # fmt: skip
    w_ih, bias, bias_u = room + t.to_ih, z.zeros, z.zeros
    if a.b_ih:
        bias, bias_u = room + t.bias, room + t.bias_u
    if z.cell <= RNN_RELU:
        multiply_panels(
            like, rows, (high - low) // width, width, x, z.I, w_ih + z.I * low * size,
            bias + low * size, SAME, gates + low * size, row, z.I, SAME,
        )  # fmt: skip
        return
    panel = z.gates * width * z.I * size
    for j in range(low, high, width):
        w = w_ih + j // width * panel
        after = w + panel if j + width < high else w
        multiply(
            like, rows, z.gates, x, z.I, NEXT, w, bias + j * size, SAME, slot, gates + j * size,
            row, slot, z.I, after,
        )  # fmt: skip
    if z.cell == GRU:
        for i in range(rows):
            for j in range(low, high, width):
                at = gates + (i * row + 3 * slot + j) * size
                copy_vector(like, bias_u + j * size, width, at)


@jit
def _forward_rows(
    like, z, a, t, share, room, rows, h, h_row, c_before, c_before_row, gates, c, y, turn
):  # fmt: skip
    """Run rows of one step whose states of the step before lie at ``h`` and ``c_before``.

    gates, c, y   these rows'
    turn          as in `gemm.multiply_panels`
    """
    size, cell, H, S, width, slot = size_of(like), z.cell, z.H, z.S, z.width, z.slot
    row, c_row, y_row, low, high = z.row, z.c_row, a.y_row, share.low, share.high
    w_hh = room + t.to_hh
    parts = (high - low) // width
    if cell <= RNN_RELU:
        own = gates + low * size
        multiply_panels(
            like, rows, parts, width, h, h_row, w_hh + S * low * size, own, row, own, row, S, turn
        )
        for i in range(rows):
            for j in range(low, min(high, H), width):
                at, out = gates + (i * row + j) * size, y + (i * y_row + j) * size
                if cell == RNN_TANH:
                    cells.rnn_tanh(like, at, out, H - j)
                else:
                    cells.rnn_relu(like, at, out, H - j)
        return
    m = room + t.m
    out, out_row = (m, slot) if a.w_hr else (y, y_row)
    panel = z.gates * width * S * size
    for n in range(parts):
        k = parts - 1 - n if turn else n
        j = low + k * width
        at, w = gates + (z.hidden + j) * size, w_hh + j // width * panel
        after = w
        if n + 1 < parts:
            after += -panel if turn else panel
        multiply(like, rows, z.gates, h, h_row, NEXT, w, at, row, slot, at, row, slot, S, after)
        for i in range(rows):
            own = gates + (i * row + j) * size
            if cell == GRU:
                cells.gru(
                    like, own, slot, h + (i * h_row + j) * size, y + (i * y_row + j) * size, H - j
                )
            else:
                cells.lstm(
                    like, own, slot, c_before + (i * c_before_row + j) * size,
                    c + (i * c_row + j) * size, out + (i * out_row + j) * size, H - j,
                )  # fmt: skip
    if a.w_hr:
        p, p_row = room + t.p, z.s_slot
        multiply_panels(
            like, rows, p_row // width, width, m, slot, room + t.to_hr, z.zeros, SAME, p,
            p_row, H, turn,
        )  # fmt: skip
        for i in range(rows):
            for j in range(0, S, width):
                copy_part(like, p + (i * p_row + j) * size, S - j, y + (i * y_row + j) * size)


@inlined
def forward(like, steps, z, a, t, share, room):
    """Run all steps; x's and h's weights must have been packed before."""
    size = size_of(like)
    row, c_row = z.row * size, z.c_row * size
    h0, c0 = a.h0 + share.sequence * z.S * size, a.c0 + share.sequence * z.H * size
    T, c = len(steps), a.c if a.c else room + t.c
    for first in range(0, T, t.chunk):
        last = min(T, first + t.chunk)
        start_row = min(steps[first, 0], steps[last - 1, 0])
        end_row = max(steps[first, 0] + steps[first, 1], steps[last - 1, 0] + steps[last - 1, 1])
        gates = a.gates if a.gates else room + t.gates - start_row * row
        _project_inputs(
            like, z, a, t, share, room, end_row - start_row, a.x + start_row * z.I * size,
            gates + start_row * row,
        )  # fmt: skip
        for step in range(first, last):
            start, b = steps[step, 0], steps[step, 1]
            carried = _carried(steps, step)
            if carried > 0:
                before = steps[step - 1, 0]
                c_now, c_then = (c + start * c_row, c + before * c_row) if a.c else (c, c)
                _forward_rows(
                    like, z, a, t, share, room, carried, a.y + before * a.y_row * size, a.y_row,
                    c_then, z.c_row, gates + start * row, c_now, a.y + start * a.y_row * size,
                    step & 1,
                )  # fmt: skip
            if carried < b:
                i = start + carried
                _forward_rows(
                    like, z, a, t, share, room, b - carried, h0 + carried * z.S * size, z.S,
                    c0 + carried * z.H * size, z.H, gates + i * row,
                    c + (i if a.c else carried) * c_row, a.y + i * a.y_row * size, step & 1,
                )  # fmt: skip
            if share.team:
                barrier.wait(share.team, share.who, share.members, step + 1)


@jit
def _backward_rows(
    like, z, a, share, rows, first, h, h_row, c_before, c_before_row, up, up_row, down, down_row, dc
):  # fmt: skip
    """Find δ of rows of one step, from ``first`` of all rows on, from the gradients of h and c."""
    size, cell, H, width, slot, row = size_of(like), z.cell, z.H, z.width, z.slot, z.row
    low, high = share.low, min(share.high, H)
    for i in range(rows):
        n = first + i
        for j in range(low, high, width):
            at, to = a.gates + (n * row + j) * size, a.delta + (n * row + j) * size
            dy = up + (i * up_row + (j if up_row else 0)) * size
            dh = down + (i * down_row + j) * size
            if cell == GRU:
                cells.gru_backward(like, at, slot, h + (i * h_row + j) * size, dy, dh, to, H - j)
            elif cell == LSTM:
                cells.lstm_backward(
                    like, at, slot, c_before + (i * c_before_row + j) * size,
                    a.c + (n * z.c_row + j) * size, dy, dh, dc + (i * slot + j) * size, to, H - j,
                )  # fmt: skip
            else:
                y = a.y + (n * a.y_row + j) * size
                if cell == RNN_TANH:
                    cells.rnn_tanh_backward(like, y, dy, dh, to, H - j)
                else:
                    cells.rnn_relu_backward(like, y, dy, dh, to, H - j)


@inlined
def backward(like, steps, z, a, share, to_hh, to_hr):
    """Run all steps, last to first, with h's weights packed at ``to_hh`` and ``to_hr``.

    With projection ``a.dh_all`` (N, s_slot) holds dh of every row on return, and ``a.dm`` (B, slot)
    is room for what it is in front of the projection.
    """
    size, width, slot, s_slot = size_of(like), z.width, z.slot, z.s_slot
    row, c_row, y_row = z.row * size, z.c_row * size, a.y_row * size
    h0, c0 = a.h0 + share.sequence * z.S * size, a.c0 + share.sequence * z.H * size
    dh, dc = a.dh + share.sequence * s_slot * size, a.dc + share.sequence * slot * size
    dm = a.dm + share.sequence * slot * size
    for t in range(len(steps) - 1, -1, -1):
        start, b = steps[t, 0], steps[t, 1]
        carried = _carried(steps, t)
        up, up_row, down, down_row = a.dy + start * a.dy_row * size, a.dy_row, dh, s_slot
        if a.w_hr:
            total = a.dh_all + start * s_slot * size
            for i in range(b):
                for j in range(0, z.S, width):
                    cells.add(
                        like, dh + (i * s_slot + j) * size, up + (i * up_row + j) * size,
                        total + (i * s_slot + j) * size, z.S - j,
                    )  # fmt: skip
            multiply_panels(
                like, b, slot // width, width, total, s_slot, to_hr, z.zeros, SAME, dm, slot,
                z.S, t & 1,
            )  # fmt: skip
            up, up_row, down, down_row = z.zeros, SAME, dm, slot
        before = steps[t - 1, 0] if t > 0 else 0
        for part in range(2):
            i, rows = (0, carried) if part == 0 else (carried, b - carried)
            if rows > 0:
                h = a.y + before * y_row if part == 0 else h0 + carried * z.S * size
                c_then = a.c + before * c_row if part == 0 else c0 + carried * z.H * size
                _backward_rows(
                    like, z, a, share, rows, start + i, h, a.y_row if part == 0 else z.S, c_then,
                    z.c_row if part == 0 else z.H, up + i * up_row * size, up_row,
                    down + i * down_row * size, down_row, dc + i * slot * size,
                )  # fmt: skip
        columns, to = s_slot // width, dh
        if share.team:
            barrier.wait(share.team, share.who, share.members, len(steps) - t)
            columns, to = (share.high - share.low) // width, dh + share.low * size
        first, first_row = (to, s_slot) if z.cell == GRU else (z.zeros, SAME)
        multiply_panels(
            like, b, columns, width, a.delta + start * row + z.hidden * size, z.row,
            to_hh + (share.low * z.gates * slot * size if share.team else 0), first, first_row,
            to, s_slot, z.gates * slot, t & 1,
        )  # fmt: skip


@jit
def hidden_rows(like, N, z, gates, c, m):
    """Set m (N, slot) to o ⊙ tanh c of all rows of an LSTM: what its projection multiplies."""
    size = size_of(like)
    for n in range(N):
        for j in range(0, z.slot, z.width):
            own, c_now = gates + (n * z.row + j) * size, c + (n * z.c_row + j) * size
            cells.lstm_hidden(like, own, z.slot, c_now, m + (n * z.slot + j) * size)
