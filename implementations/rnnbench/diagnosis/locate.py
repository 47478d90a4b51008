"""Where a black box first departs: cut the sequence, pin the gates, mute halves of the input.

The candidate answers whole sequences only. A run over the first n steps is a problem of its own,
whose final states are the states of the forward direction after step n; a run over the last n
steps gives those of the reverse direction at step T − n. So cutting gives the state of every layer
at every step, exactly, and the oracle is asked the same cut problem.

Backward likewise.  With the initial state of a run over the steps s … T−1 set to the oracle's state
at s, its weight gradient is S(s) = Σ_{t ≥ s} (contribution of step t), so that

    contribution of step s = S(s) − S(s + 1)

exactly, for one direction of any depth and for two directions of one layer (there the reverse
direction's contributions come from runs over the first steps). Exact means: for a program whose
share of a step does not depend on earlier ones, which the chain rule's does not. For several layers
in two directions a cut changes what the layers read, and the initial state is the given one: cut
runs are still right or wrong by themselves, but their differences are contributions only in name.

First.  Forward: the shortest run in which a state or the output departs, there the lowest layer.
Backward: the shortest run in which a gradient departs, there the highest layer. A departure in runs
of one step needs no history and is put at step 0.

Gate.  For a weight's gradient: whose block of rows departs, if only one does: exact. Forward it is
inferred, from the run that departs first: the gate whose weights the candidate's answer does not
depend on while the oracle's does; else the one gate, the first along the cell's equations, at whose
pinning (its weights zero, or its bias far up or down) the departure vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnbench.budget import relative_error
from rnnbench.diagnosis.layouts import GATE_ORDER
from rnnbench.diagnosis.result import Contribution, Heat, Place, suffix
from rnnbench.diagnosis.stranger import Stranger
from rnnbench.diagnosis.trials import Posed, Trial, put
from rnnbench.oracle import Array
from rnnbench.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF

PINNED = 30.0
"""A bias so far up or down that a gate is 0 or 1 to rounding; a candidate activation ±1."""

_WHOLE = ("shape", "dtype", "missing", "raised")
"""Defects of a quantity that have no place within it."""

FEW = 4
"""A contribution with no more numbers than this is shown number by number."""


@dataclass(frozen=True)
class Cuts:
    """Runs over the first and the last n steps of a problem, by n − 1."""

    whole: Problem
    first: list[Trial]
    last: list[Trial]
    exact: bool

    def reaching(self, direction: int, *, backward: bool) -> list[Trial]:
        """Runs by length that end forward, or go back, through this direction step by step."""
        return self.last if bool(direction) != backward else self.first

    def time(self, direction: int, n: int, *, backward: bool) -> int:
        """The step of the whole sequence that a run of n steps reaches last."""
        T = self.whole.case.T
        return T - n if bool(direction) != backward else n - 1


def cut(stranger: Stranger, whole: Problem) -> Cuts:
    """Put every run over the first and the last steps of a dense problem to the candidate."""
    spec, T = whole.case.spec, whole.case.T
    exact = stranger.takes_state and (spec.directions == 1 or spec.layers == 1)
    states = _states(whole) if exact else None

    def run(steps: slice, state: tuple[Array, ...]) -> Trial:
        x = whole.x[steps]
        upstream = dict(whole.upstream) | {"output": whole.upstream["output"][steps]}
        case = replace(whole.case, T=len(x))
        problem = replace(whole, case=case, x=x, state=state, upstream=upstream)
        return put(stranger, Posed.of(problem))

    first, last = [], []
    for n in range(1, T + 1):
        start = end = whole.state
        if states is not None:
            forward, reverse = states
            start = _joined(whole, forward[T - n], 0)
            end = _joined(whole, reverse[n], 1)
        first.append(run(slice(0, n), end))
        last.append(run(slice(T - n, T), start))
    return Cuts(whole, first, last, exact)


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


def _share(trial: Trial, quantity: str, part: Any = ...) -> float:
    """Error of (part of) an answer over its budget: at most 1 where the quantity is not red.

    0 where the candidate does not give the quantity.
    """
    row = next((r for r in trial.rows if r.quantity == quantity), None)
    if trial.raised is not None:
        return np.inf
    if row is None:
        return 0.0
    got, right = trial.numbers(quantity), trial.posed.expected[quantity]
    if not row.failed:
        return min(row.share, 1.0)
    if row.status in _WHOLE or got is None:
        return np.inf
    if not np.isfinite(got[part]).all():
        return np.inf
    unit = UNIT_ROUNDOFF[trial.problem.case.spec.dtype]
    return relative_error(got[part], right[part], unit) / row.budget


def _state_share(trial: Trial, row: int) -> float:
    return max(_share(trial, "h_n", row), _share(trial, "c_n", row))


def _weights_of(trial: Trial, layer: int, direction: int) -> list[str]:
    spec = trial.problem.case.spec
    return [
        f"grad_{p.name}"
        for p in spec.parameters
        if (p.layer, p.direction) == (layer, direction) and f"grad_{p.name}" in trial.got
    ]


def heat(cuts: Cuts) -> Heat:
    """Shares of the budget over layer and time, forward and backward."""
    spec, T = cuts.whole.case.spec, cuts.whole.case.T
    rows = [(k, d) for k in range(spec.layers) for d in range(spec.directions)]

    def over_time(layer: int, direction: int, *, backward: bool) -> tuple[float, ...]:
        shares = [0.0] * T
        for n, trial in enumerate(cuts.reaching(direction, backward=backward), start=1):
            t = cuts.time(direction, n, backward=backward)
            if backward:
                names = _weights_of(trial, layer, direction)
                shares[t] = max((_share(trial, q) for q in names), default=0.0)
            else:
                shares[t] = _state_share(trial, layer * spec.directions + direction)
                if layer == spec.layers - 1:  # with several layers, cut runs are not the whole
                    part = (t, slice(None), _half(trial, direction))
                    whole = _share(cuts.first[-1], "output", part)
                    shares[t] = max(shares[t], _output_share(trial, direction, n), whole)
        return tuple(shares)

    return Heat(
        tuple(rows),
        tuple(over_time(*row, backward=False) for row in rows),
        tuple(over_time(*row, backward=True) for row in rows),
    )


def _half(trial: Trial, direction: int) -> slice:
    P = trial.problem.case.spec.state_size
    return slice(direction * P, (direction + 1) * P)


def _output_share(trial: Trial, direction: int, n: int) -> float:
    """Of the output at the step that a run of n steps reaches last in this direction."""
    return _share(trial, "output", (0 if direction else n - 1, slice(None), _half(trial, direction)))


def first_forward(stranger: Stranger, cuts: Cuts) -> Place | None:
    """The first departure of a state or the output, or None if the pass is right."""
    whole = [row for row in cuts.first[-1].rows if row.status in _WHOLE]
    for row in whole:
        if row.quantity in ("output", "h_n", "c_n"):
            return Place(row.quantity, None, None, None, None, np.inf, row.budget)
    for n in range(1, cuts.whole.case.T + 1):
        found = sorted(_forward_at(cuts, n), key=lambda p: (p[0].layer or 0, p[0].direction or 0))
        if found:
            place, trial = found[0]
            return _refined(stranger, place, trial)
    return None


def _forward_at(cuts: Cuts, n: int) -> Iterator[tuple[Place, Trial]]:
    """Departures in runs of n steps: of each state, and of the output."""
    spec = cuts.whole.case.spec
    states_given = "h_n" in cuts.first[0].got
    for direction in range(spec.directions):
        trial = cuts.reaching(direction, backward=False)[n - 1]
        t = 0 if n == 1 else cuts.time(direction, n, backward=False)
        output = _row(trial, "output")
        for layer in range(spec.layers):
            row = layer * spec.directions + direction
            if _state_share(trial, row) > 1:
                name = "h_n" if _share(trial, "h_n", row) > 1 else "c_n"
                judged = _row(trial, name)
                if layer == spec.layers - 1 and _output_share(trial, direction, n) > 1:
                    name, judged = "output", output
                    t = _first_output(cuts, direction, t)
                yield _place(trial, name, judged, layer, direction, t, n, row), trial
        if output is not None and output.failed:
            layer = spec.layers - 1 if states_given or spec.layers == 1 else None
            for step in range(n):
                part = (step, slice(None), _half(trial, direction))
                if _share(trial, "output", part) > 1:
                    at = step + (cuts.whole.case.T - n if direction and n > 1 else 0)
                    yield _place(trial, "output", output, layer, direction, at, n), trial
                    break


def _first_output(cuts: Cuts, direction: int, otherwise: int) -> int:
    """The first step, as the direction runs, at which its half of the whole output departs: with
    several layers in two directions a shorter run need not show it at the same step.
    """
    whole = cuts.first[-1]
    half = _half(whole, direction)
    steps = range(cuts.whole.case.T)
    for t in reversed(steps) if direction else steps:
        if _share(whole, "output", (t, slice(None), half)) > 1:
            return t
    return otherwise


def _row(trial: Trial, quantity: str) -> Any:
    return next((row for row in trial.rows if row.quantity == quantity), None)


def _place(
    trial: Trial, quantity: str, row: Any, layer: int | None, direction: int, t: int, n: int,
    state: int | None = None,
) -> Place:  # fmt: skip
    share = row.share if state is None or quantity == "output" else _share(trial, quantity, state)
    if row.status != "over budget":
        share = np.inf
    return Place(quantity, layer, direction, t, None, share * row.budget, row.budget, n)


def _refined(stranger: Stranger, place: Place, trial: Trial) -> Place:
    """The place with the half of the input that is read wrongly, or the gate."""
    if place.layer is None:
        return place
    half = _half_read_wrongly(stranger, place, trial)
    if half is not None:
        return replace(place, direction=half, reads_below=True)
    return replace(place, gate=_gate_forward(stranger, place, trial))


def _again(stranger: Stranger, trial: Trial, weights: Mapping[str, Array]) -> Trial:
    """The same problem with other weights."""
    merged = dict(trial.problem.weights) | dict(weights)
    return put(stranger, Posed.of(replace(trial.problem, weights=merged)))


def _departs_at(place: Place, trial: Trial) -> bool:
    if place.quantity == "output":
        return _share(trial, "output", (..., _half(trial, place.direction or 0))) > 1
    row = (place.layer or 0) * trial.problem.case.spec.directions + (place.direction or 0)
    return _state_share(trial, row) > 1


def _half_read_wrongly(stranger: Stranger, place: Place, trial: Trial) -> int | None:
    """The half of the layer's input without which the departure vanishes, if it is one only."""
    spec = trial.problem.case.spec
    if not place.layer or spec.directions != 2:
        return None
    name = "weight_ih" + suffix(place.layer, place.direction or 0)
    hides = []
    for half in (0, 1):
        weight = trial.problem.weights[name].copy()
        weight[:, _half(trial, half)] = 0.0
        hides.append(not _departs_at(place, _again(stranger, trial, {name: weight})))
    return hides.index(True) if sum(hides) == 1 else None


