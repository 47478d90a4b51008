"""Which of torch's gates the slots of a row of ``gates`` take, for x's weights and for h's.

Torch holds the gates of a weight one behind the other, each H rows; the slots are in `cells`:

    rnn    one           lstm   i, f, g, o = torch's 0, 1, 2, 3
    gru    input: slots 0 to 2 are n, r, z = torch's 2, 0, 1;  h: slots 1 to 3 are r, z, n = 0, 1, 2
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.packing import add_parts, copy_part, turn_tile
from rnnbench.backends.numba.vector import size_of

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


@cache
def gates(order: Order) -> Integers:
    """Torch's gates in the order of the slots."""
    return np.array(order.gates, np.int64)


@cache
def rows(order: Order, H: int, slot: int) -> Integers:
    """Row of a weight for each column of δ that it sees; −1, a row of zeros, for padding."""
    own = np.arange(slot)
    return np.concatenate([np.where(own < H, gate * H + own, -1) for gate in order.gates])


@cache
def columns(order: Order, slot: int) -> Integers:
    """Column of δ where each of torch's gates begins, in torch's order."""
    found = [order.gates.index(gate) + order.first_slot for gate in range(len(order.gates))]
    return np.array(found, np.int64) * slot


@jit
def pack_transposed(like, source, K, gates, H, width, low, high, out):
    """B = sourceᵀ for a product whose epilogue is the cell: source (gates·H, K).

    All gates of one vector of units make a panel; of a single gate, four vectors of units do. Only
    the panels of the units from low to high are written.
    """
    size = size_of(like)
    group = 4 if len(gates) == 1 else len(gates)
    first, last = low // width * len(gates), (high + width - 1) // width * len(gates)
    out += K * first * width * size
    for start in range(first, last, group):
        panel = min(group, last - start)
        for v in range(panel):
            unit = (start + v) // len(gates) * width
            row = gates[v % len(gates)] * H + unit
            for k in range(0, K, width):
                turn_tile(
                    like, source + (row * K + k) * size, K, H - unit, min(width, K - k),
                    out + (k * panel + v) * width * size, panel * width,
                )  # fmt: skip
        out += K * panel * width * size


@jit
def pack_biases(like, width, H, gru, input_gates, b_ih, b_hh, low, high, to, to_u):
    """Both biases of each slot added up, but the GRU's b_hn, which stands behind the reset gate.

    Of the units from low to high.
    """
    size = size_of(like)
    slot = (H + width - 1) // width * width
    for s in range(len(input_gates)):
        for j in range(low, min(high, H), width):
            first = (input_gates[s] * H + j) * size
            alone = gru and s == 0
            add_parts(
                like, b_ih + first, H - j, b_hh + first, 0 if alone else H - j,
                to + (s * slot + j) * size,
            )  # fmt: skip
            if alone:
                add_parts(like, b_hh + first, H - j, b_hh + first, 0, to_u + j * size)


@jit
def unpack_bias(like, sums, columns, H, width, out):
    """δ's sums in torch's order, out (gates·H,)."""
    size = size_of(like)
    for g in range(len(columns)):
        for j in range(0, H, width):
            copy_part(like, sums + (columns[g] + j) * size, H - j, out + (g * H + j) * size)
