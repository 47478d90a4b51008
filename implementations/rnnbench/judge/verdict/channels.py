"""Two channels of one case: seconds, and instructions counted by callgrind.

Instructions are the same each time (`SPREAD`), so that a change of them is certain, but
they are no time: cache misses, memory, clock and layout are not in them. Where seconds and
instructions say different things, that is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnnbench.judge.verdict.answer import CaseAnswer, Status

SPREAD = 0.005
"""Largest relative spread over ten runs with which counts are of use."""

SAYS = {
    (Status.REGRESSION, Status.NO_CHANGE): "slower with the same instructions: memory, caches, "
    "layout or the machine, not more work",
    (Status.IMPROVEMENT, Status.NO_CHANGE): "faster with the same instructions: memory, caches, "
    "layout or the machine, not less work",
    (Status.NO_CHANGE, Status.REGRESSION): "more instructions in the same time",
    (Status.NO_CHANGE, Status.IMPROVEMENT): "fewer instructions in the same time",
    (Status.REGRESSION, Status.IMPROVEMENT): "slower with fewer instructions: each takes longer",
    (Status.IMPROVEMENT, Status.REGRESSION): "faster with more instructions: each takes less",
}
"""Statuses of time and count → their meaning."""


@dataclass(frozen=True)
class Disagreement:
    """A case of which seconds and instructions say different things."""

    time: CaseAnswer
    count: CaseAnswer
    says: str


def disagreements(answers: Iterable[CaseAnswer]) -> list[Disagreement]:
    """Return the disagreements of cases that are both timed and counted: same class and parameters.

    An inconclusive time contradicts nothing.
    """
    every = list(answers)
    counts = {_place(one): one for one in every if one.quantity == "instructions"}
    return [
        Disagreement(one, count, says)
        for one in every
        if one.quantity == "time"
        and (count := counts.get(_place(one))) is not None
        and (says := SAYS.get((one.status, count.status))) is not None
    ]


def _place(answer: CaseAnswer) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return class and parameters: two channels of a case have them in common."""
    return answer.benchmark.rsplit(".", 2)[-2], answer.params
