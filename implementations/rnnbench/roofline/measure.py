"""Rounds of the measuring kernels on so many threads.

Each thread is bound to a core and has memory of its own, which it touches first itself. A sample is
as many passes as take `SAMPLE` seconds, all threads starting at a barrier; its rate is the work of
all over the time from the first start to the last end. In a round every kernel is
sampled once, so that what disturbs the machine for a while disturbs all of them. Noise only takes
away: the best of the rounds is the roof, the median beside it says how steady it is.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from rnnbench.backends.numba.memory import LINE
from rnnbench.backends.numba.vector import Lanes, processor
from rnnbench.files import records
from rnnbench.roofline import kernels
from rnnbench.roofline.caches import Level, caches, levels
from rnnbench.roofline.store import Bandwidth, Rate, Roof, Roofline

DTYPES = ("float32", "float64")
ROUNDS, SAMPLE = 30, 0.01
STEPS = ROUNDS + 1
"""Calls of ``on_progress`` for each number of threads."""

Part = Callable[[int], None]
"""Does one thread's work a given number of times."""


@dataclass
class Timed:
    """A kernel on all threads; one pass of all is ``work`` 10⁹ operations, or bytes read."""

    parts: Sequence[Part]
    work: float
    times: int = 1
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> Rate:
        return Rate(max(self.rates), median(self.rates))


class Team:
    """Threads, each on its own core, that start their parts of a work together."""

    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self._pool = pool
        self._barrier = threading.Barrier(count)

    def seconds(self, parts: Sequence[Callable[[], Any]]) -> tuple[float, list[Any]]:
        """Return the time from the first start to the last end, and what each part returned."""
        done = list(self._pool.map(self._timed, parts))
        starts, ends, results = zip(*done, strict=True)
        return max(ends) - min(starts), list(results)

    def _timed(self, part: Callable[[], Any]) -> tuple[float, float, Any]:
        self._barrier.wait()
        start = time.perf_counter()
        result = part()
        return start, time.perf_counter(), result


@contextmanager
def team(cpus: Sequence[int]) -> Iterator[Team]:
    """Yield a team with a thread bound to each of ``cpus``."""
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for cpu in cpus:
        free.put(cpu)

    def bind() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {free.get()})  # 0 is the calling thread

    with ThreadPoolExecutor(len(cpus), initializer=bind) as pool:
        yield Team(pool, len(cpus))


def measure(counts: Sequence[int], on_progress: Callable[[], None] = lambda: None) -> Roofline:
    """Return the roofs for each number of threads, on the first cores that this process has.

    Raises CachesError where the system does not tell the caches.
    """
    roofs = tuple(_roof(cores()[:count], on_progress) for count in counts)
    known = records.about()
    return Roofline(known["machine"], known["versions"], processor().name, known["at"], roofs)


def cores() -> list[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _roof(cpus: Sequence[int], on_progress: Callable[[], None]) -> Roof:
    found = levels(caches(cpus[0]), cpus)
    with team(cpus) as threads:
        peaks = {dtype: _multiplying(threads, dtype, len(cpus)) for dtype in DTYPES}
        reading = [(level, _reading(threads, level, len(cpus))) for level in found]
        everything = [*peaks.values(), *(timed for _, timed in reading)]
        for timed in everything:
            _size_sample(threads, timed)
        on_progress()
        for _ in range(ROUNDS):
            for timed in everything:
                _sample(threads, timed)
            on_progress()
    return Roof(
        len(cpus),
        {dtype: timed.rate for dtype, timed in peaks.items()},
        tuple(Bandwidth(*astuple(level), *astuple(timed.rate)) for level, timed in reading),
    )


def _size_sample(threads: Team, timed: Timed) -> None:
    """Double the passes until a sample is long enough; this compiles and warms up as well."""
    _sample(threads, timed)
    while _sample(threads, timed) < SAMPLE:
        timed.times *= 2
    timed.rates.clear()


def _sample(threads: Team, timed: Timed) -> float:
    seconds, _ = threads.seconds([partial(part, timed.times) for part in timed.parts])
    timed.rates.append(timed.work * timed.times / seconds)
    return seconds


def _multiplying(threads: Team, dtype: str, count: int) -> Timed:
    turns = 10_000
    operations = 2 * turns * kernels.TIMES * kernels.SUMS * Lanes.of(dtype).width
    _, parts = threads.seconds([partial(_multiplier, dtype, turns)] * count)
    return Timed(parts, count * operations / 1e9)


def _multiplier(dtype: str, turns: int) -> Part:
    # Between 0 and 2 for ever: neither infinite nor so small that it would be slow.
    factor, addend = _filled(dtype, 1, 0.5), _filled(dtype, 1, 1.0)
    sums = _filled(dtype, kernels.SUMS * Lanes.of(dtype).width, 1.0)

    def run(times: int) -> None:
        kernels.multiply_adds(sums, *map(_address, (factor, addend, sums)), turns * times)

    return run


def _reading(threads: Team, level: Level, count: int) -> Timed:
    lanes = Lanes.of(DTYPES[0])
    turns = max(1, level.read // (kernels.READS * lanes.bytes))
    _, parts = threads.seconds([partial(_reader, lanes, turns)] * count)
    return Timed(parts, count * turns * kernels.READS * lanes.bytes / 1e9)


def _reader(lanes: Lanes, turns: int) -> Part:
    # Written and not np.zeros: pages never written are all one page of the system's.
    source = _filled(lanes.dtype, turns * kernels.READS * lanes.width, 1e-3)
    sums = _filled(lanes.dtype, kernels.READS * lanes.width, 0.0)
    factor = _filled(lanes.dtype, 1, 0.5)

    def run(times: int) -> None:
        sums[:] = 0.0
        addresses = map(_address, (factor, source, sums))
        kernels.reads(sums, *addresses, turns, times)

    return run


def _filled(dtype: str, count: int, value: float) -> Any:
    """Return an array that begins with a cache line: a vector across two is read twice."""
    size = np.dtype(dtype).itemsize
    memory = np.empty(count * size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    array = memory[start : start + count * size].view(dtype)
    array[:] = value
    return array


def _address(array: Any) -> int:
    return int(array.ctypes.data)
