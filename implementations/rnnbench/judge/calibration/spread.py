"""The spread of instruction counts over ten processes on one side.

Counts are kept as a channel only while (largest − smallest) / median stays below
`rnnbench.judge.verdict.channels.SPREAD` in every case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.channels import SPREAD
from rnnbench.judge.verdict.process import Listed, Measured, Sampling, listed, measure
from rnnbench.judge.verdict.sides import INSTRUCTIONS, Case, Side

RUNS = 10
ONCE = Sampling(sweeps=1, samples=1, limit=1200.0)


def spread(
    side: Side,
    suite: Suite,
    scratch: Path,
    measured: Callable[..., list[Measured]] = measure,
    listing: Callable[..., Listed] = listed,
) -> dict[str, Any]:
    """Return ``available``, the ``reason`` if not, and ``spread``, the widest of all cases."""
    side = replace(side, environment={**side.environment, **suite.counting})
    has = listing(side, suite, scratch)
    places = {case: at for case, at in has.index.items() if case.quantity == INSTRUCTIONS}
    if not places:
        return _absent("the suite counts no instructions")
    counts: dict[Case, list[float]] = {case: [] for case in places}
    for _ in range(RUNS):
        (found,) = measured([(side, places)], suite, scratch, ONCE)
        reasons = [*found.skipped.values(), *(one.reason for one in found.failed.values())]
        if reasons:
            return _absent(reasons[0])
        for case, values in found.samples.items():
            counts[case] += values
    widest = max((max(of) - min(of)) / median(of) for of in counts.values())
    reason = None
    if widest >= SPREAD:
        reason = f"counts spread by {widest:.2%} over {RUNS} runs, {SPREAD:.1%} or more"
    return {"available": reason is None, "reason": reason, "spread": widest}


def _absent(reason: str) -> dict[str, Any]:
    return {"available": False, "reason": reason, "spread": None}


def known(cards: list[Any], versions: Mapping[str, str]) -> dict[str, Any] | None:
    """Return ``instructions`` of the latest card with these versions that has any."""
    for card in reversed(cards):
        if card.versions == versions and card.instructions:
            return dict(card.instructions)
    return None
