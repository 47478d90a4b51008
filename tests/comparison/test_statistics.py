"""The ratio and its interval, on samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from rnnbench.comparison.statistics import ratio


def rounds(seed, n, median, spread, shared=None):
    """Seconds with that median; ``shared`` is what every candidate of a round suffers."""
    own = np.random.default_rng(seed).lognormal(0, spread, n)
    return list(median * own * (1 if shared is None else shared))


def test_ratio_is_of_the_medians_and_above_one_where_the_candidate_is_faster():
    found = ratio([4.0, 6.0, 5.0], [2.0, 2.5, 100.0])
    assert found.value == 5.0 / 2.5
    assert found.low <= found.value <= found.high


def test_equal_samples_have_ratio_one_and_no_width():
    assert ratio([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (1.0, 1.0, 1.0)


def test_same_samples_give_the_same_interval():
    pair = rounds(1, 20, 1.0, 0.1), rounds(2, 20, 0.5, 0.1)
    assert ratio(*pair) == ratio(*pair)


def test_interval_narrows_with_more_rounds():
    widths = []
    for n in (10, 160):
        found = ratio(rounds(1, n, 1.0, 0.1), rounds(2, n, 0.5, 0.1))
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_noise_of_whole_rounds_cancels():
    shared = np.random.default_rng(3).lognormal(0, 0.3, 40)
    other = np.random.default_rng(4).permutation(shared)
    baseline, candidate = (1, 40, 1.0, 0.01), (2, 40, 0.5, 0.01)
    paired = ratio(rounds(*baseline, shared), rounds(*candidate, shared))
    alone = ratio(rounds(*baseline, shared), rounds(*candidate, other))
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        found = ratio(rounds(2 * seed, 25, 1.0, 0.1), rounds(2 * seed + 1, 25, 0.5, 0.1))
        held += found.low <= 2.0 <= found.high
    assert held / 200 == pytest.approx(0.95, abs=0.05)