def _with_gate(trial: Trial, place: Place, gate: int, change: Any) -> dict[str, Array]:
    """Weights and biases of the place's layer whose rows of one gate are changed, by kind."""
    spec = trial.problem.case.spec
    H, end = spec.hidden_size, suffix(place.layer or 0, place.direction or 0)
    changed = {}
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        if kind + end in trial.problem.weights:
            weight = trial.problem.weights[kind + end].copy()
            rows = slice(gate * H, (gate + 1) * H)
            weight[rows] = change(kind, weight[rows])
            changed[kind + end] = weight
    return changed


def _gate_forward(stranger: Stranger, place: Place, trial: Trial) -> str | None:
    spec = trial.problem.case.spec
    letters = GATE_ORDER[spec.cell]
    if spec.gates == 1 or trial.raised is not None:
        return None
    unused = [g for i, g in enumerate(letters) if _unused(stranger, place, trial, i)]
    if len(unused) == 1:
        return unused[0]
    suspects = []
    for i, gate in enumerate(letters):
        up = PINNED if gate != "z" else 0.0  # z = 1 would hide the candidate as well

        def pinned(kind: str, rows: Array, up: float = up) -> Array:
            return np.full_like(rows, up if kind == "bias_ih" else 0.0)

        if (spec.bias or not up) and not _departs_at(
            place, _again(stranger, trial, _with_gate(trial, place, i, pinned))
        ):
            suspects.append(gate)
    if suspects == ["r", "n"]:  # what r does shows through n alone
        return "r"
    return suspects[0] if len(suspects) == 1 else None


