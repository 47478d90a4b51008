"""Run trials through the path of a verdict, one after another; each is kept as it ends.

A card counts the latest trials of one *kin*: same machine, versions and settings; which commit was
compared with itself does not matter. So a run that was killed goes on where it was, and a nightly
refreshes a card by a few trials a night.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError
from rnnbench.files import machine, records
from rnnbench.judge.calibration import asv_rule, count, plant, spread
from rnnbench.judge.calibration.card import Card
from rnnbench.judge.calibration.trial import Trial, keep, kept
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict import choice
from rnnbench.judge.verdict.answer import Status
from rnnbench.judge.verdict.choice import Chooser
from rnnbench.judge.verdict.decision import Rule
from rnnbench.judge.verdict.pairs import STATISTICS, Judgement, judge
from rnnbench.judge.verdict.process import Listed, Sampling, listed
from rnnbench.judge.verdict.sides import TIME, Case, Side

QUICK = Sampling(sweeps=8, samples=4, least=2, sample_time=0.001, sweep_time=0.005)
"""Less than a verdict takes of each case: error rates need many verdicts."""
OLDEST = 30.0
"""Days after which a trial no longer counts."""


@dataclass(frozen=True)
class Plan:
    """The number of trials that make a card, and how each is judged."""

    verdicts: int = 40
    planted_verdicts: int = 10
    share: int = 0
    """Trials to measure even if none is missing: the oldest give way to them."""
    budget: float = float("inf")
    """Seconds; no trial is begun that would not end within them."""
    each: float = 60.0
    """Seconds for the rounds of a trial."""
    sizes: tuple[float, ...] = plant.SIZES
    rule: Rule = field(default_factory=Rule)
    sampling: Sampling = QUICK
    instructions: bool = False
    """Measure the spread of instruction counts, if no card of these versions knows it: a quarter of
    an hour."""

    def __post_init__(self) -> None:
        for name in ("verdicts", "planted_verdicts", "share"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0; got {getattr(self, name)}")
        if self.verdicts + self.planted_verdicts == 0:
            raise InputError("verdicts and planted_verdicts must not both be 0")
        for name in ("budget", "each"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be more than 0 seconds; got {getattr(self, name)}")
        if not self.sizes or not all(0 < size <= 1 for size in self.sizes):
            raise InputError(f"sizes must lie above 0, up to 1; got {self.sizes!r}")


@dataclass(frozen=True)
class Stand:
    """Progress of a calibration."""

    done: int
    due: int
    seconds: float
    """Of the longest trial so far; 0 before the first has ended."""
    doing: str


@dataclass
class Calibrated:
    """A card, if any trial counts, and what was done for it."""

    card: Card | None
    measured: int
    """Trials in this run."""
    missing: int
    seconds: float
    plants: bool
    """The suite can slow its package; otherwise there are A/A trials only."""


Judge = Callable[..., Judgement]
List = Callable[[Side, Suite, Path], Listed]


def chosen(suite: Suite) -> Chooser:
    """Return a function that picks those of a verdict's own choice that the suite calibrates."""
    return timed(lambda cases: suite.calibrated(choice.chooser((), (), suite)(cases)))


def timed(choose: Chooser) -> Chooser:
    """Return a function that picks the times among those that ``choose`` picks.

    It is their errors that a card is about.
    """
    return lambda cases: [case for case in choose(cases) if case.quantity == TIME]


def calibrate(
    side: Side,
    suite: Suite,
    results: Path,
    choose: Chooser,
    plan: Plan,
    *,
    on_progress: Callable[[Stand], None] = lambda _: None,
    judged: Judge = judge,
    listing: List = listed,
) -> Calibrated:
    """Run the trials that are missing, or as many as fit; write the card anew after each.

    ``judged`` and ``listing`` are the verdict's own. Raises InputError for a side that can't be
    copied or a choice without cases, and WorkerError where nothing can be measured.
    """
    begun = time.monotonic()
    if suite.plant is None:
        plan = replace(plan, planted_verdicts=0)
    with tempfile.TemporaryDirectory(prefix="rnnbench-calibrate-") as scratch:
        work = _Work(side, suite, results, choose, plan, Path(scratch), judged, listing)
        due, done, longest = work.due(), 0, 0.0
        for kind in due:
            spent = time.monotonic() - begun
            if done and spent + longest > plan.budget:
                break
            on_progress(Stand(done, len(due), longest, kind))
            work.trial(planted=kind == PLANTED)
            longest = max(longest, time.monotonic() - begun - spent)
            done += 1
            work.write_card()
        missing = len(due) - done
        if plan.instructions and missing == 0 and work.instructions is None:
            on_progress(Stand(done, len(due), longest, "instruction counts"))
            work.count_instructions()
        seconds = time.monotonic() - begun
        return Calibrated(work.write_card(), done, missing, seconds, suite.plant is not None)


