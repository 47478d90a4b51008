"""Several threads at one pass: on parts that share nothing (directions, rows of the batch), or as a
team that shares each step of a recurrence by its units (see `plan.run_shared`).

Their number is torch's (`torch.set_num_threads`), which is one in the workers of a DataLoader. The
kernels release Python's lock, so plain threads suffice: those of torch's pool (`openmp`), or, in a
forked process, which has none of those, of a pool of this process. Handing over a part costs some
60 µs, so that work below `WORTH_IT` stays on one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache, partial
from typing import TypeVar

import torch

from rnnbench.backends.numba import barrier, openmp

WORTH_IT = 2e7
"""Multiply-adds of one part below which it is not worth a thread: some 0.3 ms."""

TEAM_WORTH = 5e6
"""The same of a team's member, whose work is on one row and so takes longer."""

BEGIN_WITHIN = 0.2
"""Seconds after which a team is given up whose first member has not begun."""

WORKERS = os.cpu_count() or 1
"""Threads of the pool."""

Result = TypeVar("Result")

_here = threading.local()


class TooFewThreadsError(Exception):
    """A team's threads could not all run at the same time."""


def available() -> int:
    """Return how many threads a pass may use; one for what is itself a part."""
    return 1 if getattr(_here, "is_part", False) else torch.get_num_threads()


def processors() -> int:
    """Return how many threads can run at the same moment, all of them in the pool."""
    if hasattr(os, "sched_getaffinity"):
        return min(WORKERS, len(os.sched_getaffinity(0)))
    return WORKERS


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return this process's threads: those of the parent do not exist after a fork."""
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="rnnbench-numba")


_one_team: dict[int, threading.Lock] = {}
"""Process → the lock that its team holds: of two teams that begin at once, each could have all the
threads that the other waits for."""


def team(size: int, member: Callable[[int, int], None]) -> bool:
    """Call ``member(who, counters)`` of each of them at the same time; see `barrier`.

    Returns whether it was done: not while another team is at work, nor without threads for all.
    ``size`` must not be above `processors`.
    """
    lock = _one_team.setdefault(os.getpid(), threading.Lock())
    if not lock.acquire(blocking=False):
        return False
    try:
        counters = barrier.counters(size)
        failed = barrier.abort_callback(counters)

        def begin(who: int) -> None:
            try:
                member(who, counters.ctypes.data)
            except BaseException:
                failed()
                raise

        run([partial(begin, who) for who in range(size)], failed)
    except TooFewThreadsError:
        return False
    finally:
        lock.release()
    return True


def run(
    parts: Sequence[Callable[[], Result]], failed: Callable[[], None] | None = None
) -> list[Result]:
    """Return the results of all parts, the first of which runs in the calling thread.

    Given ``failed``, all run at the same time, or none: then TooFewThreadsError is raised. It is
    called, before the others are waited for, if one could not begin.

    Torch's modes are not set in the other threads, which would take longer than all else here: what
    needs them is for `run_as_here`.
    """
    if len(parts) == 1:
        return [parts[0]()]
    return _on_openmp(parts, failed) if openmp.usable() else _on_pool(parts, failed)


def run_as_here(parts: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do as `run`, in this thread's inference mode and without gradients; a thread for a part."""
    inference = torch.is_inference_mode_enabled()

    def as_part(part: Callable[[], Result]) -> Result:
        before = getattr(_here, "is_part", False)
        _here.is_part = True
        try:
            with torch.inference_mode(inference), torch.no_grad():
                return part()
        finally:
            _here.is_part = before

    return run([partial(as_part, part) for part in parts])


class _Start:
    """The start of a team: its first member decides on it, or one that has waited for too long."""

    def __init__(self) -> None:
        self._decided = threading.Event()
        self._lock = threading.Lock()
        self._begins: bool | None = None

    def begins(self, who: int) -> bool:
        if who == 0 or not self._decided.wait(BEGIN_WITHIN):
            with self._lock:
                if self._begins is None:
                    self._begins = who == 0
                self._decided.set()
        return bool(self._begins)


def _on_openmp(
    parts: Sequence[Callable[[], Result]], failed: Callable[[], None] | None
) -> list[Result]:
    """Run the parts on OpenMP's threads.

    Ctrl-C may come in the calling thread's function before it can be caught there; OpenMP would
    then wait for the others, and they for it.
    """
    results: dict[int, Result] = {}
    errors: dict[int, BaseException] = {}
    begun: list[int] = []
    start = _Start() if failed else None

    def work(who: int, count: int) -> None:
        try:
            begun.append(who)
            if start and (count < len(parts) or not start.begins(who)):
                return
            for index in range(who, len(parts), count):
                results[index] = parts[index]()
        except BaseException as error:  # noqa: BLE001 (raised below)
            if failed:
                failed()
            errors[who] = error

    openmp.each(len(parts), work)
    if 0 not in begun:
        raise KeyboardInterrupt
    if errors:
        raise errors[min(errors)]
    if len(results) < len(parts):
        raise TooFewThreadsError(f"{len(results)} of {len(parts)} parts of a pass were run")
    return [results[index] for index in range(len(parts))]


def _on_pool(
    parts: Sequence[Callable[[], Result]], failed: Callable[[], None] | None
) -> list[Result]:
    others: list[Future[Result]] = []
    try:
        for part in parts[1:]:
            others.append(_pool(os.getpid()).submit(part))
        first = parts[0]()
    except BaseException:
        if failed:
            failed()
        raise
    finally:
        _wait_for_all(others)
    return [first, *(other.result() for other in others)]


def _wait_for_all(others: Sequence[Future[Result]]) -> None:
    """Wait, whatever became of the first and however often Ctrl-C is pressed.

    What they work on must outlive them.
    """
    interrupt: BaseException | None = None
    while True:
        try:
            wait(others)
            break
        except BaseException as error:  # noqa: BLE001 (raised below)
            interrupt = error
    if interrupt is not None:
        raise interrupt


def ranges(n: int, parts: int) -> list[tuple[int, int]]:
    """Cut [0, n) into so many parts of sizes as equal as can be."""
    return [(n * k // parts, n * (k + 1) // parts) for k in range(parts)]
