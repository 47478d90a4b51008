"""One layer in one direction, each pass one compiled call for all cells.

Forward goes through the steps in chunks: the input's products of all rows of a chunk at once, then
step by step h's products and the cell. Backward goes step by step through the cell's derivative and
δ W_hh, and leaves δ of all rows for the products that follow (`products.add_outer`).

Arguments that are integers are addresses, of memory that the caller keeps alive, or sizes in
numbers; ``like`` is a number that says the dtype. H is the hidden size, S the size of h (H, or P
with projection), ``width`` the numbers of a vector; `slot_of` rounds sizes up to whole vectors.

    x (N, I)  h0 (B, S)  c0 (B, H)   the user's, of that shape exactly
    y (N, S)  dy (N, S)              likewise, with ``y_row`` and ``dy_row`` from row to row
    gates, delta (N, slots·slot)     see `cells`; a chunk of them in inference; rows are `apart`
    c (N, slot)                      (B, slot) where nothing is kept; rows are `apart`, too
    m (B, slot), p (B, slot of S)    with projection: o tanh c, and W_hr m in whole vectors
    dh (B, slot of S), dc (B, slot)  on entry of the final, on return of the initial state
    w_ih, w_hh, w_hr                 packed: forward transposed, backward as they are (`passes`)
    bias (slots·slot), bias_u (slot) in the order of the slots; the GRU's b_hn

low, high                        the units that this call computes, whole panels; all but in a team

Of a team of ``members`` each has its own units and follows the same steps, and in each they meet
once: forward when h is whole, backward when δ is. ``team`` is the address of the counters, 0 for a
thread alone (`meeting`). A team has no projection.

steps (T, 2): first row and number of rows of each step, in the order of the forward loop; a reverse
direction is the same loop over the other order. Of step t's rows, the first `_carried` follow on
the rows of the step before; the others begin with h0.
"""

from __future__ import annotations

from rnnbench.backends.numba import cells
from rnnbench.backends.numba.barrier import meet
from rnnbench.backends.numba.compiling import inlined, jit
from rnnbench.backends.numba.gemm import multiply, multiply_panels
from rnnbench.backends.numba.memory import LINE
from rnnbench.backends.numba.microkernel import NEXT, SAME
from rnnbench.backends.numba.packing import copy_part, copy_vector
from rnnbench.backends.numba.vector import size_of

RNN_TANH, RNN_RELU, GRU, LSTM = range(4)
CODES = {"rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "gru": GRU, "lstm": LSTM}
SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 4, "lstm": 4}
"""Cell → slots in a row of gates."""
ALIASED = 2048
"""Bytes of which rows' distances are not made multiples: half of a first-level cache's way."""


@jit
def slot_of(n, width):
    return (n + width - 1) // width * width


@jit
def columns_of(cell, slot):
    """Numbers in a row of gates."""
    return slot if cell <= RNN_RELU else 4 * slot


