"""Take samples of several candidates in alternating rounds."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Call = Callable[[], object]

SAMPLE = 0.005
"""Least duration of a sample in seconds: 10⁵ times the clock's resolution."""
MIN_ROUNDS, MAX_ROUNDS = 7, 200
"""Fewer rounds give no interval; more make it no narrower than the machine's drift."""
SETTLE = 0.005
"""Seconds of sleep before a sample, in which idle threads of other candidates stop spinning."""


@dataclass
class Samples:
    """Seconds of one call in each round, and wall and processor time of all of them."""

    number: int
    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def cores(self) -> float:
        """Average number of cores in use while this candidate was timed."""
        return self.cpu / self.wall


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage now, and not while the block runs."""
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """Return the names, another one first in each turn."""
    k = turn % len(names)
    return [*names[k:], *names[:k]]


def calls_per_sample(call: Call) -> int:
    """Return how many calls make a sample, by the fastest of three."""
    fastest = math.inf
    for _ in range(3):
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return max(1, math.ceil(SAMPLE / fastest))


def sample(call: Call, samples: Samples) -> None:
    """Time one sample, after one call that is not timed: it warms up caches and threads."""
    call()
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(samples.number):
        call()
    wall = time.perf_counter() - start
    samples.cpu += time.process_time() - cpu
    samples.wall += wall
    samples.seconds.append(wall / samples.number)


def alternate(
    calls: Mapping[str, Call], seconds: float, *, settle: float = 0.0
) -> dict[str, Samples]:
    """Return the samples of rounds of one sample of each candidate, for ``seconds``.

    The calls must be warm. ``settle`` is slept before each sample.
    """
    found = {name: Samples(calls_per_sample(call)) for name, call in calls.items()}
    names, stop = list(calls), time.perf_counter() + seconds
    with no_collection():
        for turn in range(MAX_ROUNDS):
            if turn >= MIN_ROUNDS and time.perf_counter() >= stop:
                break
            for name in rotated(names, turn):
                time.sleep(settle)
                sample(calls[name], found[name])
    return found
