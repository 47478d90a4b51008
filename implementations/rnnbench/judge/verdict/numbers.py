"""Numbers without noise: the error against the oracle, counted instructions, and equal values.

Measured once a side: the same inputs give the same error. But an innocent change of the order in
which a sum is taken changes its rounding. For n terms of like size the error of any order is a
random walk, with a standard deviation between that of the pairwise sum, ∝ √log₂ n, and that of the
running sum, ∝ √n (Higham 2002, §4.2); a norm over many elements averages it, so that two orders of
the *same* kind give norms that differ by some percent (`tests/judge/verdict/test_numbers.py` draws
them). A change of the kind of sum can be worth more. So a growth by `GROWTH` = 2 is a regression:
the factor by which the budget, too, lets any backend be worse than torch's own. Errors below
`ROUNDED` eps are those of rounding the result itself, and no growth of them counts.

Instructions are counted alike up to `channels.SPREAD`, so what lies beyond it is a change; one that
matters lies beyond the verdict's practical floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rnnbench.judge.verdict.answer import CaseAnswer, Status, Undecided
from rnnbench.judge.verdict.channels import SPREAD
from rnnbench.judge.verdict.decision import LEAST
from rnnbench.judge.verdict.sides import Case

GROWTH = 2.0
ROUNDED = 1.0


def parity_answer(case: Case, base: float, head: float) -> CaseAnswer:
    """Compare two errors, in eps; that both are within their budgets is known."""
    floor = max(base, ROUNDED), max(head, ROUNDED)
    growth = floor[1] / floor[0]
    status, reason = Status.NO_CHANGE, None
    if growth > GROWTH:
        status = Status.REGRESSION
        reason = f"the error grew from {base:.3g} to {head:.3g} eps, more than reordering explains"
    elif growth < 1 / GROWTH:
        status = Status.IMPROVEMENT
    return _answer(case, base, head, status, GROWTH - 1, reason)


def same_value(case: Case, base: Sequence[float], head: Sequence[float]) -> CaseAnswer | None:
    """Answer for a value that is the same on both sides; None for one that needs rounds."""
    if list(base) != list(head):
        return None
    return replace(
        _answer(case, base[0], head[0], Status.NO_CHANGE, 0.0), ratio=1.0, low=1.0, high=1.0
    )


def count_answer(case: Case, base: float, head: float, floor: float) -> CaseAnswer:
    """Compare two counts of instructions; a change within ``floor`` is none that matters."""
    least = 1 + max(floor, SPREAD)
    status = Status.NO_CHANGE
    if head > base * least:
        status = Status.REGRESSION
    elif head < base / least:
        status = Status.IMPROVEMENT
    return _answer(case, base, head, status, least - 1)


def log_ratio(pair: tuple[float, float] | None) -> float | None:
    """Return ln(head / base), 0 for equal numbers of any sign; None where there is no ratio."""
    if pair is None:
        return None
    if pair[0] == pair[1]:
        return 0.0
    return math.log(pair[1] / pair[0]) if min(pair) > 0 else None


def without_ratio(answer: CaseAnswer, pairs: Sequence[tuple[float, float]]) -> CaseAnswer:
    """Answer for numbers some of which are not positive: a change is one that all rounds show."""
    base, head = zip(*pairs, strict=True)
    status = Status.INCONCLUSIVE
    if len(pairs) >= LEAST and (min(head) > max(base) or max(head) < min(base)):
        status = Status.REGRESSION if min(head) > max(base) else Status.IMPROVEMENT
    reason = (
        f"not all of its numbers are positive, so they have no ratio: {base[0]:g} → {head[0]:g}"
    )
    undecided = Undecided.NOISE if status is Status.INCONCLUSIVE else None
    return replace(answer, status=status, reason=reason, undecided=undecided)


def _answer(
    case: Case,
    base: float,
    head: float,
    status: Status,
    detectable: float,
    reason: str | None = None,
) -> CaseAnswer:
    ratio = head / base if base > 0 else None
    return case.answer(
        status,
        ratio=ratio,
        low=ratio,
        high=ratio,
        detectable=detectable,
        base=base,
        head=head,
        rounds=1,
        reason=reason,
    )
