"""asv's own comparison of the same pairs: the rule of ``asv continuous``.

All samples of a side's processes are one sample, its median the value. A case changed if a
Mann-Whitney test on the samples says so (p < 0.002; where they are too few, if the intervals of the
medians do not overlap) and the medians differ by more than a factor, 1.1 by default. asv would
keep samples only when asked, and compare intervals otherwise; here it has the better of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rnnbench.judge.verdict.answer import Status
from rnnbench.judge.verdict.pairs import Round
from rnnbench.judge.verdict.sides import Case

DEFAULT_FACTOR = 1.1
FACTORS = (DEFAULT_FACTOR, 1.05, 1.02)


def outcomes(rounds: Sequence[Round], case: Case) -> dict[str, Status] | None:
    """Return factor → asv's answer; None if the case has no samples on one side."""
    from asv.commands.compare import _is_result_better
    from asv_runner.statistics import compute_stats

    sides = [
        list(chain.from_iterable(side.samples.get(case, []) for side in of_side))
        for of_side in ([one.base for one in rounds], [one.head for one in rounds])
    ]
    if not all(sides):
        return None
    (base, base_stats), (head, head_stats) = (compute_stats(samples, 1) for samples in sides)
    ours: tuple[Any, Any] = (base_stats, sides[0]), (head_stats, sides[1])

    def said(factor: float) -> Status:
        if _is_result_better(head, base, ours[1], ours[0], factor):
            return Status.IMPROVEMENT
        if _is_result_better(base, head, ours[0], ours[1], factor):
            return Status.REGRESSION
        return Status.NO_CHANGE

    return {f"{factor:g}": said(factor) for factor in FACTORS}
