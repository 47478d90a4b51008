"""The answer of a verdict: of each case, of the whole, and its exit code.

The effect of a case is a ratio, head over base: the exponential of the mean log ratio over the
rounds that count. ``detectable`` is the least relative change that these rounds would have shown
with probability 95 %; *no change* denies only what the interval excludes (`CaseAnswer.excluded`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from rnnbench.exit_codes import BROKEN, FAILED, GOOD, INCONCLUSIVE, NOTHING_MEASURED
from rnnbench.files.schema import FREE, Bounds, Record


class Status(StrEnum):
    """The outcome of one case."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NO_CHANGE = "no change"
    INCONCLUSIVE = "inconclusive"
    BROKEN = "broken"
    """It measures at base and fails at head, or fails at both."""
    NEW = "new"
    """Base does not have it."""
    SKIPPED = "skipped"
    """The backend says that it can't do the case."""


MEASURED = (Status.REGRESSION, Status.IMPROVEMENT, Status.NO_CHANGE, Status.INCONCLUSIVE)

UNITS = {
    "time": "s",
    "parity": "eps",
    "memory": "bytes",
    "compile": "s",
    "import": "s",
    "instructions": "instructions",
    "value": "",
}
"""Quantity → the unit of ``base`` and ``head``; a value's is its benchmark's own."""


class Undecided(StrEnum):
    """The reason why a case is inconclusive."""

    TIME = "out of time"
    """More rounds would have decided it: `CaseAnswer.budget`."""
    NOISE = "too noisy"
    """The most rounds that a verdict has do not decide it."""
    ENDED = "ended early"
    """It failed in a later round, or its processes did."""


@dataclass(frozen=True)
class CaseAnswer:
    """One benchmark with its parameters, and what the rounds say of it."""

    benchmark: str
    params: tuple[tuple[str, str], ...]
    """Name and value of each, in asv's order and asv's words."""
    quantity: str
    """A key of `UNITS`."""
    status: Status
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    """Confidence interval of the ratio, at the level of the whole verdict."""
    detectable: float | None = None
    p: float | None = None
    """Adjusted for the number of cases (false discovery rate)."""
    base: float | None = None
    head: float | None = None
    """Median over the rounds, in the quantity's unit."""
    rounds: int = 0
    quarantined: int = 0
    """Rounds that do not count, as the control kernel drifted in them."""
    reason: str | None = None
    unit: str | None = None
    """Of a value."""
    undecided: Undecided | None = None
    budget: float | None = None
    """Seconds of budget that should decide an undecided case; None where none would."""

    @property
    def name(self) -> str:
        """``benchmark(value, value, …)``."""
        return f"{self.benchmark}({', '.join(value for _, value in self.params)})"

    @property
    def excluded(self) -> float | None:
        """The least size of a change, slower or faster, that lies outside of the interval."""
        if self.low is None or self.high is None or self.low <= 0:
            return None
        return max(self.high, 1 / self.low) - 1


@dataclass(frozen=True)
class Commit:
    """One side of a verdict."""

    hash: str
    given: str
    """How the user named it."""
    subject: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what computed on this side: `rnnbench.files.machine.versions`."""


@dataclass(frozen=True)
class Verdict(Record):
    """All that one run of ``rnnbench verdict`` found."""

    at: str
    """ISO 8601, UTC."""
    machine: Mapping[str, str]
    base: Commit
    head: Commit
    threshold: float
    """The relative change that it was asked to find or to exclude."""
    alpha: float
    """False discovery rate over the cases."""
    rounds: int
    seconds: float
    cases: tuple[CaseAnswer, ...]
    attribution: Mapping[str, Any] | None = None
    """Part (dependencies, code, tool) → what is left of the effect when only it is swapped."""
    commits: tuple[str, ...] = ()
    """The range that the change lies in: after base, up to head; one where it was bisected."""
    not_chosen: Mapping[str, int] = field(default_factory=dict)
    """Benchmark → how many of its cases were not chosen, so that nothing is known of them."""

    def of(self, *statuses: Status) -> list[CaseAnswer]:
        """Return the cases of one of these statuses."""
        return [case for case in self.cases if case.status in statuses]

    @property
    def worst(self) -> CaseAnswer:
        """The regression of the largest ratio, or without a ratio; ValueError if there is none."""
        return max(self.of(Status.REGRESSION), key=lambda case: case.ratio or float("inf"))

    @property
    def exit_code(self) -> int:
        """A regression outranks what broke, that outranks silence, and that outranks doubt."""
        if self.of(Status.REGRESSION):
            return FAILED
        if self.of(Status.BROKEN):
            return BROKEN
        if not self.of(*MEASURED):
            return NOTHING_MEASURED
        if self.of(Status.INCONCLUSIVE):
            return INCONCLUSIVE
        return GOOD

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the schema and the exit code."""
        return super().as_dict() | {"exit_code": self.exit_code}

    @classmethod
    def from_dict(cls, given: Any, bounds: Bounds = FREE) -> Self:
        """Return the verdict that `as_dict` was called on; raises SchemaError."""
        if isinstance(given, Mapping):  # the exit code follows from the cases
            given = {name: value for name, value in given.items() if name != "exit_code"}
        return super().from_dict(given, bounds)
