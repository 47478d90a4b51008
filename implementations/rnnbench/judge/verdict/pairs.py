"""Judge head against base: rounds of pairs until each case is decided or the time is spent.

prepare   both sides once, not counted: what compiles, compiles; what fails is known; what is
          the same number each time (parity) is known, too
rounds    base and head in a fresh process each, which sweep over the cases by turns on the same
          processor; in each two rounds one has base first and one head, drawn with a seed
looks     after the rounds that the rule names: cases that are decided are measured no more
"""

from __future__ import annotations

import math
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rnnbench.errors import InputError
from rnnbench.files import machine
from rnnbench.judge.suite import WRONG, Suite
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Undecided, Verdict
from rnnbench.judge.verdict.decision import (
    Decision,
    Rule,
    average,
    decide,
    joined,
    obvious,
    quarantined,
    rounds_needed,
    typical,
    without_drift,
)
from rnnbench.judge.verdict.numbers import (
    count_answer,
    log_ratio,
    parity_answer,
    same_value,
    without_ratio,
)
from rnnbench.judge.verdict.process import (
    Failure,
    Measured,
    Sampling,
    WorkerError,
    listed,
    measure,
)
from rnnbench.judge.verdict.sides import INSTRUCTIONS, MEAN, PARITY, TIME, VALUE, Case, Side
from rnnbench.judge.verdict.text import budget_minutes

STATISTICS = {TIME: typical, MEAN: average}
Key = tuple[Case, str]
"""A case, and its quantity; a timed case has a key for each of the `STATISTICS`."""


class Stand(NamedTuple):
    """Progress of a verdict."""

    rounds: int
    undecided: int
    cases: int
    seconds: float
    budget: float


@dataclass(frozen=True)
class Round:
    """The measurements of one process at base and one at head."""

    base: Measured
    head: Measured
    base_first: bool

    def control(self, quantity: str = TIME) -> tuple[float, float]:
        """Return the seconds of the control kernel at base and at head."""
        statistic = STATISTICS.get(quantity, typical)
        return statistic(self.base.control), statistic(self.head.control)

    def pair(self, case: Case, quantity: str = TIME) -> tuple[float, float] | None:
        """Return the typical or mean seconds of a case at base and at head, if both have it."""
        if case not in self.base.samples or case not in self.head.samples:
            return None
        statistic = STATISTICS.get(quantity, typical)
        return statistic(self.base.samples[case]), statistic(self.head.samples[case])


@dataclass
class Judgement:
    """A verdict, and all that was measured for it."""

    verdict: Verdict
    rounds: list[Round] = field(default_factory=list)


def judge(
    base: Side,
    head: Side,
    suite: Suite,
    choose: Callable[[Iterable[Case]], Iterable[Case]] = list,
    *,
    rule: Rule | None = None,
    sampling: Sampling | None = None,
    budget: float = 600.0,
    seed: int = 0,
    on_progress: Callable[[Stand], None] = lambda _: None,
) -> Judgement:
    """Judge the cases that ``choose`` picks from all that either side has.

    No round is begun that would not end within ``budget`` seconds, as the rounds went so far.
    Raises InputError if nothing is chosen or a side's Python can't be started, and WorkerError if
    a side's processes can't measure at all; what fails after the first round ends the rounds.
    """
    for side in (base, head):
        if not os.access(side.python, os.X_OK):
            raise InputError(f"python of a side must be an executable; got {side.python!r}")
    with tempfile.TemporaryDirectory(prefix="rnnbench-verdict-") as scratch:
        work = _Work(base, head, suite, rule or Rule(), sampling or Sampling(), Path(scratch))
        work.prepare(choose)
        work.run(budget, random.Random(seed), on_progress)
        return Judgement(work.verdict(), work.rounds)