def _unused(stranger: Stranger, place: Place, trial: Trial, gate: int) -> bool:
    """Whether the oracle's answer depends on the gate's weights and the candidate's does not."""
    other = _again(stranger, trial, _with_gate(trial, place, gate, lambda kind, rows: -rows))
    theirs = [t.numbers(place.quantity) for t in (trial, other)]
    right = [t.posed.expected[place.quantity] for t in (trial, other)]
    if theirs[0] is None or theirs[1] is None or theirs[0].shape != theirs[1].shape:
        return False
    moved = float(np.abs(theirs[0] - theirs[1]).max())
    return moved < 1e-4 * float(np.abs(right[0] - right[1]).max())


def first_backward(cuts: Cuts) -> Place | None:
    """The first departure of a gradient: of a weight if any departs, else of x, h0 or c0."""
    spec, T = cuts.whole.case.spec, cuts.whole.case.T
    for n in range(1, T + 1):
        for layer in reversed(range(spec.layers)):
            for direction in range(spec.directions):
                trial = cuts.reaching(direction, backward=True)[n - 1]
                for name in _weights_of(trial, layer, direction):
                    if _share(trial, name) > 1:
                        t = 0 if n == 1 else cuts.time(direction, n, backward=True)
                        place = _place(trial, name, _row(trial, name), layer, direction, t, n)
                        return replace(place, gate=_gate_backward(trial, name))
    for n in range(1, T + 1):
        trial = cuts.last[n - 1]
        for name in ("grad_x", "grad_h0", "grad_c0"):
            if _share(trial, name) > 1:
                return _of_input(trial, name, n, T)
    return None


