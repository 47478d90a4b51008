"""Numbers without noise: the error against the oracle.

Measured once a side: the same inputs give the same error. But an innocent change of the order in
which a sum is taken changes its rounding. For n terms of like size the error of any order is a
random walk, with a standard deviation between that of the pairwise sum, ∝ √log₂ n, and that of the
running sum, ∝ √n (Higham 2002, §4.2); a norm over many elements averages it, so that two orders of
the *same* kind give norms that differ by some percent (`tests/verdict/test_numbers.py` draws
them). A change of the kind of sum can be worth more. So a growth by `GROWTH` = 2 is a regression:
the factor by which the budget, too, lets any backend be worse than torch's own. Errors below
`ROUNDED` eps are those of rounding the result itself, and no growth of them counts.
"""

from __future__ import annotations

from rnnbench.verdict.answer import CaseAnswer, Status
from rnnbench.verdict.sides import Case

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
    ratio = head / base if base > 0 else None
    return CaseAnswer(
        case.benchmark,
        case.params,
        case.quantity,
        status,
        ratio=ratio,
        low=ratio,
        high=ratio,
        detectable=GROWTH - 1,
        base=base,
        head=head,
        rounds=1,
        reason=reason,
    )
