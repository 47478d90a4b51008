"""Kernel parameters derived from spec and layout, and how many threads share a pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.backends.numba import layers, ordering, threads
from rnnbench.backends.numba.memory import LINE
from rnnbench.backends.numba.microkernel import PANEL
from rnnbench.backends.numba.records import Record, Scratch, Share, Sizes, as_record
from rnnbench.backends.numba.vector import Lanes
from rnnbench.bptt.recurrence import Layout
from rnnbench.spec import Spec

ALIASED = 2048
"""Bytes of which rows' distances are not made multiples: half of a first-level cache's way."""

CHUNK_BYTES = 1 << 17
"""Least size of the gates whose input products are made at a time: they, their inputs and the
weights stay in the second-level cache."""
CHUNK_SHARE = 4
"""A chunk is no smaller than W_ih divided by that, which is read once more for each chunk. With one
row it is no smaller than W_ih: reading that puts W_hh out of the cache, which bounds the loop."""

STREAMED = 1 << 20
"""Bytes of W_hh that do not stay in a core's second-level cache from step to step: threads that
take some rows each all read the whole of it, members of a team their units."""
ROW_BYTES = 1 << 16
"""Least size of such a W_hh for each row of the batch: with more rows a step multiplies for longer
than it reads."""


class Plan(NamedTuple):
    """Kernel parameters of a layer that follow from its spec alone.

    sizes, record        its sizes, and the same as kernels take them
    like                 a number that tells a kernel the dtype
    zeros                a row of zeros as long as any, kept alive for `Sizes.zeros`
    input_rows, hidden_rows, input_columns, hidden_columns    see `ordering`
    shares               panels of units, which a team can share; 1 where it cannot
    alone                the share of one thread that computes all of it
    forward              numbers of packed weights and biases forward: `Scratch`'s to_ih to bias_u
    backward             numbers of packed weights backward: of W_ih, and of W_hh and W_hr
    """

    sizes: Sizes
    record: Record
    like: np.floating[Any]
    zeros: NDArray[Any]
    input_rows: ordering.Integers
    hidden_rows: ordering.Integers
    input_columns: ordering.Integers
    hidden_columns: ordering.Integers
    shares: int
    alone: Record
    forward: tuple[int, ...]
    backward: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, spec: Spec, inputs: int) -> Plan:
        """Plan a layer of that spec with so many input features."""
        width, size = Lanes.of(spec.dtype).width, np.dtype(spec.dtype).itemsize
        H, S, P, gates = spec.hidden_size, spec.state_size, spec.proj_size, spec.gates
        x_slot, slot, s_slot = (-(-n // width) * width for n in (inputs, H, S))
        columns, first_gate = layers.SLOTS[spec.cell] * slot, 2 if spec.cell == "gru" else 0
        hidden = slot if spec.cell == "gru" else 0
        zeros = np.zeros(max(columns, s_slot, x_slot), spec.dtype)
        sizes = Sizes(
            layers.CODES[spec.cell], inputs, H, S, width, x_slot, slot, s_slot, gates, first_gate,
            hidden, columns, apart(columns, size), apart(slot, size), zeros.ctypes.data,
        )  # fmt: skip
        packed = gates * slot
        return cls(
            sizes, as_record(sizes), np.dtype(spec.dtype).type(0), zeros,
            ordering.weight_rows(gates, first_gate, H, slot),
            ordering.weight_rows(gates, 0, H, slot),
            ordering.gate_columns(gates, first_gate, 0, slot),
            ordering.gate_columns(gates, 0, hidden, slot),
            1 if P else -(-slot // (PANEL * width)),
            as_record(Share(0, 0, slot)),
            (packed * inputs, packed * S, s_slot * H * bool(P), packed, slot),
            (packed * x_slot, packed * s_slot + slot * S * bool(P)),
        )  # fmt: skip


def apart(n: int, size: int) -> int:
    """Return how many numbers lie from the start of a row of ``n`` to the next.

    Two lines more than they fill where many rows would share a few sets of the first-level cache,
    which took an LSTM of 512 units a tenth of its time.
    """
    return n + (2 * LINE // size if n * size % ALIASED == 0 else 0)


def scratch(plan: Plan, layout: Layout, *, chunk: int, rows: int, keep: bool) -> tuple[int, Record]:
    """Return the numbers of memory that a forward pass needs, and how it is divided.

    chunk: steps whose inputs are projected at a time; rows: of the largest step.
    keep: whether gates and c of all rows lie elsewhere.
    """
    z, size = plan.sizes, plan.like.itemsize
    is_lstm, has_p = z.cell == layers.LSTM, plan.forward[2] > 0
    numbers = (
        *plan.forward,
        0 if keep and z.gates > 1 else min(layout.N, chunk * rows) * z.row,
        rows * z.c_row * (is_lstm and not keep),
        rows * z.slot * has_p,
        rows * z.s_slot * has_p,
    )
    *starts, total = accumulate(numbers, initial=0)
    return total, as_record(Scratch(chunk, *(n * size for n in starts)))


def chunk_steps(plan: Plan, layout: Layout) -> int:
    """Return how many steps' inputs one thread projects at a time, chunks as equal as can be."""
    size, B = plan.like.itemsize, layout.B
    share = plan.forward[0] * size // (1 if B == 1 else CHUNK_SHARE)
    most: int = max(1, max(CHUNK_BYTES, share) // max(1, B * plan.sizes.row * size))
    chunks = -(-layout.T // most)
    return -(-layout.T // max(1, chunks))


def part_count(spec: Spec, layout: Layout, inputs: int, most: int) -> int:
    """Return the number of threads for one pass over one direction, at most ``most``."""
    if most == 1 or threads.available() == 1:
        return 1
    work = layout.N * spec.gates * spec.hidden_size * (inputs + spec.state_size)
    return max(1, min(threads.available(), most, int(work // threads.WORTH_IT)))


def team_size(spec: Spec, layout: Layout, plan: Plan, inputs: int) -> int:
    """Return the number of threads that share the units of each step.

    More than one where the batch is one row, unless it is an RNN's, whose steps are short; and
    where few rows meet a W_hh of `STREAMED` bytes.
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


TimeLoop = Callable[[ordering.Integers, int], Callable[[Record], None]]
"""(steps, rows of the batch) → what runs a `Share` of that loop, in memory of its own."""


def run_shared(
    spec: Spec, layout: Layout, plan: Plan, steps: ordering.Integers, loop: TimeLoop
) -> bool:
    """Run a time loop on as many threads as its work is worth; return whether as a team."""
    inputs = plan.sizes.I
    members = team_size(spec, layout, plan, inputs)
    parts = 1 if members > 1 else part_count(spec, layout, inputs, layout.B)
    if parts > 1:
        threads.run(
            [
                partial(
                    loop(_rows_of_part(steps, low, high), high - low),
                    as_record(Share(low, 0, plan.sizes.slot)),
                )
                for low, high in threads.ranges(layout.B, parts)
            ]
        )
        return False
    whole = loop(steps, layout.B)
    if members == 1 or not threads.team(
        members, lambda who, counters: whole(_team_share(plan, counters, who, members))
    ):
        whole(plan.alone)
    return members > 1


def _team_share(plan: Plan, counters: int, who: int, members: int) -> Record:
    """Return a member's units, in whole panels, and its place; the last's go to the slot's end."""
    panel = PANEL * plan.sizes.width
    low, high = threads.ranges(plan.shares, members)[who]
    own = min(high * panel, plan.sizes.slot)
    return as_record(Share(0, low * panel, own, counters, who, members))


def _rows_of_part(steps: ordering.Integers, low: int, high: int) -> ordering.Integers:
    """Return the steps of the batch's rows from ``low`` to ``high`` alone."""
    starts, sizes = steps[:, 0] + low, np.clip(steps[:, 1] - low, 0, high - low)
    return np.stack([starts, sizes], axis=1)
