"""Compare backends in this process: every case, every backend, parity before time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from rnnbench import interface
from rnnbench.comparison import threads, timing
from rnnbench.comparison.plan import BASELINE, Plan
from rnnbench.comparison.statistics import Ratio, ratio
from rnnbench.comparison.work import Work
from rnnbench.files.schema import build
from rnnbench.parity import check
from rnnbench.roofline.cost import flops
from rnnbench.spec import Case

REFERENCES = (BASELINE, "compile", *interface.PEERS)
"""Backends that ours are to be as fast as: torch's kernels, its compiler, other libraries."""


@dataclass(frozen=True)
class Line:
    """Result of one backend in one case.

    status      "ok"; "unsupported", "wrong" (no parity) or "broke", without a time
    detail      the reason, where there is no time
    seconds     time of one call in each round; a sample had ``number`` calls
    cores       processor time over wall time while it was timed; None if it was not
    """

    case: Case
    backend: str
    threads: int
    status: str
    detail: str = ""
    seconds: tuple[float, ...] = ()
    number: int = 0
    cores: float | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        return self.status == "ok"

    @property
    def median(self) -> float:
        """Median seconds of one call; NaN without a time."""
        return median(self.seconds) if self.seconds else math.nan

    @property
    def gflops(self) -> float:
        """10⁹ counted operations (`cost.flops`) per second; NaN without a time."""
        return flops(self.case) / self.median / 1e9

    def over(self, baseline: Line | None) -> Ratio | None:
        """Return how many times as fast as ``baseline`` it is; None if one has no time."""
        if baseline is None or not (self.timed and baseline.timed):
            return None
        return ratio(baseline.seconds, self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and figures for JSON: a number that does not exist is None."""
        figures = {"median": self.median, "gflops": self.gflops}
        return asdict(self) | {
            name: value if math.isfinite(value) else None for name, value in figures.items()
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Line:
        """Return the line that `as_dict` was called on; raises SchemaError."""
        return build(cls, {name: given[name] for name in cls.__dataclass_fields__}, "line")


def compare(
    plan: Plan, on_progress: Callable[[Case, str], None] = lambda case, what: None
) -> Iterator[list[Line]]:
    """Yield the lines of each case when it is measured, in the order of the plan's backends.

    The process must be confined to the plan's threads (`threads.confine`) before torch is imported.
    on_progress is called with the case and what comes next: a backend, or "timing".
    """
    threads.pin(plan.threads)
    for case in plan.cases:
        lines: dict[str, Line] = {}
        works: dict[str, Work] = {}
        for name in plan.backends:
            on_progress(case, name)
            lines[name], work = _prepared(name, case, plan.threads)
            if work is not None:
                works[name] = work
        on_progress(case, "timing")
        if works:
            threads.seen(plan.threads)
            lines |= _timed(plan, {name: lines[name] for name in works}, works)
        yield list(lines.values())


def _prepared(name: str, case: Case, count: int) -> tuple[Line, Work | None]:
    """Check, build and warm up a backend; returns no work where there is nothing to time."""
    line = Line(case, name, count, "ok")
    rows = check.check(name, [case]).rows
    refused = next((row for row in rows if row.status == "unsupported"), None)
    if refused is not None:
        return replace(line, status="unsupported", detail=refused.detail), None
    failures = [row for row in rows if row.failed]
    if failures:
        status, detail = _failure(failures)
        return replace(line, status=status, detail=detail), None
    try:
        work = Work(name, case)
        work.call()
        identity = work.identity()
        threads.of_backend(identity, count)
        work.call()
    except Exception as error:  # noqa: BLE001 (whatever a backend raises is its result)
        return replace(line, status="broke", detail=f"{type(error).__name__}: {error}"), None
    return replace(line, identity=identity), work


def _failure(failures: list[check.Row]) -> tuple[str, str]:
    """Return status and sentence of a candidate without parity."""
    worst = max(failures, key=lambda row: row.share)
    if worst.status == "raised":
        return "broke", worst.detail
    figures = "" if math.isnan(worst.error) else f", {worst.error:.3g} eps of {worst.budget:.3g}"
    return "wrong", f"{worst.quantity} is {worst.status}{figures}"


def _timed(plan: Plan, lines: Mapping[str, Line], works: Mapping[str, Work]) -> dict[str, Line]:
    settle = timing.SETTLE if plan.threads > 1 else 0.0
    calls = {name: work.call for name, work in works.items()}
    found = {}
    for name, samples in timing.alternate(calls, plan.seconds, settle=settle).items():
        line = replace(lines[name], cores=samples.cores)
        try:
            threads.of_time(samples.cores, plan.threads)
        except threads.ThreadsError as error:
            found[name] = replace(line, status="broke", detail=str(error))
            continue
        found[name] = replace(line, seconds=tuple(samples.seconds), number=samples.number)
    return found


def fastest(lines: Sequence[Line], *, references: bool) -> Line | None:
    """Return the fastest of the `REFERENCES` in a case, or of all others."""
    timed = [line for line in lines if line.timed and (line.backend in REFERENCES) == references]
    return min(timed, key=lambda line: line.median, default=None)


def line_of(lines: Sequence[Line], backend: str) -> Line | None:
    """Return the line of one backend in a case."""
    return next((line for line in lines if line.backend == backend), None)


def with_ratios(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the lines of one case for JSON, with their ratios as (value, low, high)."""
    native, reference = line_of(lines, BASELINE), fastest(lines, references=True)
    return [
        line.as_dict()
        | {
            "name": line.case.name,
            "ratio_to_native": line.over(native),
            "fastest_reference": reference and reference.backend,
            "ratio_to_fastest_reference": line.over(reference),
        }
        for line in lines
    ]
