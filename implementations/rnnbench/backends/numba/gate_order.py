"""A layer's weights as its kernels read them: gates in the order of the cell's slots, and packed.

Torch holds the gates of a weight one behind the other, each H rows. `Order` says which of them the
slots of a row of ``gates`` take (see `cells`), for the input's weights and for h's:

    rnn    one           lstm   i, f, g, o = torch's 0, 1, 2, 3
    gru    input: slots 0 to 2 are n, r, z = torch's 2, 0, 1;  h: slots 1 to 3 are r, z, n = 0, 1, 2
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.packing import add_parts, pack_transposed

Integers = NDArray[np.int64]


class Order(NamedTuple):
    """Torch's gates in the order of the slots that a weight sees, and the first of these slots."""

    gates: tuple[int, ...]
    first_slot: int


INPUT = {
    "rnn_tanh": Order((0,), 0),
    "rnn_relu": Order((0,), 0),
    "gru": Order((2, 0, 1), 0),
    "lstm": Order((0, 1, 2, 3), 0),
}
HIDDEN = INPUT | {"gru": Order((0, 1, 2), 1)}
PROJECTION = Order((0,), 0)


class Vectors(NamedTuple):
    """The vectors of B = Wᵀ: the first row of W in each, how many rows, vectors in a panel."""

    first_rows: Integers
    counts: Integers
    group: int


@cache
def vectors(order: Order, H: int, width: int) -> Vectors:
    """The gates of one vector of units stand side by side; an RNN's units stand in fours."""
    units = range(0, H, width)
    first = [gate * H + j for j in units for gate in order.gates]
    counts = [min(width, H - j) for j in units for _ in order.gates]
    group = 4 if len(order.gates) == 1 else len(order.gates)
    return Vectors(np.array(first, np.int64), np.array(counts, np.int64), group)


@cache
def rows(order: Order, H: int, width: int) -> Integers:
    """Row of W for each column of δ that it sees; −1, a row of zeros, for padding."""
    slot = -(-H // width) * width
    own = np.arange(slot)
    return np.concatenate([np.where(own < H, gate * H + own, -1) for gate in order.gates])


@cache
def columns(order: Order, H: int, width: int) -> Integers:
    """Column of δ where each of torch's gates begins, in torch's order."""
    slot = -(-H // width) * width
    found = [order.gates.index(gate) + order.first_slot for gate in range(len(order.gates))]
    return np.array(found, np.int64) * slot


def pack_forward(
    like: NDArray[Any],
    cell: str,
    H: int,
    S: int,
    inputs: int,
    width: int,
    weights: Sequence[int],
    room: Sequence[int],
) -> None:
    """Pack a layer's weights for its forward pass.

    weights   addresses of W_ih, W_hh, b_ih, b_hh, W_hr, 0 for those that it has not
    room      addresses for W_ihᵀ, W_hhᵀ, W_hrᵀ, the biases in slots, and the GRU's b_hn
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    to_ih, to_hh, to_hr, to_bias, to_u = room
    seen = INPUT[cell]
    for order, w, K, to in ((seen, w_ih, inputs, to_ih), (HIDDEN[cell], w_hh, S, to_hh)):
        first_rows, counts, group = vectors(order, H, width)
        pack_transposed(like, w, K, first_rows, counts, width, group, to)
    if w_hr:
        first_rows, counts, group = vectors(PROJECTION, S, width)
        pack_transposed(like, w_hr, H, first_rows, counts, width, group, to_hr)
    if b_ih:
        pack_biases(like, width, H, cell == "gru", slots_of(cell), b_ih, b_hh, to_bias, to_u)


@cache
def slots_of(cell: str) -> Integers:
    """Torch's gates in the order of the slots that x's weights see."""
    return np.array(INPUT[cell].gates, np.int64)


@jit
def pack_biases(like, width, H, gru, input_gates, b_ih, b_hh, to, to_u):
    """Both biases of each slot added up, but the GRU's b_hn, which stands behind the reset gate."""
    size = like.itemsize
    slot = (H + width - 1) // width * width
    for s in range(len(input_gates)):
        for j in range(0, H, width):
            first = (input_gates[s] * H + j) * size
            alone = gru and s == 0
            add_parts(
                like, b_ih + first, H - j, b_hh + first, 0 if alone else H - j,
                to + (s * slot + j) * size,
            )  # fmt: skip
            if alone:
                add_parts(like, b_hh + first, H - j, b_hh + first, 0, to_u + j * size)
