"""A whole verdict: two commits of a project built, judged, and the regressions explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError
from rnnbench.judge import commits
from rnnbench.judge.project import Project
from rnnbench.judge.verdict import attribution
from rnnbench.judge.verdict.answer import Commit, Status, Verdict
from rnnbench.judge.verdict.bisection import Step, narrowed
from rnnbench.judge.verdict.building import BuildError, install, requirements
from rnnbench.judge.verdict.choice import chooser
from rnnbench.judge.verdict.decision import Rule
from rnnbench.judge.verdict.pairs import Judgement, Stand, judge
from rnnbench.judge.verdict.process import Sampling, WorkerError
from rnnbench.judge.verdict.sides import Side

PART = 0.25
"""Of the budget, for each judging that follows a regression."""
OnProgress = Callable[[str, Stand | None], None]
"""Called with what is done now and, during rounds, how far it is."""


@dataclass(frozen=True)
class Request:
    """The request; the command's options have the same names."""

    base: str
    head: str
    config: Path = Path("asv.conf.json")
    environment: str | None = None
    threshold: float = 0.05
    alpha: float = Rule.alpha
    budget: float = 600.0
    """Seconds for the rounds; a quarter of them for each judging that follows a regression."""
    bench: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    bisect: bool = False
    base_requirements: tuple[str, ...] = ()
    base_python: str | None = None
    sampling: Sampling | None = None
    seed: int = 0
    turn: int = 0
    """Of the cases that are not always measured (`rnnbench.judge.verdict.choice`)."""


@dataclass
class Found(Judgement):
    """A judgement, and asv's results directory."""

    results: Path = Path()


def run(request: Request, on_progress: OnProgress = lambda doing, now: None) -> Found:
    """Build and judge two commits, and explain what got slower.

    Raises InputError for a wrong request, BuildError and WorkerError with a sentence.
    """
    return _Run(request, on_progress).found()


class _Run:
    """A request that was found to make sense."""

    def __init__(self, request: Request, on_progress: OnProgress) -> None:
        self.request, self.on_progress = request, on_progress
        self.rule = Rule(request.threshold, request.alpha)
        self.needed = requirements(request.base_requirements)
        if not request.budget > 0:
            raise InputError(f"budget must be more than 0 minutes; got {request.budget / 60:g}")
        self.project = Project(request.config)
        self.choose = chooser(
            request.bench, request.cases, self.project.suite, request.budget, request.turn
        )
        self.base, self.head = (
            commits.commit(self.project.folder, given, name)
            for given, name in ((request.base, "base"), (request.head, "head"))
        )
        self.swapped = bool(self.needed or request.base_python)
        if self.base.hash == self.head.hash and not self.swapped:
            raise InputError(
                f"base and head are the same commit, {self.base.hash[:8]}: nothing differs"
            )

    def side(self, commit: Commit, *, as_base: bool = False) -> Side:
        """Build a commit, on base's own dependencies or on those of all others."""
        self.on_progress(f"building {commit.hash[:8]}", None)
        own = (self.request.base_python, self.needed) if as_base else ()
        return install(self.project, commit, self.request.environment, *own)

    def judged(self, one: Side, other: Side, doing: str, step: Step) -> Judgement:
        """Judge one installed commit against another."""
        self.on_progress(f"{doing}: each case once, not counted", None)
        return judge(
            one,
            other,
            self.project.suite,
            chooser((), step.cases, self.project.suite) if step.cases else self.choose,
            rule=replace(self.rule, threshold=step.threshold),
            sampling=self.request.sampling,
            budget=step.budget,
            seed=self.request.seed,
            on_progress=lambda now: self.on_progress(doing, now),
        )

    def found(self) -> Found:
        """Judge, and explain what got slower."""
        self.base_side, self.head_side = self.side(self.base, as_base=True), self.side(self.head)
        step = Step((), self.request.threshold, self.request.budget)
        found = self.judged(self.base_side, self.head_side, "measuring", step)
        span = commits.between(self.project.folder, self.base.hash, self.head.hash)
        verdict = replace(found.verdict, commits=span)
        if self.request.bench or self.request.cases:
            verdict = replace(verdict, not_chosen={})  # whoever names cases knows of the others
        slower = tuple(case.name for case in verdict.of(Status.REGRESSION))
        if slower:
            part = replace(step, cases=slower, budget=step.budget * PART)
            verdict = replace(verdict, attribution=self._attribution(verdict, part))
        if slower and self.request.bisect:
            span = narrowed(verdict, step.budget * PART, self._compared)
            verdict = replace(verdict, commits=span)
        return Found(verdict, found.rounds, self.project.results)

    def _attribution(self, verdict: Verdict, part: Step) -> dict[str, Any]:
        swap = None
        if self.swapped:
            swap = attribution.Swap(self.side(self.base), self.side(self.head, as_base=True))
        return attribution.attribute(
            self.project,
            verdict,
            self.head_side,
            swap,
            lambda one, other, doing: self.judged(one, other, doing, part).verdict,
        )

    def _compared(self, commit: str, step: Step) -> Status | None:
        """Judge base against a commit on the way; None where it can't be known."""
        try:
            side = self.side(commits.commit(self.project.folder, commit, "commit"))
            found = self.judged(self.base_side, side, f"bisecting, {commit[:8]}", step)
        except (BuildError, WorkerError):
            return None
        return found.verdict.cases[0].status
