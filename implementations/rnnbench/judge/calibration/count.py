"""Count how often the verdicts of trials were wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rnnbench.judge.calibration.asv_rule import DEFAULT_FACTOR, FACTORS
from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.calibration.trial import Trial
from rnnbench.judge.verdict.answer import CaseAnswer, Status
from rnnbench.judge.verdict.decision import Rule

CHANGED = (Status.REGRESSION, Status.IMPROVEMENT)
FIRST_LOOK = Rule().looks[1]
"""Rounds before which no time is decided, however narrow their spread."""
Said = Callable[[Trial, CaseAnswer], str | None]
"""A rule's answer for a case of a trial; None where it has none."""


def card(trials: Sequence[Trial], instructions: Mapping[str, Any] | None = None) -> Card:
    """Return the card of trials of one kin; its date is that of the latest."""
    aa = [trial for trial in trials if trial.planted is None]
    latest = max((trial.verdict for trial in trials), key=lambda verdict: verdict.at)
    alarms = _alarms(aa, _ours)
    spared = [
        case
        for trial in trials
        if trial.planted is not None
        for case in trial.measured
        if case.name not in trial.planted
    ]
    return Card(
        at=latest.at,
        machine=latest.machine,
        versions=latest.base.versions,
        commit=latest.base.hash,
        settings=trials[-1].settings,
        aa_verdicts=len(aa),
        aa_cases=round(median(len(trial.measured) for trial in aa)) if aa else 0,
        false_alarms=sum(alarms),
        alarmed_verdicts=sum(map(bool, alarms)),
        aa_inconclusive=sum(len(trial.verdict.of(Status.INCONCLUSIVE)) for trial in aa),
        planted=tuple(_planted(size, pairs) for size, pairs in _slowed(trials).items()),
        detectable=_detectable(aa),
        seconds=round(sum(trial.verdict.seconds for trial in trials), 1),
        other=_other(trials, aa),
        spared=len(spared),
        spared_alarms=sum(case.status in CHANGED for case in spared),
        instructions=instructions,
    )


def _ours(_: Trial, case: CaseAnswer) -> str:
    return case.status


def _asv(factor: float) -> Said:
    return lambda trial, case: trial.asv.get(case.name, {}).get(f"{factor:g}")


def _alarms(aa: Iterable[Trial], said: Said) -> list[int]:
    """Return the number of cases called a change, in each A/A trial."""
    return [sum(said(trial, case) in CHANGED for case in trial.measured) for trial in aa]


def _slowed(trials: Iterable[Trial]) -> dict[float, list[tuple[Trial, CaseAnswer]]]:
    """Return size → the measured cases that were slowed by it."""
    found = defaultdict(list)
    for trial in trials:
        for case in trial.measured:
            if trial.planted and case.name in trial.planted:
                found[trial.planted[case.name]].append((trial, case))
    return dict(sorted(found.items()))


def _planted(size: float, pairs: Sequence[tuple[Trial, CaseAnswer]]) -> Planted:
    cases = [case for _, case in pairs]
    could = [
        case
        for case in cases
        if case.rounds >= FIRST_LOOK and case.detectable is not None and case.detectable <= size
    ]
    return Planted(
        size=size,
        verdicts=len({trial.verdict.at for trial, _ in pairs}),
        cases=len(cases),
        found=_count(cases, Status.REGRESSION),
        inconclusive=_count(cases, Status.INCONCLUSIVE),
        denied=sum(
            case.status is not Status.REGRESSION and case.high is not None and case.high < 1 + size
            for case in cases
            if case.status is not Status.INCONCLUSIVE
        ),
        detectable=len(could),
        found_of_detectable=_count(could, Status.REGRESSION),
        covered=sum(
            case.low is not None and case.high is not None and case.low <= 1 + size <= case.high
            for case in cases
        ),
    )


def _count(cases: Iterable[CaseAnswer], status: Status) -> int:
    return sum(case.status is status for case in cases)


def _detectable(aa: Iterable[Trial]) -> dict[str, float]:
    """Return case → median of the least change that its A/A trials would have shown."""
    found = defaultdict(list)
    for trial in aa:
        for case in trial.measured:
            if case.detectable is not None:
                found[case.name].append(case.detectable)
    return {name: median(values) for name, values in found.items()}


def _other(trials: Sequence[Trial], aa: Sequence[Trial]) -> dict[str, Any] | None:
    """Return the counts for asv's rule: with its own factor, and beside it with smaller ones."""
    if not any(trial.asv for trial in trials):
        return None
    rows = []
    for factor in FACTORS:
        said = _asv(factor)
        alarms = _alarms(aa, said)
        rows.append(
            {
                "name": f"asv continuous, factor {factor:g}",
                "factor": factor,
                "false_alarms": sum(alarms),
                "alarmed_verdicts": sum(map(bool, alarms)),
                "planted": [
                    {
                        "size": size,
                        "cases": len(pairs),
                        "found": sum(said(*pair) == Status.REGRESSION for pair in pairs),
                    }
                    for size, pairs in _slowed(trials).items()
                ],
            }
        )
    own = next(row for row in rows if row["factor"] == DEFAULT_FACTOR)
    return own | {"factors": [row for row in rows if row is not own]}
