"""The process that measures one side once: run by path, in that side's Python.

It imports nothing of rnnbench, so that what it measures is what the side has installed; the
benchmarks are found and sampled by asv_runner, as asv does it. One JSON value a line: an order on
stdin, what was found on stdout; what benchmarks print goes to stderr.

    {"list": true, "suite"}
        → {"benchmarks": [{name, type, unit, param_names, params}, …],
           "versions": {python, os and every distribution: version}}
    {"suite", "cases": [[benchmark, index], …], "control", "core", "sweeps", "samples",
     "least", "sample_time", "sweep_time", "limit"}
        → {"at": case, "limit": seconds} before each step, then of each case one or more of
          {"case", "samples": [seconds, …]}  {"case", "value"}
          {"case", "skipped": reason}  {"case", "failed": reason, "type": class of the exception}
          and {"control": [seconds, …]} before the first sweep, between two, and after the last

Work is done in turns, each ended by {"turn": number}; a line on stdin begins the next one. Turn 0
sets up what is timed; in each of the next ones is a sweep, in the last what was set up is torn
down. What gives one number is set up and run in turn 1.

A sweep goes once over all cases and takes a few samples of each: what disturbs the machine for a
second falls on few samples of many cases instead of on all samples of one. Samples are taken on the
processor ``core``, if one is named: two processes that are compared must not compare processors.

Seconds are those of asv's clock, less those in which the thread was ready and another process had
the processor (run_delay, the second number of Linux's schedstat): no commit can be blamed for them.
Sleeping and waiting for anything else count. A benchmark with a ``timer`` of its own keeps it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import signal
import sys
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

CONTROL_LOOPS = 20000
PR_SET_PDEATHSIG = 1
SCHEDSTAT = "/proc/thread-self/schedstat"


def _clock() -> Callable[[], float]:
    """Return a clock without the seconds spent waiting for a processor, where they are counted."""
    wall = timeit.default_timer
    try:
        descriptor = os.open(SCHEDSTAT, os.O_RDONLY)

        def delay() -> int:
            return int(os.pread(descriptor, 128, 0).split()[1])

        delay()
    except (OSError, ValueError, IndexError):
        return wall

    def now() -> float:
        # the processor is mostly lost on the way back from a call of the kernel, between the two
        while True:
            waited, seen = delay(), wall()
            if delay() == waited:
                return seen - 1e-9 * waited

    return now


CLOCK = _clock()


def main() -> None:
    with contextlib.suppress(ValueError):  # with the script's folder on it, `answer` is a module
        sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    _die_with_parent()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    with open(os.devnull, encoding="utf-8") as nothing:  # no benchmark, nor its child, reads these
        os.dup2(nothing.fileno(), sys.stdin.fileno())

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    given = json.loads(orders.readline())
    turns = _listing(given, say) if given.get("list") else _measuring(given, say)
    for number, _ in enumerate(turns):
        say(turn=number)
        if not orders.readline():
            break
    out.close()
    sys.stderr.flush()
    os._exit(0)  # threads and exit handlers of benchmarks are not waited for


def _die_with_parent() -> None:
    """Let the kernel kill this process with its parent: it would disturb later measurements."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _listing(given: dict[str, Any], say: Callable[..., None]) -> Iterator[None]:
    """List the benchmarks and the versions that are asked for."""
    from asv_runner._aux import update_sys_path
    from asv_runner.discovery import disc_benchmarks

    update_sys_path(given["suite"])
    found = [
        {
            "name": one.name,
            "type": one.type,
            "unit": one.unit,
            "param_names": list(one.param_names),
            "params": [list(values) for values in one.params],
        }
        for one in disc_benchmarks(given["suite"], ignore_import_errors=True)
    ]
    versions = {"python": platform.python_version(), "os": platform.platform()}
    for one in importlib.metadata.distributions():  # the first of a name is the one imported
        name = one.metadata["Name"]
        if name:
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    say(benchmarks=found, versions=versions)
    yield


class Running:
    """A benchmark that is set up, and how it is sampled."""

    def __init__(self, benchmark: Any, given: dict[str, Any]) -> None:
        self.benchmark, self.given = benchmark, given
        self.number: int = benchmark.number if timed(benchmark) else 1

    def sample(self) -> list[float]:
        """Return seconds of a few samples, by asv_runner's timing; it counts the calls once."""
        own, given = self.benchmark, self.given
        own.sample_time = min(own.sample_time, given["sample_time"])
        if getattr(own, "timer", None) is timeit.default_timer:  # timeraw's has none
            own.timer = CLOCK
        samples, self.number = own.benchmark_timing(
            own._get_timer(*own._build_params()),
            given["least"],
            given["samples"],
            max_time=given["sweep_time"],
            warmup_time=given["sample_time"],
            number=self.number,
            min_run_count=1,
        )
        return [seconds / self.number for seconds in samples]

    def value(self) -> float:
        found = float(self.benchmark.do_run())
        if not math.isfinite(found):
            raise ValueError(f"it gave {found}")
        return found