AA, PLANTED = "A/A", "planted"


@dataclass
class _Work:
    """Copies, cases and trials of one calibration."""

    side: Side
    suite: Suite
    results: Path
    choose: Chooser
    plan: Plan
    scratch: Path
    judged: Judge
    listing: List

    def __post_init__(self) -> None:
        self.machine = machine.identity()
        self.copies = {
            name: self._copy(name, planted)
            for name, planted in (("a", None), ("b", None), ("unslowed", {}))
        }
        has = self.listing(self.copies["a"], self.suite, self.scratch)
        self.cases = self.choose(has.index)
        if not self.cases:
            raise InputError(
                f"no timed case is chosen out of {len(has.index)} in {self.suite.folder}"
            )
        self.keys = plant.keyed(self.suite, self.cases)
        cards = records.read(self.results, records.CARD, Card.from_dict, self.machine["host"])
        self.instructions = spread.known([one.value for one in cards if one.value], has.versions)
        self.settings = self._settings()
        self.versions = has.versions

    def _copy(self, name: str, planted: Mapping[Case, float] | None) -> Side:
        """Return a copy of the side, with a folder for what its benchmarks keep over the trials.

        This repository's check parity once and keep the answer there.
        """
        copy = plant.copied(self.side, self.scratch / name, self.suite, planted)
        kept = self.scratch / f"{name}-kept"
        kept.mkdir(exist_ok=True)
        return replace(copy, environment=dict(copy.environment) | {"RNNBENCH_KEPT_DIR": str(kept)})

    def _settings(self) -> dict[str, Any]:
        plan = self.plan
        return asdict(plan.rule) | {
            "looks": list(plan.rule.looks),
            "statistics": list(STATISTICS),
            "seconds": plan.each,
            "sampling": asdict(plan.sampling),
            "sizes": list(plan.sizes),
            "cases": len(self.cases),
            "profile": os.environ.get("RNNBENCH_PROFILE", "quick"),
        }

    def kin(self) -> list[Trial]:
        """Return the kept trials that count with those of this run, oldest first."""
        same = (self.machine, dict(self.versions), self.settings)
        return [
            trial
            for trial in kept(self.results, self.machine["host"])
            if (trial.verdict.machine, dict(trial.verdict.base.versions), trial.settings) == same
            and trial.age() <= OLDEST
        ]

    def counting(self) -> list[Trial]:
        """Return the latest of each kind, as many as make a card."""
        every = self.kin()
        aa = [trial for trial in every if trial.planted is None]
        slowed = [trial for trial in every if trial.planted is not None]
        wanted = ((aa, self.plan.verdicts), (slowed, self.plan.planted_verdicts))
        return [trial for found, count in wanted for trial in (found[-count:] if count else [])]

    def due(self) -> list[str]:
        """Return the kinds of the trials to make, mixed, so that a part of them is a card too."""
        have = self.counting()
        slowed = sum(trial.planted is not None for trial in have)
        missing = [self.plan.verdicts - (len(have) - slowed), self.plan.planted_verdicts - slowed]
        if sum(missing) == 0:
            whole = self.plan.verdicts + self.plan.planted_verdicts
            fresh = round(self.plan.share * self.plan.verdicts / whole)
            missing = [fresh, self.plan.share - fresh]
        kinds = [(place + 0.5) / n for n in missing for place in range(n)]
        names = [AA] * missing[0] + [PLANTED] * missing[1]
        return [name for _, name in sorted(zip(kinds, names, strict=True))]

    def trial(self, *, planted: bool) -> None:
        """Judge once, and keep the verdict."""
        turn = len(self.kin())
        slowed = plant.sizes(self.keys, turn, self.plan.sizes) if planted else None
        sides = self.copies["a"], self.copies["b"]
        if slowed is not None:
            sides = self.copies["unslowed"], self._copy("slowed", slowed)
        found = self.judged(
            *sides,
            self.suite,
            lambda _: self.cases,
            rule=self.plan.rule,
            sampling=self.plan.sampling,
            budget=self.plan.each,
            seed=turn,
        )
        answers = {case.name for case in found.verdict.cases if case.status is not Status.SKIPPED}
        asv = {
            case.name: said
            for case in self.cases
            if case.name in answers and (said := asv_rule.outcomes(found.rounds, case))
        }
        sizes = None if slowed is None else {case.name: size for case, size in slowed.items()}
        keep(self.results, Trial(found.verdict, self.settings, sizes, asv))

    def count_instructions(self) -> None:
        self.instructions = spread.spread(self.copies["a"], self.suite, self.scratch)

    def write_card(self) -> Card | None:
        """Write the card of all trials that count; returns None if there are none."""
        trials = self.counting()
        if not trials:
            return None
        found = count.card(trials, self.instructions)
        name = records.name(found.at)
        records.write(self.results, records.CARD, found.machine["host"], name, found.as_dict())
        return found
