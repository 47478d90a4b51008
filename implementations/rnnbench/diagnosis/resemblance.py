"""General signatures: describe wrong numbers that no known mistake gives.

Each is a statement about the numbers alone, true to rounding; none names a cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rnnbench.diagnosis.trials import Trial
from rnnbench.parity.oracle import Array
from rnnbench.spec import UNIT_ROUNDOFF

SLACK = 1e3
"""Rounding, in units of the dtype's roundoff."""


def resemblances(trials: Sequence[Trial]) -> list[str]:
    """Return what is true of the departing quantities, a sentence each."""
    found: dict[str, None] = {}
    wrong = [trial for trial in trials if trial.failed and trial.problem.case.T > 1]
    for trial in wrong[:1]:
        found |= dict.fromkeys(_of(trial))
    return list(found)


def _of(trial: Trial) -> Iterator[str]:
    eps = SLACK * UNIT_ROUNDOFF[trial.problem.case.spec.dtype]
    factors: dict[str, float] = {}
    for row in trial.failed:
        got, right = trial.numbers(row.quantity), trial.solved.expected.get(row.quantity)
        if got is None or right is None or got.shape != right.shape:
            continue
        right = right.astype(float)
        if not np.isfinite(got).all():
            yield from _not_finite(row.quantity, got)
        elif not got.any():
            yield f"{row.quantity} is zero throughout"
        elif (factor := _factor(got, right, eps)) is not None:
            factors[row.quantity] = factor
        else:
            yield from _reordered(row.quantity, got, right, eps)
    yield from _scaled(factors)


def _scaled(factors: dict[str, float]) -> Iterator[str]:
    for factor in dict.fromkeys(float(f"{one:.4g}") for one in factors.values()):
        names = [name for name, one in factors.items() if float(f"{one:.4g}") == factor]
        yield f"{', '.join(names)} differ from what is right by a constant factor, {factor:g}"


def _factor(got: Array, right: Array, eps: float) -> float | None:
    """Return k where got = k · right with a k other than 1."""
    size = float((right * right).sum())
    k = float((got * right).sum()) / size if size else 0.0
    near = np.linalg.norm(got - k * right) <= eps * np.linalg.norm(got)
    return k if near and got.size > 1 and abs(k - 1) > eps else None


def _not_finite(quantity: str, got: Array) -> Iterator[str]:
    if quantity == "output":
        first = next(t for t in range(len(got)) if not np.isfinite(got[t]).all())
        yield f"output is not finite from t = {first} on" if first else "output is never finite"


def _reordered(quantity: str, got: Array, right: Array, eps: float) -> Iterator[str]:
    def same(one: Array, other: Array) -> bool:
        return bool(np.linalg.norm(one - other) <= eps * np.linalg.norm(other))

    if quantity == "output" and same(got, np.broadcast_to(got[-1:], got.shape)):
        yield "all steps of the output equal the last"
    elif quantity == "output" and same(got, right[::-1]):
        yield "the output is right, in the reverse order of time"
    elif same(np.sort(got, axis=None), np.sort(right, axis=None)):
        yield f"{quantity} has the right numbers in another order"
    elif quantity == "output":
        right_steps = [t for t in range(len(got)) if same(got[t], right[t])]
        if right_steps and len(right_steps) < len(got):
            yield f"the output is right at t = {', '.join(map(str, right_steps))} and nowhere else"
