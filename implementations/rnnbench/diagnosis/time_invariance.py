"""Test that a candidate does at every step the same, so that a cut sequence stands for its part.

A run over the last n steps counts them from 0. What departs there departs in the whole sequence at
the same step only if the candidate does not go by the number of the step (a detach every k steps, a
state dropped at the third), and what the runs differ by is a step's contribution only if each step
adds to the gradients on its own.

Check.  Without biases and from zero states a step with x = 0 leaves the states at zero and adds
nothing to the gradient of any weight: tanh, relu and g are 0 there, and h = c = 0. Such a step
before all others, with the weights of the other direction zero, must change nothing:

    f(0, x_1, …, x_{T−1}) = f(x_1, …, x_{T−1})

in the outputs, in the gradients of the weights and of x. The candidate is compared with itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.trials import Solved, Trial, attempt
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import DIRECTION_SUFFIX, UNIT_ROUNDOFF

SLACK = 64.0
"""Rounding of the two runs beside each other, in budgets; what departs is thousands off."""


def same_at_every_step(adapter: Adapter, whole: Problem) -> bool | None:
    """Return whether a step that does nothing changes nothing; None where that cannot be seen."""
    if whole.case.T < 2:
        return True
    verdicts = [_same(adapter, whole, direction) for direction in range(whole.case.spec.directions)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _same(adapter: Adapter, whole: Problem, direction: int) -> bool | None:
    spec, T = whole.case.spec, whole.case.T
    end = DIRECTION_SUFFIX[direction]
    kept = {
        p.name
        for p in spec.parameters
        if p.direction == direction and p.name.startswith("weight") and p.name.endswith(end)
    }
    first = -1 if direction else 0
    x = whole.x.copy()
    x[first] = 0.0
    with_step = replace(
        whole,
        x=x,
        state=tuple(np.zeros_like(part) for part in whole.state),
        weights={n: w if n in kept else np.zeros_like(w) for n, w in whole.weights.items()},
    )
    rest = slice(0, T - 1) if direction else slice(1, T)
    long, short = _put(adapter, with_step, slice(0, T)), _put(adapter, with_step, rest)
    if long.raised or short.raised:
        return None if long.raised and short.raised else False
    half = slice(direction * spec.state_size, (direction + 1) * spec.state_size)
    after = long.numbers("output")
    if after is not None and after.shape != long.solved.expected["output"].shape:
        return None
    if after is not None and after[first][:, half].any():
        return None  # the step does something here: it is wrong in itself
    parts: dict[str, tuple[Any, Any]] = {f"grad_{name}": (..., ...) for name in kept}
    parts |= {"output": ((rest, slice(None), half), (..., half)), "grad_x": (rest, ...)}
    compared = 0
    for quantity, (of_long, of_short) in parts.items():
        one, other = long.numbers(quantity), short.numbers(quantity)
        right = short.solved.expected.get(quantity)
        if right is None or one is None or other is None or other.shape != right.shape:
            continue
        compared += 1
        if not _near(one[of_long], other[of_short], right[of_short], short, quantity):
            return False
    return True if compared else None


def _put(adapter: Adapter, problem: Problem, steps: slice) -> Trial:
    x = problem.x[steps]
    upstream = dict(problem.upstream) | {"output": problem.upstream["output"][steps]}
    case = replace(problem.case, T=len(x))
    return attempt(adapter, Solved.of(replace(problem, case=case, x=x, upstream=upstream)))


def _near(one: Array, other: Array, right: Array, trial: Trial, quantity: str) -> bool:
    row = next(row for row in trial.rows if row.quantity == quantity)
    size = max(np.linalg.norm(right), np.linalg.norm(one), np.linalg.norm(other))
    allowed = SLACK * row.budget * UNIT_ROUNDOFF[trial.problem.case.spec.dtype]
    return bool(np.linalg.norm(one - other) <= allowed * size)
