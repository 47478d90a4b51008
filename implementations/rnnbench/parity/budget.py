"""Budgets of errors: how large one may be, derived from the case, not guessed.

Error.  For each quantity q, norm-wise and in units of u, the unit roundoff of the dtype
(2⁻²⁴ for float32):

    e(q) = ‖got − oracle‖₂ / (‖oracle‖₂ · u)

Budget.  Derived, not guessed; the smaller of two:

1. 4 · (1 + backward) · ⌈log₂(k·T)⌉, oneDNN's rule for its RNN tests (benchdnn, rnn): rounding
   errors of a sum of depth n, added as a tree or at random, grow like log n; k is the longest sum
   of one step, T steps follow each other, and the backward pass adds as much again.
2. max(4·A, 2 · error of torch's own module in that dtype on the same case), the error being the
   largest over the quantities of the same pass, forward or backward: one quantity alone is a draw
   of chance. torch is exact by luck on tiny cases, hence the floor: 4, times the conditioning
   A ≥ 1 of the quantity.

A(q), the conditioning of q, is measured: x, state and weights are perturbed by one u, relative and
of random sign, and A is the largest error that this alone makes in the oracle in 8 draws. It is 1
to 3, but larger where a sum cancels (a bias gradient) and no implementation can do better. As it
costs more runs of the oracle it is measured only where an error exceeds the rest of the budget.

Expansive weights.  A network that magnifies perturbations (A > 4, more than rule 1 foresees) makes
every implementation in that dtype differ. There an error up to 8·A is tagged ``chaotic``: reported,
not gated. Anything beyond is still red.

The elementwise error in ULP (median and 99th percentile) is shown but never gated: near zero it
reaches millions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import methodcaller

import numpy as np

from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF, Case

FLOOR = 4.0
CONDITIONING_DRAWS = 8


def relative_error(got: Array, expected: Array, unit: float) -> float:
    """e(q), norm-wise in units of ``unit``; infinite if only the oracle is zero."""
    scale = math.sqrt(float(np.sum(expected**2)))
    distance = math.sqrt(float(np.sum((got - expected) ** 2)))
    if scale == 0.0:
        return 0.0 if distance == 0.0 else math.inf
    return distance / scale / unit


def rule(case: Case, quantity: str) -> float:
    """Rule 1 of the budget: 4 · (1 + backward) · ⌈log₂(k·T)⌉, in units of the unit roundoff.

    k is the longest sum of one step: I + H columns into a gate forward; G·H rows back into a state
    and B rows into a weight backward.
    """
    spec = case.spec
    widest = max(spec.layer_input_size(layer) for layer in range(spec.layers))
    backward = quantity.startswith("grad_")
    k = widest + spec.hidden_size
    if backward:
        k = max(k, spec.gates * spec.hidden_size * spec.directions, case.B)
    return 4.0 * (1 + backward) * math.ceil(math.log2(k * case.T))


def worst_of_pass(errors: Mapping[str, float], quantity: str) -> float:
    """The largest of torch's errors in the pass, forward or backward, that gave ``quantity``."""
    backward = quantity.startswith("grad_")
    return max(error for q, error in errors.items() if q.startswith("grad_") == backward)


def conditioning_of(
    problem: Problem,
    expected: Mapping[str, Array],
    answer: Callable[[Problem], Mapping[str, Array]] = methodcaller("expected"),
) -> dict[str, float]:
    """Return A(q), the error of each quantity when every number given is off by one unit roundoff.

    expected: the answer to the problem as it is, from ``answer``, by default the oracle.
    """
    unit = UNIT_ROUNDOFF[problem.case.spec.dtype]
    rng = np.random.default_rng(problem.case.seed)

    def off(values: Array) -> Array:
        return values * (1 + unit * rng.choice([-1.0, 1.0], values.shape))

    def draw() -> Mapping[str, Array]:
        moved = replace(
            problem,
            x=off(problem.x),
            state=tuple(map(off, problem.state)),
            weights={name: off(values) for name, values in problem.weights.items()},
        )
        return answer(moved)

    draws = [draw() for _ in range(CONDITIONING_DRAWS)]
    return {
        q: max(relative_error(d[q], value, unit) for d in draws) for q, value in expected.items()
    }


def ulps(got: Array, expected: Array, dtype: str) -> tuple[float, float]:
    """Median and 99th percentile of |got − oracle| in units of the oracle's last place.

    Over the elements where the oracle is not zero: zero has no last place.
    """
    there = expected != 0
    if not there.any():
        return 0.0, 0.0
    last_place = 2 * UNIT_ROUNDOFF[dtype] * np.exp2(np.floor(np.log2(np.abs(expected[there]))))
    distance = np.abs(got[there] - expected[there]) / last_place
    median, p99 = np.percentile(distance.astype(float), [50, 99])
    return float(median), float(p99)
