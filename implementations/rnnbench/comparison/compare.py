"""One process's comparison: every case, every backend, parity before time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from rnnbench import interface
from rnnbench.comparison import threads, timing
from rnnbench.comparison.plan import BASELINE, Plan, case_from_dict
from rnnbench.comparison.statistics import Ratio, ratio
from rnnbench.comparison.work import Work
from rnnbench.parity import check
from rnnbench.roofline.cost import flops
from rnnbench.spec import Case

REFERENCES = (BASELINE, "compile", *interface.PEERS)
"""What the other backends have to be as fast as: torch's kernels, its compiler, other libraries."""


@dataclass(frozen=True)
class Line:
    """What came of one backend in one case.

    status      "ok"; "unsupported", "wrong" (no parity) or "broke", without a time
    detail      why there is no time, as one sentence
    seconds     of one call in each round; ``number`` calls made a sample
    cores       processor time over wall time while it was timed
    """

    case: Case
    backend: str
    threads: int
    status: str
    detail: str = ""
    seconds: tuple[float, ...] = ()
    number: int = 0
    cores: float = math.nan
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        return self.status == "ok"

    @property
    def median(self) -> float:
        """Seconds of one call; NaN without a time."""
        return median(self.seconds) if self.seconds else math.nan

    @property
    def gflops(self) -> float:
        """10⁹ counted operations (`counting.flops`) per second; NaN without a time."""
        return flops(self.case) / self.median / 1e9

    def over(self, baseline: Line | None) -> Ratio | None:
        """How many times as fast as ``baseline``, from the same rounds; None if one has no time."""
        if baseline is None or not (self.timed and baseline.timed):
            return None
        return ratio(baseline.seconds, self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: a number that does not exist is None."""
        numbers = {"median": self.median, "gflops": self.gflops, "cores": self.cores}
        return asdict(self) | {
            name: value if math.isfinite(value) else None for name, value in numbers.items()
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Line:
        own = {name: given[name] for name in cls.__dataclass_fields__}
        own |= {"case": case_from_dict(own["case"]), "seconds": tuple(own["seconds"])}
        if own["cores"] is None:
            own["cores"] = math.nan
        return cls(**own)


def compare(
    plan: Plan, progress: Callable[[Case, str], None] = lambda case, what: None
) -> Iterator[list[Line]]:
    """One list of lines per case, as soon as it is measured, in the order of the plan's backends.

    The process must be confined to the plan's threads (`threads.confine`) before torch is imported.
    progress is called with the case and what comes next: a backend, or "timing".
    """
    threads.pin(plan.threads)
    for case in plan.cases:
        lines: dict[str, Line] = {}
        works: dict[str, Work] = {}
        for name in plan.backends:
            progress(case, name)
            lines[name], work = _prepared(name, case, plan.threads)
            if work is not None:
                works[name] = work
        progress(case, "timing")
        if works:
            threads.seen(plan.threads)
            lines |= _timed(plan, {name: lines[name] for name in works}, works)
        yield list(lines.values())


def _prepared(name: str, case: Case, count: int) -> tuple[Line, Work | None]:
    """Checked, built and warm; without work where there is nothing to time."""
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
    """Status and sentence of a candidate without parity."""
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


def fastest(lines: list[Line], *, references: bool) -> Line | None:
    """The fastest of the `REFERENCES` in a case, or of all others."""
    timed = [line for line in lines if line.timed and (line.backend in REFERENCES) == references]
    return min(timed, key=lambda line: line.median, default=None)


def line_of(lines: list[Line], backend: str) -> Line | None:
    """The line of one backend in a case."""
    return next((line for line in lines if line.backend == backend), None)
