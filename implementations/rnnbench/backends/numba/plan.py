"""What the kernels of a layer are told besides addresses, and how many threads share a pass."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.backends.numba import gate_order, layers, threads
from rnnbench.backends.numba.microkernel import PANEL
from rnnbench.backends.numba.vector import Lanes
from rnnbench.bptt.recurrence import Layout
from rnnbench.spec import Spec

CHUNK_BYTES = 1 << 17
"""Of gates whose input products are made at a time, at least: they, their inputs and the weights
stay in the second-level cache."""
CHUNK_SHARE = 4
"""A chunk is no smaller than W_ih divided by that, which is read once more for each chunk. With one
row it is no smaller than W_ih: reading that puts W_hh out of the cache, which bounds the loop."""

STREAMED = 1 << 20
"""Bytes of W_hh that do not stay in a core's second-level cache from step to step: threads that
take some rows each all read the whole of it, members of a team their units."""
ROW_BYTES = 1 << 16
"""Of such a W_hh for each row of the batch, at least: with more rows a step multiplies for longer
than it reads."""


class Plan(NamedTuple):
    """What the kernels of a layer are told besides addresses; sizes in numbers.

    width                of a vector
    slot, s_slot, x_slot the sizes of c, h and x in whole vectors
    columns              the numbers in a row of gates: the cell's slots
    row, c_row           from one row of gates, or of c, to the next
    like                 what tells a kernel the dtype
    zeros, at_zeros      a row of zeros as long as any, and its address
    gates                of both orders
    shares               panels of units, which a team can share; 1 where it cannot
    alone                the share of a thread alone, see `passes.forward`
    forward, backward    packed weights in each pass, see `passes`
    """

    code: int
    width: int
    slot: int
    s_slot: int
    x_slot: int
    columns: int
    row: int
    c_row: int
    like: np.floating[Any]
    zeros: NDArray[Any]
    at_zeros: int
    input_order: gate_order.Order
    hidden_order: gate_order.Order
    gates: tuple[NDArray[np.int64], NDArray[np.int64]]
    shares: int
    alone: NDArray[np.int64]
    forward: tuple[int, ...]
    backward: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, spec: Spec, inputs: int) -> Plan:
        width = Lanes.of(spec.dtype).width
        H, S, P = spec.hidden_size, spec.state_size, spec.proj_size
        slot, s_slot, x_slot = (-(-n // width) * width for n in (H, S, inputs))
        columns, gates = layers.SLOTS[spec.cell] * slot, spec.gates
        size = np.dtype(spec.dtype).itemsize
        row, c_row = (layers.apart.py_func(n, size) for n in (columns, slot))
        zeros = np.zeros(max(columns, s_slot, x_slot), spec.dtype)
        orders = gate_order.INPUT[spec.cell], gate_order.HIDDEN[spec.cell]
        return cls(
            layers.CODES[spec.cell], width, slot, s_slot, x_slot, columns, row, c_row,
            np.dtype(spec.dtype).type(0), zeros, zeros.ctypes.data, *orders,
            (gate_order.gates(orders[0]), gate_order.gates(orders[1])),
            1 if P else -(-slot // (PANEL * width)),
            np.array([0, slot, 0, 0, 1]),
            (gates * slot * inputs, gates * slot * S, s_slot * H * bool(P), gates * slot, slot),
            (gates * slot * x_slot, gates * slot * s_slot, slot * S * bool(P)),
        )  # fmt: skip


class Forward(NamedTuple):
    """A forward pass of some rows of the batch in one direction, but for its arrays' addresses.

    head      what `passes.forward` is told first
    numbers   of its own memory: packed weights and biases, gates, c, and with projection m and p
    """

    head: tuple[Any, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(
        cls, spec: Spec, layout: Layout, plan: Plan, inputs: int, steps: NDArray[np.int64], *,
        chunk: int, rows: int, keep: bool,
    ) -> Forward:  # fmt: skip
        """chunk: steps whose inputs are projected at a time; rows: of the largest step."""
        keep_gates, has_c, P = keep and spec.gates > 1, spec.has_cell_state, bool(spec.proj_size)
        head = (
            plan.like, steps, chunk, keep_gates, keep, plan.code, inputs, spec.hidden_size,
            spec.state_size, plan.width, *plan.gates,
        )  # fmt: skip
        numbers = (
            *plan.forward, 0 if keep_gates else min(layout.N, chunk * rows) * plan.row,
            rows * plan.c_row * (has_c and not keep), rows * plan.slot * P, rows * plan.s_slot * P,
        )  # fmt: skip
        return cls(head, numbers)


def chunk_steps(plan: Plan, layout: Layout) -> int:
    """Steps whose inputs a thread alone projects at a time, chunks as equal as can be."""
    size, B = plan.like.itemsize, layout.B
    share = plan.forward[0] * size // (1 if B == 1 else CHUNK_SHARE)
    most = max(1, max(CHUNK_BYTES, share) // max(1, B * plan.row * size))
    chunks = -(-layout.T // most)
    return -(-layout.T // max(1, chunks))


def part_count(spec: Spec, layout: Layout, inputs: int, most: int) -> int:
    """Threads for one pass over one direction, of ``most`` that are possible."""
    if most == 1 or threads.available() == 1:
        return 1
    work = layout.N * spec.gates * spec.hidden_size * (inputs + spec.state_size)
    return max(1, min(threads.available(), most, int(work // threads.WORTH_IT)))


def team_size(spec: Spec, layout: Layout, plan: Plan, inputs: int) -> int:
    """Threads that share the units of each step: where the batch is one row, unless it is an RNN's,
    whose steps are short; and where few rows meet a W_hh of `STREAMED` bytes.
    """
    if plan.shares == 1 or threads.available() == 1:
        return 1
    streamed = plan.forward[1] * plan.like.itemsize
    is_much = streamed >= max(STREAMED, layout.B * ROW_BYTES)
    if not is_much and (layout.B > 1 or spec.gates == 1):
        return 1
    work = layout.N * spec.gates * spec.hidden_size * (inputs + spec.state_size)
    most = min(plan.shares, int(work // threads.TEAM_WORTH))
    if most < 2:
        return 1  # the system is asked last: it takes the longest
    return min(most, threads.available(), threads.processors())


def team_share(plan: Plan, counters: int, who: int, members: int) -> NDArray[np.int64]:
    """A member's units, whole panels (the last ones to the end of the slot), and its place."""
    panel = PANEL * plan.width
    low, high = threads.ranges(plan.shares, members)[who]
    return np.array([low * panel, min(high * panel, plan.slot), counters, who, members])


def rows_of_part(steps: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    """The steps of the batch's rows from ``low`` to ``high`` alone."""
    starts, sizes = steps[:, 0] + low, np.clip(steps[:, 1] - low, 0, high - low)
    return np.stack([starts, sizes], axis=1)