class _Work:
    """The state of one judging."""

    def __init__(
        self, base: Side, head: Side, suite: Suite, rule: Rule, sampling: Sampling, scratch: Path
    ) -> None:
        self.started, self.at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        self.rule, self.sampling, self.scratch = rule, sampling, scratch
        self.base, self.head = (
            replace(side, environment=_variables(scratch / name) | dict(side.environment))
            for side, name in ((base, "base"), (head, "head"))
        )
        self.suite = suite
        self.cores = processors() if self.sampling.threads == 1 else []
        self.rounds: list[Round] = []
        self.answers: dict[Case, CaseAnswer] = {}
        self.decided: dict[Case, tuple[str, Decision]] = {}
        """The quantity that decides a case, `MEAN` or its own, and the decision."""
        self.prepared = 0.0
        """Seconds until the first round."""
        self.active: list[Case] = []
        self.timed: list[Case] = []
        self.ended = ""
        """Why there are no more rounds, if it is not for the time."""

    def prepare(self, choose: Callable[[Iterable[Case]], Iterable[Case]]) -> None:
        """List and measure once; answer all that needs no rounds."""
        self.of_base = listed(self.base, self.suite, self.scratch)
        self.of_head = listed(self.head, self.suite, self.scratch)
        self.suite = replace(self.suite, control=self.of_base.control)
        every = dict.fromkeys([*self.of_head.index, *self.of_base.index])
        self.cases = list(choose(every))
        self.not_chosen = Counter(case.benchmark for case in every) - Counter(
            case.benchmark for case in self.cases
        )
        if not self.cases:
            raise InputError(f"no case is chosen out of {len(every)} in {self.suite.folder}")
        once = replace(self.sampling, sweeps=1, samples=1)
        base, head = self._measured(self.cases, once)
        for case in self.cases:
            answer = _without_rounds(case, base, head, self)
            if answer is None and case.quantity == VALUE:
                answer = same_value(case, base.samples[case], head.samples[case])
            if answer is None:
                self.timed.append(case)
            else:
                self.answers[case] = answer
        self.active = list(self.timed)

    def _measured(
        self,
        cases: Sequence[Case],
        sampling: Sampling,
        *,
        base_first: bool = True,
        core: int | None = None,
    ) -> tuple[Measured, Measured]:
        """Measure base and head by turns."""
        sides = [
            (side, {case: has.index[case] for case in cases if case in has.index})
            for side, has in ((self.base, self.of_base), (self.head, self.of_head))
        ]
        order = 1 if base_first else -1
        found = measure(sides[::order], self.suite, self.scratch, sampling, core)
        base, head = found[::order]
        return base, head

    def run(
        self, budget: float, drawn: random.Random, on_progress: Callable[[Stand], None]
    ) -> None:
        """Add rounds until all is decided, the last look is done, or the time is spent."""
        looks, last = iter(self.rule.looks), self.rule.looks[-1]
        look, longest = next(looks), 0.0
        self.prepared = self.seconds
        base_first = True
        while self.active and len(self.rounds) < last:
            open_cases = len(self.active), len(self.cases)
            on_progress(Stand(len(self.rounds), *open_cases, self.seconds, budget))
            if self.seconds + longest > budget:
                self._look()
                return
            begun = self.seconds
            base_first = not base_first if len(self.rounds) % 2 else drawn.random() < 0.5
            try:
                self._round(base_first)
            except WorkerError as error:
                if not self.rounds:
                    raise
                self.ended = f"after {len(self.rounds)} rounds: {error}"
                self._look()
                return
            longest = max(self.seconds - begun, 0.8 * longest)
            if len(self.rounds) == look:
                self._look()
                look = next(looks, last)

    def _round(self, base_first: bool) -> None:
        # by twos, so that each has both orders; threads of more than one need more than one
        core = self.cores[len(self.rounds) // 2 % len(self.cores)] if self.cores else None
        base, head = self._measured(self.active, self.sampling, base_first=base_first, core=core)
        self.rounds.append(Round(base, head, base_first))
        for case in list(self.active):
            answer = _without_rounds(case, base, head, self)
            if answer is not None:
                now_and_then = Status.INCONCLUSIVE if answer.status is Status.NEW else answer.status
                reason = f"{answer.reason} (in round {len(self.rounds)})"
                ended = Undecided.ENDED if now_and_then is Status.INCONCLUSIVE else None
                answer = replace(answer, status=now_and_then, reason=reason, undecided=ended)
                self.answers[case] = answer
                self.active.remove(case)
                self.timed.remove(case)

    def _look(self) -> None:
        """Decide what the rounds so far decide; what is decided stays, and stays in the family."""
        ratios = self.ratios()
        found = decide(ratios, self.rule, lambda key: key[1])
        for case in list(self.active):
            shown, decision = case.quantity, found.get((case, case.quantity))
            if decision is None:
                continue
            if (mean := found.get((case, MEAN))) is not None:
                shown, decision = joined(decision, mean)
            enough = self.rule.decides(case.quantity, len(self.rounds))
            if not enough and not obvious(ratios[case, shown]):
                decision = replace(decision, status=Status.INCONCLUSIVE)
            self.decided[case] = shown, decision
            if decision.status is not Status.INCONCLUSIVE:
                self.active.remove(case)

    def counting(self) -> list[Round]:
        """Return the rounds in which the control did not drift."""
        drifted = quarantined([one.control() for one in self.rounds], self.rule.floor)
        return [one for one, bad in zip(self.rounds, drifted, strict=True) if not bad]

    def ratios(self) -> dict[Key, list[float]]:
        """Return log ratios of each case in the rounds that count; of times without the drift."""
        kept = self.counting()
        ratios: dict[Key, list[float]] = {}
        together: dict[tuple[str, tuple[int, ...]], list[Key]] = {}
        for case in self.timed:
            for quantity in STATISTICS if case.quantity == TIME else (case.quantity,):
                pairs = [one.pair(case, quantity) for one in kept]
                own = {n: d for n, pair in enumerate(pairs) if (d := log_ratio(pair)) is not None}
                ratios[case, quantity] = list(own.values())
                if case.quantity == TIME:
                    together.setdefault((quantity, tuple(own)), []).append((case, quantity))
        for (quantity, rounds), keys in together.items():  # a decided case has no later rounds
            controls = [kept[n].control(quantity) for n in rounds]
            drift = [math.log(head / base) for base, head in controls]
            ratios |= without_drift({key: ratios[key] for key in keys}, drift)
        return ratios

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def verdict(self) -> Verdict:
        """Return all answers, in the order of the cases."""
        kept = self.counting()
        for case in self.timed:
            self.answers[case] = self._answer(case, kept)
        return Verdict(
            at=self.at,
            machine=machine.identity(),
            base=replace(self.base.commit, versions=self.of_base.versions),
            head=replace(self.head.commit, versions=self.of_head.versions),
            threshold=self.rule.threshold,
            alpha=self.rule.alpha,
            rounds=len(self.rounds),
            seconds=round(self.seconds, 3),
            cases=tuple(self.answers[case] for case in self.cases),
            not_chosen=dict(self.not_chosen),
        )

    def _answer(self, case: Case, kept: list[Round]) -> CaseAnswer:
        shown, decision = self.decided.get(case, (case.quantity, None))
        pairs = [pair for one in kept if (pair := one.pair(case, shown)) is not None]
        of_case = sum(one.pair(case) is not None for one in self.rounds)
        answer = case.answer(
            Status.INCONCLUSIVE,
            base=median(base for base, _ in pairs) if pairs else None,
            head=median(head for _, head in pairs) if pairs else None,
            rounds=len(pairs),
            quarantined=of_case - len(pairs),
        )
        if any(log_ratio(pair) is None for pair in pairs):
            return without_ratio(answer, pairs)
        if decision is not None:
            answer = replace(answer, **vars(decision), quarantined=of_case - decision.rounds)
        if answer.status is Status.INCONCLUSIVE:
            answer = self._undecided(answer, decision, shown, of_case)
        return answer

    def _undecided(
        self, answer: CaseAnswer, decision: Decision | None, shown: str, rounds: int
    ) -> CaseAnswer:
        """Say why a case is undecided, and what budget should decide it."""
        if self.ended:
            return replace(answer, undecided=Undecided.ENDED, reason=self.ended)
        needed: int | None = self.rule.looks[1]
        if decision is not None and rounds >= self.rule.looks[0]:
            needed = rounds_needed(decision, self.rule, shown)
        spent = f"the time was spent after {rounds} round{'s' * (rounds != 1)}"
        if needed is None or rounds >= self.rule.looks[-1]:
            most = f"{self.rule.looks[-1]} rounds do not exclude {self.rule.excluded(shown):.0%}"
            own = f"{answer.reason}; " if answer.reason else ""
            if rounds < self.rule.looks[-1]:
                most = f"{spent}, and by its spread {most}"
            return replace(answer, undecided=Undecided.NOISE, reason=f"{own}too noisy: {most}")
        budget = self.prepared + needed * (self.seconds - self.prepared) / max(1, len(self.rounds))
        reason = f"{spent}; {needed} should decide it: --budget {budget_minutes(budget)}"
        return replace(answer, undecided=Undecided.TIME, budget=round(budget, 1), reason=reason)


def processors() -> list[int]:
    """Return the processors that this process may use; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _variables(kept: Path) -> dict[str, str]:
    """Return variables that name the folder of what the processes of one side share."""
    kept.mkdir()
    return {
        "RNNBENCH_KEPT_DIR": str(kept),
        "RNNBENCH_RUN_DIR": str(kept),
        "RNNBENCH_RESULTS_DIR": str(kept),
    }


def _without_rounds(case: Case, base: Measured, head: Measured, work: _Work) -> CaseAnswer | None:
    """Return the answer for a case that failed, was skipped or is a number without noise."""
    if case in head.failed:
        return _failed(case, head.failed[case], base.failed.get(case))
    accounts: dict[Status, list[str | bool | None]] = {
        Status.SKIPPED: [case in base.skipped and head.skipped.get(case)],
        Status.BROKEN: [
            case not in work.of_head.index and "head does not have it, or can't import its module",
            case in head.skipped and f"head skips it: {head.skipped[case]}",
        ],
        Status.NEW: [
            case not in work.of_base.index and "base does not have it, or can't import its module",
            case in base.failed and f"base fails: {base.failed[case].reason}",
            case in base.skipped and f"base skips it: {base.skipped[case]}",
        ],
    }
    for status, sentences in accounts.items():
        for sentence in sentences:
            if isinstance(sentence, str):
                return case.answer(status, reason=sentence)
    if case.quantity not in (PARITY, INSTRUCTIONS):
        return None
    (got_base,), (got_head,) = base.samples[case], head.samples[case]
    if case.quantity == PARITY:
        return parity_answer(case, got_base, got_head)
    return count_answer(case, got_base, got_head, work.rule.floor)


def _failed(case: Case, at_head: Failure, at_base: Failure | None) -> CaseAnswer:
    if at_head.kind != WRONG:
        return case.answer(Status.BROKEN, reason=at_head.reason)
    if at_base is not None:
        return case.answer(Status.BROKEN, reason=f"wrong at base and at head: {at_head.reason}")
    wrong = case.answer(Status.REGRESSION, reason=f"wrong at head: {at_head.reason}")
    return replace(wrong, quantity=PARITY)
