"""Runs of the candidate over parts of a sequence: states, heat map and contributions by step.

The candidate answers whole sequences only. A run over the first n steps is a problem of its own,
whose final states are the states of the forward direction after step n; a run over the last n
steps gives those of the reverse direction at step T − n. So cutting gives the state of every layer
at every step, exactly, and the oracle is asked the same cut problem.

Backward likewise.  With the initial state of a run over the steps s … T−1 set to the oracle's state
at s, its weight gradient is S(s) = Σ_{t ≥ s} (contribution of step t), so that

    contribution of step s = S(s) − S(s + 1)

exactly, for one direction of any depth and for two directions of one layer (there the reverse
direction's contributions come from runs over the first steps). Exact means: for a program that does
the same at every step and whose share of a step does not depend on earlier ones, as the chain
rule's; `shifted` looks whether that is so. Where it is not, no contributions are given and steps
are named from the whole run only. For several layers in two directions a cut changes what the
layers read, and the initial state is the given one: cut runs are still right or wrong by
themselves, but their differences are contributions only in name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.findings import Contribution, Heat, Place
from rnnbench.diagnosis.time_invariance import same_at_every_step
from rnnbench.diagnosis.trials import Solved, Trial, attempt
from rnnbench.parity.budget import relative_error
from rnnbench.parity.check import Row
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF

WHOLE = ("shape", "dtype", "missing", "raised")
"""Defects of a quantity that have no place within it."""

FEW = 4
"""A contribution with no more numbers than this is shown number by number."""


@dataclass(frozen=True)
class Cuts:
    """Runs over the first and the last n steps of a problem, by n − 1.

    exact  whether their differences are the contributions of the steps
    alike  whether the candidate does the same at every step, so that a run over the last steps
           stands for these steps of the whole; None where that could not be seen
    """

    whole: Problem
    first: list[Trial]
    last: list[Trial]
    exact: bool
    alike: bool | None

    def reaching(self, direction: int, *, backward: bool) -> list[Trial]:
        """Runs by length that end forward, or go back, through this direction step by step."""
        return self.last if bool(direction) != backward else self.first

    def time(self, direction: int, n: int, *, backward: bool) -> int:
        """The step of the whole sequence that a run of n steps reaches last."""
        T = self.whole.case.T
        return T - n if bool(direction) != backward else n - 1


def cut(adapter: Adapter, whole: Problem) -> Cuts:
    """Put every run over the first and the last steps of a dense problem to the candidate."""
    spec, T = whole.case.spec, whole.case.T
    exact = adapter.takes_state and (spec.directions == 1 or spec.layers == 1)
    states = _states(whole) if exact else None

    def run(steps: slice, state: tuple[Array, ...]) -> Trial:
        x = whole.x[steps]
        upstream = dict(whole.upstream) | {"output": whole.upstream["output"][steps]}
        case = replace(whole.case, T=len(x))
        problem = replace(whole, case=case, x=x, state=state, upstream=upstream)
        return attempt(adapter, Solved.of(problem))

    first, last = [], []
    for n in range(1, T + 1):
        start = end = whole.state
        if states is not None:
            forward, reverse = states
            start = _joined(whole, forward[T - n], 0)
            end = _joined(whole, reverse[n], 1)
        first.append(run(slice(0, n), end))
        last.append(run(slice(T - n, T), start))
    alike = same_at_every_step(adapter, whole)
    return Cuts(whole, first, last, exact and alike is True, alike)


def _states(whole: Problem) -> tuple[list[tuple[Array, ...]], list[tuple[Array, ...]]]:
    """The oracle's states entering step t: of the forward direction, t = 0 … T−1, and of the
    reverse direction leaving step t, t = 1 … T (T: the initial one, 0 never used).
    """
    T = whole.case.T

    def final(x: Array) -> tuple[Array, ...]:
        case = replace(whole.case, T=len(x), phase="inference")
        found = replace(whole, case=case, x=x).expected()
        return tuple(found[name] for name in ("h_n", "c_n") if name in found)

    forward = [whole.state] + [final(whole.x[:t]) for t in range(1, T)]
    reverse = [whole.state] + [final(whole.x[t:]) for t in range(1, T)] + [whole.state]
    return forward, reverse


def _joined(whole: Problem, other: Sequence[Array], direction: int) -> tuple[Array, ...]:
    """The given states, with those of one direction from elsewhere."""
    directions = whole.case.spec.directions
    if direction >= directions:
        return whole.state
    joined = []
    for own, new in zip(whole.state, other, strict=True):
        part = own.copy()
        part[direction::directions] = new[direction::directions]
        joined.append(part)
    return tuple(joined)


def share(trial: Trial, quantity: str, part: Any = ...) -> float:
    """Error of (part of) an answer over its budget: at most 1 where the quantity is not red.

    0 where the candidate does not give the quantity.
    """
    row = next((r for r in trial.rows if r.quantity == quantity), None)
    if trial.raised is not None:
        return np.inf
    if row is None:
        return 0.0
    got, right = trial.numbers(quantity), trial.solved.expected[quantity]
    if not row.failed:
        return min(row.share, 1.0)
    if row.status in WHOLE or got is None:
        return np.inf
    if not np.isfinite(got[part]).all():
        return np.inf
    unit = UNIT_ROUNDOFF[trial.problem.case.spec.dtype]
    return relative_error(got[part], right[part], unit) / row.budget


def state_share(trial: Trial, row: int) -> float:
    return max(share(trial, "h_n", row), share(trial, "c_n", row))


def weights_of(trial: Trial, layer: int, direction: int) -> list[str]:
    spec = trial.problem.case.spec
    return [
        f"grad_{p.name}"
        for p in spec.parameters
        if (p.layer, p.direction) == (layer, direction) and f"grad_{p.name}" in trial.got
    ]


def heat(cuts: Cuts) -> Heat:
    """Shares of the budget over layer and time, forward and backward.

    Of a pass whose runs begin at another step than the whole one there is none if the candidate
    goes by the number of the step.
    """
    spec, T = cuts.whole.case.spec, cuts.whole.case.T
    rows = [(k, d) for k in range(spec.layers) for d in range(spec.directions)]

    def over_time(layer: int, direction: int, *, backward: bool) -> tuple[float, ...]:
        shares = [0.0] * T
        for n, trial in enumerate(cuts.reaching(direction, backward=backward), start=1):
            t = cuts.time(direction, n, backward=backward)
            if backward:
                names = weights_of(trial, layer, direction)
                shares[t] = max((share(trial, q) for q in names), default=0.0)
            else:
                shares[t] = state_share(trial, layer * spec.directions + direction)
                if layer == spec.layers - 1:  # with several layers, cut runs are not the whole
                    part = (t, slice(None), half_of(trial, direction))
                    whole = share(cuts.first[-1], "output", part)
                    shares[t] = max(shares[t], output_share(trial, direction, n), whole)
        return tuple(shares)

    return Heat(
        tuple(rows),
        tuple(over_time(*row, backward=False) for row in rows)
        if cuts.alike is not False or spec.directions == 1
        else (),
        tuple(over_time(*row, backward=True) for row in rows) if cuts.alike is not False else (),
    )


def half_of(trial: Trial, direction: int) -> slice:
    P = trial.problem.case.spec.state_size
    return slice(direction * P, (direction + 1) * P)


def output_share(trial: Trial, direction: int, n: int) -> float:
    """Return the share of the output at the step that a run of n steps reaches last."""
    return share(
        trial, "output", (0 if direction else n - 1, slice(None), half_of(trial, direction))
    )


def row_of(trial: Trial, quantity: str) -> Row | None:
    return next((row for row in trial.rows if row.quantity == quantity), None)


def contributions(cuts: Cuts, place: Place) -> list[Contribution]:
    """Return what each step adds to the departing weight's gradient, the last step of the pass
    first.
    """
    if (
        not place.backward
        or cuts.alike is False
        or place.quantity in ("grad_x", "grad_h0", "grad_c0")
    ):
        return []
    direction = place.direction or 0
    if any(t.numbers(place.quantity) is None for t in cuts.reaching(direction, backward=True)):
        return []
    before: tuple[Any, Any] = (0.0, 0.0)
    found = []
    for n, trial in enumerate(cuts.reaching(direction, backward=True), start=1):
        right = trial.solved.expected[place.quantity]
        theirs: Any = trial.numbers(place.quantity)
        if theirs.shape != right.shape:
            return []
        row = row_of(trial, place.quantity)
        t = cuts.time(direction, n, backward=True)
        found.append(_contribution(t, theirs - before[0], right - before[1], right, row))
        before = (theirs, right)
    return found


def _contribution(t: int, theirs: Array, right: Array, total: Array, row: Any) -> Contribution:
    """A difference of two sums carries their rounding, so its budget grows as it shrinks."""
    unit = UNIT_ROUNDOFF[_dtype(row)]
    size = float(np.linalg.norm(right))
    grown = max(1.0, float(np.linalg.norm(total)) / max(size, 1e-300))
    few = theirs.size <= FEW
    return Contribution(
        t, float(np.linalg.norm(theirs)), size, float(relative_error(theirs, right, unit)),
        2 * row.budget * grown,
        tuple(map(float, theirs.ravel())) if few else (),
        tuple(map(float, right.ravel())) if few else (),
    )  # fmt: skip


def _dtype(row: Any) -> str:
    return next(name for name in UNIT_ROUNDOFF if f"-{name}-" in row.case)
