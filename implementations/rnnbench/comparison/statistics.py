"""Ratio of two candidates' medians and its interval, from rounds in which both were sampled.

The estimate is median(baseline) / median(candidate): above 1 the candidate is faster. Its interval
is the percentile bootstrap over rounds (Efron 1979): rounds are drawn with replacement, the same
for both, so that a slow round counts against both. It covers one process's noise on this machine,
not the differences between processes, builds or days.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000


class Ratio(NamedTuple):
    """Ratio of speeds to the baseline (2: twice as fast), and its interval at `LEVEL`."""

    value: float
    low: float
    high: float


def ratio(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Return the ratio of seconds in the same rounds for both."""
    pair = np.array([baseline, candidate])
    rounds = pair.shape[1]
    drawn = np.random.default_rng(0).integers(rounds, size=(DRAWS, rounds))
    above, below = np.median(pair[:, drawn], axis=2)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(above / below, [tail, 100 - tail])
    above, below = np.median(pair, axis=1)
    return Ratio(float(above / below), float(low), float(high))
