"""The process that measures one side once: run by path, in that side's Python.

It imports nothing of rnnbench, so that what it measures is what the side has installed; the
benchmarks are found and sampled by asv_runner, as asv does it. One JSON object on stdin, one a line
on stdout; what benchmarks print goes to stderr.

    {"list": true, "suite", "versions": [distribution, …]}
        → {"benchmarks": [{name, type, unit, param_names, params}, …], "versions": {…}}
    {"suite", "cases": [[benchmark, index], …], "control", "sweeps", "samples", "sample_time",
     "sweep_time", "limit"}
        → {"at": case, "limit": seconds} before each step, then of each case one or more of
          {"case", "samples": [seconds, …]}  {"case", "value"}
          {"case", "skipped": reason}  {"case", "failed": reason, "type": class of the exception}
          and {"control": [seconds, …]} before the first sweep, between two, and after the last

A sweep goes once over all cases and takes a few samples of each: what disturbs the machine for a
second falls on few samples of many cases instead of on all samples of one.

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
import signal
import sys
import timeit
from collections.abc import Callable
from typing import Any

CONTROL_LOOPS = 20000
PR_SET_PDEATHSIG = 1
SCHEDSTAT = "/proc/thread-self/schedstat"


def _clock() -> Callable[[], float]:
    """Seconds without those spent waiting for a processor; of the wall where nobody counts them."""
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

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    given = json.load(sys.stdin)
    if given.get("list"):
        say(**_listed(given))
    else:
        _measure(given, say)
    say(done=True)
    out.close()
    sys.stderr.flush()
    os._exit(0)  # threads and exit handlers of benchmarks are not waited for


def _die_with_parent() -> None:
    """A measuring process whose judge was killed would disturb whoever measures next."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _listed(given: dict[str, Any]) -> dict[str, Any]:
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
    for name in given["versions"]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"benchmarks": found, "versions": versions}


class Running:
    """A benchmark that is set up, and how it is sampled."""

    def __init__(self, benchmark: Any, given: dict[str, Any]) -> None:
        self.benchmark, self.given = benchmark, given
        self.timed = hasattr(benchmark, "benchmark_timing")

    def sample(self) -> list[float]:
        """Seconds of a few samples, by asv_runner's own timing."""
        own, given = self.benchmark, self.given
        own.sample_time = min(own.sample_time, given["sample_time"])
        if own.timer is timeit.default_timer:
            own.timer = CLOCK
        samples, number = own.benchmark_timing(
            own._get_timer(*own._build_params()),
            1,
            given["samples"],
            max_time=given["sweep_time"],
            warmup_time=given["sample_time"],
            number=own.number,
            min_run_count=1,
        )
        return [seconds / number for seconds in samples]

    def value(self) -> float:
        found = float(self.benchmark.do_run())
        if not math.isfinite(found):
            raise ValueError(f"it gave {found}")
        return found


def _measure(given: dict[str, Any], say: Callable[..., None]) -> None:
    say(at=None, limit=given["limit"])
    control = _control(given)
    running: dict[int, Running] = {}
    caches: dict[str, Any] = {}
    say(control=control())
    for sweep in range(given["sweeps"]):
        for case, (name, index) in enumerate(given["cases"]):
            if sweep and case not in running:
                continue
            say(at=case, limit=given["limit"])
            try:
                if not sweep:
                    running[case] = _set_up(f"{name}-{index}", given, caches)
                if running[case].timed:
                    say(case=case, samples=running[case].sample())
                else:
                    say(case=case, value=running.pop(case).value())
            except SkippedError as skip:
                running.pop(case, None)
                say(case=case, skipped=str(skip))
            except (Exception, SystemExit) as error:  # noqa: BLE001
                running.pop(case, None)
                say(case=case, failed=_sentence(error), type=type(error).__name__)
        say(at=None, limit=given["limit"])
        say(control=control())
    for case, one in running.items():
        say(at=case, limit=given["limit"])
        try:
            one.benchmark.do_teardown()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            say(case=case, failed=_sentence(error), type=type(error).__name__)


class SkippedError(Exception):
    """asv's word for it is NotImplementedError in a set-up."""


def _set_up(identifier: str, given: dict[str, Any], caches: dict[str, Any]) -> Running:
    from asv_runner.benchmarks.mark import SkipNotImplemented
    from asv_runner.discovery import get_benchmark_from_name

    benchmark = get_benchmark_from_name(given["suite"], identifier)
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
    return Running(benchmark, given)


def _control(given: dict[str, Any]) -> Callable[[], list[float]]:
    """The suite's own control benchmark, or else a loop of the interpreter."""
    if given["control"]:
        own = _set_up(f"{given['control']}-0", given, {})

        def sample() -> list[float]:
            try:
                return own.sample()
            except Exception:  # noqa: BLE001
                return own.sample()  # its teardown told of what the case before it had left behind

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