def _measuring(given: dict[str, Any], say: Callable[..., None]) -> Iterator[None]:
    """Measure what is ordered, and yield at the end of each turn."""
    limit = given["limit"]
    running: dict[int, Running] = {}
    values: dict[int, Any] = {}
    caches: dict[str, Any] = {}

    def step(case: int, does: Callable[[], dict[str, Any] | None]) -> None:
        say(at=case, limit=limit)
        try:
            found = does()
        except SkippedError as skip:
            running.pop(case, None)
            say(case=case, skipped=str(skip))
        except (Exception, SystemExit) as error:  # noqa: BLE001
            running.pop(case, None)
            say(case=case, failed=_sentence(error), type=type(error).__name__)
        else:
            if found:
                say(case=case, **found)

    def set_up(case: int, benchmark: Any) -> None:
        running[case] = Running(_set_up(benchmark, caches), given)

    def value(case: int, benchmark: Any) -> dict[str, Any]:
        set_up(case, benchmark)
        return {"value": running.pop(case).value()}

    def load(case: int, identifier: str) -> None:
        benchmark = _benchmark(identifier, given)
        if timed(benchmark):
            set_up(case, benchmark)
        else:
            values[case] = benchmark

    say(at=None, limit=limit)
    control = _control(given)
    for case, (name, index) in enumerate(given["cases"]):
        step(case, partial(load, case, f"{name}-{index}"))
    say(at=None, limit=limit)
    yield
    for case, benchmark in values.items():
        step(case, partial(value, case, benchmark))
    for sweep in range(given["sweeps"]):
        with _on(given["core"]):
            say(at=None, limit=limit)
            if not sweep:
                say(control=control())
            for case, one in list(running.items()):
                step(case, partial(_sampled, one))
            say(at=None, limit=limit)
            say(control=control())
        yield
    for case, one in list(running.items()):
        step(case, one.benchmark.do_teardown)
    yield


def _sampled(one: Running) -> dict[str, Any]:
    return {"samples": one.sample()}


@contextlib.contextmanager
def _on(core: int | None) -> Iterator[None]:
    """Hold this thread, and whatever it starts meanwhile, on one processor."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class SkippedError(Exception):
    """The benchmark skips the case: for asv, a NotImplementedError in its set-up."""


def timed(benchmark: Any) -> bool:
    """Return True for a benchmark that is sampled; others give one number."""
    return hasattr(benchmark, "benchmark_timing")


def _benchmark(identifier: str, given: dict[str, Any]) -> Any:
    from asv_runner.discovery import get_benchmark_from_name

    return get_benchmark_from_name(given["suite"], identifier)


def _set_up(benchmark: Any, caches: dict[str, Any]) -> Any:
    from asv_runner.benchmarks.mark import SkipNotImplemented

    key = benchmark.setup_cache_key
    if key is not None and key not in caches:
        caches[key] = benchmark.do_setup_cache()
    benchmark.set_cache(caches.get(key))
    words = io.StringIO()
    try:
        with contextlib.redirect_stdout(words):
            skipped = benchmark.do_setup()
    except SkipNotImplemented as skip:
        raise SkippedError(str(skip)) from skip
    if skipped:
        said = words.getvalue().strip().splitlines()
        raise SkippedError(
            said[-1].partition("skipped: ")[2] if said else "skipped for these params"
        )
    return benchmark


def _control(given: dict[str, Any]) -> Callable[[], list[float]]:
    """Return a function that samples the suite's control benchmark, or a loop of Python."""
    if given["control"]:
        own = Running(_set_up(_benchmark(f"{given['control']}-0", given), {}), given)

        def sample() -> list[float]:
            try:
                return own.sample()
            except Exception:  # noqa: BLE001
                return own.sample()  # its teardown raised for the case before

        return sample

    def loop() -> list[float]:
        samples = []
        for _ in range(given["samples"]):
            started, total = CLOCK(), 0
            for value in range(CONTROL_LOOPS):
                total += value * value
            samples.append(CLOCK() - started)
        return samples

    return loop


def _sentence(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".strip()
    return text.splitlines()[0][:300]


if __name__ == "__main__":
    main()
