"""Errors: what reordering explains is no change, twice as much is a regression."""

from __future__ import annotations

import numpy as np
import pytest

from rnnbench.judge.verdict.answer import Status
from rnnbench.judge.verdict.numbers import GROWTH, parity_answer
from rnnbench.judge.verdict.sides import PARITY, Case

CASE = Case("parity.track_error", (), PARITY)


@pytest.mark.parametrize(
    ("base", "head", "status"),
    [
        (3.0, 3.0, Status.NO_CHANGE),
        (3.0, 5.9, Status.NO_CHANGE),
        (3.0, 6.1, Status.REGRESSION),
        (6.1, 3.0, Status.IMPROVEMENT),
        (0.01, 0.9, Status.NO_CHANGE),
        (0.0, 0.0, Status.NO_CHANGE),
        (0.0, 2.5, Status.REGRESSION),
    ],
)
def test_growth_beyond_the_factor_is_a_regression(base: float, head: float, status: Status):
    assert parity_answer(CASE, base, head).status is status


@pytest.mark.parametrize("terms", [16, 128, 1024])
def test_reordering_a_sum_stays_below_the_factor(terms: int):
    """Norm-wise errors of float32 products, running sums over the same terms in 40 orders."""
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((64, terms), np.float32), rng.standard_normal(terms, np.float32)
    exact = A.astype(float) @ x.astype(float)
    errors = []
    for _ in range(40):
        order = rng.permutation(terms)
        got = np.cumsum(A[:, order] * x[order], axis=1, dtype=np.float32)[:, -1]
        errors.append(np.linalg.norm(got - exact) / np.linalg.norm(exact))
    assert max(errors) / min(errors) < GROWTH