def _of_input(trial: Trial, name: str, n: int, T: int) -> Place:
    """A departure of the gradient of x (its last wrong step) or of the initial state (its row)."""
    directions = trial.problem.case.spec.directions
    begins = 0 if n == 1 else T - n
    if name == "grad_x":
        wrong = [t for t in range(n) if _share(trial, name, t) > 1]
        t = begins + (max(wrong) if wrong else 0)
        return _place(trial, name, _row(trial, name), 0, 0, t, n)
    count = len(trial.posed.expected[name])
    wrong = [k for k in range(count) if _share(trial, name, k) > 1]
    layer, direction = divmod(max(wrong, default=0), directions)
    t = begins if direction == 0 else T - 1
    return _place(trial, name, _row(trial, name), layer, direction, t, n)


def _gate_backward(trial: Trial, name: str) -> str | None:
    """The only gate whose block of rows departs."""
    spec = trial.problem.case.spec
    if spec.gates == 1 or "weight_hr" in name:
        return None
    H = spec.hidden_size
    wrong = [
        letter
        for i, letter in enumerate(GATE_ORDER[spec.cell])
        if _share(trial, name, slice(i * H, (i + 1) * H)) > 1
    ]
    return wrong[0] if len(wrong) == 1 else None


def contributions(cuts: Cuts, place: Place) -> list[Contribution]:
    """What each step adds to the departing weight's gradient, the last step of the pass first."""
    if not place.backward or place.quantity in ("grad_x", "grad_h0", "grad_c0"):
        return []
    direction = place.direction or 0
    if any(t.numbers(place.quantity) is None for t in cuts.reaching(direction, backward=True)):
        return []
    before: tuple[Any, Any] = (0.0, 0.0)
    found = []
    for n, trial in enumerate(cuts.reaching(direction, backward=True), start=1):
        right = trial.posed.expected[place.quantity]
        theirs: Any = trial.numbers(place.quantity)
        if theirs.shape != right.shape:
            return []
        row = _row(trial, place.quantity)
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


def in_whole(trial: Trial) -> Place:
    """The first red quantity of a problem that is not cut: sequences of lengths, dropout masks."""
    row = trial.failed[0]
    name, spec = row.quantity, trial.problem.case.spec
    error = row.error if not np.isnan(row.error) else np.inf
    place = Place(name, None, None, None, None, error, row.budget)
    if row.status != "over budget":
        return place
    if name == "output":
        for t in range(trial.problem.case.T):
            for direction in range(spec.directions):
                if _share(trial, name, (t, slice(None), _half(trial, direction))) > 1:
                    layer = spec.layers - 1
                    return replace(place, layer=layer, direction=direction, time_step=t)
    if name in ("h_n", "c_n", "grad_h0", "grad_c0"):
        wrong = [k for k in range(len(trial.posed.expected[name])) if _share(trial, name, k) > 1]
        layer, direction = divmod(min(wrong, default=0), spec.directions)
        return replace(place, layer=layer, direction=direction)
    known = next((p for p in spec.parameters if f"grad_{p.name}" == name), None)
    return replace(place, layer=known.layer, direction=known.direction) if known else place
