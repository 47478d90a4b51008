"""Narrow a range of commits down to the one that made the worst case slower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rnnbench.judge.verdict.answer import Status, Verdict

GOOD = (Status.NO_CHANGE, Status.IMPROVEMENT)
LEAST_THRESHOLD = 0.015
"""A threshold must be above the floor of a change that matters."""


@dataclass(frozen=True)
class Step:
    """One judging on the way: which cases, what to find or exclude, in how many seconds."""

    cases: tuple[str, ...]
    threshold: float
    budget: float


def narrowed(
    verdict: Verdict, budget: float, compared: Callable[[str, Step], Status | None]
) -> tuple[str, ...]:
    """Return the commits that the worst regression of a verdict can come from.

    ``compared`` judges base against a commit. What it must exclude is half of the change, so that a
    commit counts as good only if most of the regression is yet to come.
    """
    worst = verdict.worst
    change = (worst.ratio or 1 + 2 * verdict.threshold) - 1
    step = Step((worst.name,), max(change / 2, LEAST_THRESHOLD), budget)
    return narrow(verdict.commits, lambda commit: _is_bad(compared(commit, step)))


def _is_bad(status: Status | None) -> bool | None:
    if status is Status.REGRESSION:
        return True
    return False if status in GOOD else None


def narrow(commits: tuple[str, ...], bad: Callable[[str], bool | None]) -> tuple[str, ...]:
    """Halve the range while it can be: the last commit is bad, what lies before the first is good.

    A commit of which nothing is known (None: it does not build, or is too noisy) is passed over
    for its nearest neighbour; where only such are left, they stay in the range.
    """
    low, high = -1, len(commits) - 1
    unknown: set[int] = set()
    while True:
        middle = (low + high) / 2
        left = [place for place in range(low + 1, high) if place not in unknown]
        if not left:
            return commits[low + 1 : high + 1]
        place = min(left, key=lambda one: abs(one - middle))
        answer = bad(commits[place])
        if answer is None:
            unknown.add(place)
        elif answer:
            high = place
        else:
            low = place