@jit
def apart(n, size):
    """Numbers from the start of a row of ``n`` to the next: two lines more than they fill where
    many rows would share a few sets of the first-level cache, which took an LSTM of 512 units a
    tenth of its time."""
    return n + (2 * LINE // size if n * size % ALIASED == 0 else 0)


@jit
def row_of(cell, slot, size):
    """Numbers from a row of gates to the next."""
    return apart(columns_of(cell, slot), size)


@jit
def hidden_columns(cell, slot):
    """How many numbers of a row of δ h's weights see: all but the GRU's first slot."""
    return 3 * slot if cell == GRU else columns_of(cell, slot)


@jit
def _carried(steps, t):
    return min(steps[t - 1, 1], steps[t, 1]) if t > 0 else 0


@inlined
def _project_inputs(like, cell, rows, I, H, width, x, w_ih, bias, bias_u, gates, low, high):
    """gates ← x W_ihᵀ + bias for a chunk, and the GRU's b_hn where its u begins."""
    size, slot = size_of(like), slot_of(H, width)
    row = row_of(cell, slot, size)
    if cell <= RNN_RELU:
        multiply_panels(
            like, rows, (high - low) // width, width, x, I, w_ih + I * low * size,
            bias + low * size, SAME, gates + low * size, row, I, SAME,
        )  # fmt: skip
        return
    vectors = 3 if cell == GRU else 4
    for j in range(low, high, width):
        w = w_ih + j * vectors * I * size
        after = w + width * vectors * I * size if j + width < high else w
        multiply(
            like, rows, vectors, x, I, NEXT, w, bias + j * size, SAME, slot, gates + j * size,
            row, slot, I, after,
        )  # fmt: skip
    if cell == GRU:
        for i in range(rows):
            for j in range(low, high, width):
                at = gates + (i * row + 3 * slot + j) * size
                copy_vector(like, bias_u + j * size, width, at)


@jit
def _forward_rows(
    like,
    cell,
    rows,
    H,
    S,
    width,
    h,
    c_before,
    c_before_row,
    w_hh,
    w_hr,
    gates,
    c,
    m,
    p,
    zeros,
    y,
    h_row,
    y_row,
    turn,
    low,
    high,
):
    """Rows of one step whose states of the step before lie at ``h`` and ``c_before``.

    turn   as in `products.multiply_panels`
    """
    size, slot = size_of(like), slot_of(H, width)
    row, c_row = row_of(cell, slot, size), apart(slot, size)
    if cell <= RNN_RELU:
        own = gates + low * size
        multiply_panels(
            like, rows, (high - low) // width, width, h, h_row, w_hh + S * low * size, own, row,
            own, row, S, turn,
        )  # fmt: skip
        for i in range(rows):
            for j in range(low, min(high, H), width):
                a, out = gates + (i * row + j) * size, y + (i * y_row + j) * size
                if cell == RNN_TANH:
                    cells.rnn_tanh(like, a, out, H - j)
                else:
                    cells.rnn_relu(like, a, out, H - j)
        return
    vectors = 3 if cell == GRU else 4
    hidden = slot if cell == GRU else 0  # the first slot that h's weights see
    out, out_row = (m, slot) if m else (y, y_row)
    parts = (high - low) // width
    for n in range(parts):
        j = low + (parts - 1 - n if turn else n) * width
        at, w = gates + (hidden + j) * size, w_hh + vectors * j * S * size
        after = w
        if n + 1 < parts:
            after += (-width if turn else width) * vectors * S * size
        multiply(like, rows, vectors, h, h_row, NEXT, w, at, row, slot, at, row, slot, S, after)
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
    if m:
        p_slot = slot_of(S, width)
        multiply_panels(
            like, rows, p_slot // width, width, m, slot, w_hr, zeros, SAME, p, p_slot, H, turn
        )
        for i in range(rows):
            for j in range(0, S, width):
                copy_part(like, p + (i * p_slot + j) * size, S - j, y + (i * y_row + j) * size)


@inlined
def forward(
    like,
    steps,
    chunk,
    keep_gates,
    keep_c,
    cell,
    I,
    H,
    S,
    width,
    x,
    h0,
    c0,
    w_ih,
    w_hh,
    w_hr,
    bias,
    bias_u,
    gates,
    c,
    m,
    p,
    zeros,
    y,
    y_row,
    low,
    high,
    team,
    who,
    members,
):
    """All steps.

    chunk   how many steps' inputs are projected at a time; 1 where steps are some rows of the batch
    keep_gates, keep_c   whether those arrays have all N rows
    zeros   one row of zeros, as long as a slot
    """
    size, slot = size_of(like), slot_of(H, width)
    row, c_row = row_of(cell, slot, size), apart(slot, size)
    T = len(steps)
    for first in range(0, T, chunk):
        last = min(T, first + chunk)
        start_row = min(steps[first, 0], steps[last - 1, 0])
        end_row = max(steps[first, 0] + steps[first, 1], steps[last - 1, 0] + steps[last - 1, 1])
        base = gates if keep_gates else gates - start_row * row * size
        _project_inputs(
            like, cell, end_row - start_row, I, H, width, x + start_row * I * size, w_ih, bias,
            bias_u, base + start_row * row * size, low, high,
        )  # fmt: skip
        for t in range(first, last):
            start, b = steps[t, 0], steps[t, 1]
            carried = _carried(steps, t)
            if carried > 0:
                before = steps[t - 1, 0]
                c_now, c_then = (
                    (c + start * c_row * size, c + before * c_row * size) if keep_c else (c, c)
                )
                _forward_rows(
                    like, cell, carried, H, S, width, y + before * y_row * size, c_then, c_row,
                    w_hh, w_hr, base + start * row * size, c_now, m, p, zeros,
                    y + start * y_row * size, y_row, y_row, t & 1, low, high,
                )  # fmt: skip
            if carried < b:
                i = start + carried
                _forward_rows(
                    like, cell, b - carried, H, S, width, h0 + carried * S * size,
                    c0 + carried * H * size, H, w_hh, w_hr, base + i * row * size,
                    c + (i if keep_c else carried) * c_row * size, m, p, zeros,
                    y + i * y_row * size, S, y_row, t & 1, low, high,
                )  # fmt: skip
            if team:
                meet(team, who, members, t + 1)


@jit
def _backward_rows(
    like,
    cell,
    rows,
    H,
    width,
    y,
    y_row,
    h,
    h_row,
    c_before,
    c_before_row,
    gates,
    c,
    dy,
    dy_row,
    dh,
    dh_row,
    dc,
    delta,
    low,
    high,
):
    """δ of rows of one step, from the gradients of h and c."""
    size, slot = size_of(like), slot_of(H, width)
    row, c_row = row_of(cell, slot, size), apart(slot, size)
    for i in range(rows):
        for j in range(low, min(high, H), width):
            at = gates + (i * row + j) * size
            to = delta + (i * row + j) * size
            up = dy + (i * dy_row + (j if dy_row else 0)) * size
            down = dh + (i * dh_row + j) * size
            if cell == GRU:
                cells.gru_backward(like, at, slot, h + (i * h_row + j) * size, up, down, to, H - j)
            elif cell == LSTM:
                cells.lstm_backward(
                    like, at, slot, c_before + (i * c_before_row + j) * size,
                    c + (i * c_row + j) * size, up, down, dc + (i * slot + j) * size, to, H - j,
                )  # fmt: skip
            elif cell == RNN_TANH:
                cells.rnn_tanh_backward(like, y + (i * y_row + j) * size, up, down, to, H - j)
            else:
                cells.rnn_relu_backward(like, y + (i * y_row + j) * size, up, down, to, H - j)


@inlined
def backward(
    like,
    steps,
    cell,
    H,
    S,
    width,
    h0,
    c0,
    w_hh,
    w_hr,
    gates,
    c,
    y,
    y_row,
    dy,
    dy_row,
    dh,
    dc,
    dm,
    dh_all,
    delta,
    zeros,
    low,
    high,
    team,
    who,
    members,
):
    """All steps, last to first.

    w_hh, w_hr   packed by `packing.pack_rows`
    dh_all       with projection (N, slot of S), on return dh of every row; dm (B, slot) room for
                 what it is in front of the projection; 0 without
    zeros        as in `forward`
    """
    size, slot, s_slot = size_of(like), slot_of(H, width), slot_of(S, width)
    row, c_row = row_of(cell, slot, size), apart(slot, size)
    hidden = slot if cell == GRU else 0  # the first column of δ that h's weights see
    K = hidden_columns(cell, slot)
    for t in range(len(steps) - 1, -1, -1):
        start, b = steps[t, 0], steps[t, 1]
        carried = _carried(steps, t)
        up, up_row, down, down_row = dy + start * dy_row * size, dy_row, dh, s_slot
        if dm:
            total = dh_all + start * s_slot * size
            for i in range(b):
                for j in range(0, S, width):
                    cells.add(
                        like, dh + (i * s_slot + j) * size, up + (i * dy_row + j) * size,
                        total + (i * s_slot + j) * size, S - j,
                    )  # fmt: skip
            multiply_panels(
                like, b, slot // width, width, total, s_slot, w_hr, zeros, SAME, dm, slot, S, t & 1
            )
            up, up_row, down, down_row = zeros, SAME, dm, slot
        before = steps[t - 1, 0] if t > 0 else 0
        for part in range(2):
            i, rows = (0, carried) if part == 0 else (carried, b - carried)
            if rows > 0:
                h = y + before * y_row * size if part == 0 else h0 + carried * S * size
                c_then = c + before * c_row * size if part == 0 else c0 + carried * H * size
                _backward_rows(
                    like, cell, rows, H, width, y + (start + i) * y_row * size, y_row,
                    h, y_row if part == 0 else S, c_then, c_row if part == 0 else H,
                    gates + (start + i) * row * size, c + (start + i) * c_row * size,
                    up + i * up_row * size, up_row, down + i * down_row * size, down_row,
                    dc + i * slot * size, delta + (start + i) * row * size, low, high,
                )  # fmt: skip
        columns, to = s_slot // width, dh
        if team:
            meet(team, who, members, len(steps) - t)
            columns, to = (high - low) // width, dh + low * size
        first, first_row = (to, s_slot) if cell == GRU else (zeros, SAME)
        multiply_panels(
            like, b, columns, width, delta + (start * row + hidden) * size, row, w_hh, first,
            first_row, to, s_slot, K, t & 1,
        )  # fmt: skip


@jit
def hidden_rows(like, N, slot, width, gates, c, m):
    """m (N, slot) = o ⊙ tanh c of all rows of an LSTM: what its projection multiplies."""
    size = size_of(like)
    row, c_row = row_of(LSTM, slot, size), apart(slot, size)
    for n in range(N):
        for j in range(0, slot, width):
            own, c_now = gates + (n * row + j) * size, c + (n * c_row + j) * size
            cells.lstm_hidden(like, own, slot, c_now, m + (n * slot + j) * size)
