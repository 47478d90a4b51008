"""Locate where a black box first departs, from runs over cut sequences (`cuts`) and pinned gates.

First.  Forward: the shortest run in which a state or the output departs, there the lowest layer.
Backward: the shortest run in which a gradient departs, there the highest layer. A departure in runs
of one step needs no history and is put at step 0.

Gate.  For a weight's gradient: whose block of rows departs, if only one does: exact. Forward it is
inferred, from the run that departs first: the gate whose weights the candidate's answer does not
depend on while the oracle's does; else the one gate, the first along the cell's equations, at whose
pinning (its weights zero, or its bias far up or down) the departure vanishes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.cuts import (
    WHOLE,
    Cuts,
    half_of,
    output_share,
    row_of,
    share,
    state_share,
    weights_of,
)
from rnnbench.diagnosis.findings import Place, suffix
from rnnbench.diagnosis.trials import Solved, Trial, attempt
from rnnbench.parity.oracle import Array
from rnnbench.spec import GATE_ORDER

PINNED = 30.0
"""A bias so far up or down that a gate is 0 or 1 to rounding; a candidate activation ±1."""


def first_forward(adapter: Adapter, cuts: Cuts) -> Place | None:
    """The first departure of a state or the output, or None if the pass is right."""
    whole = [row for row in cuts.first[-1].rows if row.status in WHOLE]
    for row in whole:
        if row.quantity in ("output", "h_n", "c_n"):
            return Place(row.quantity, None, None, None, None, np.inf, row.budget)
    for n in range(1, cuts.whole.case.T + 1):
        found = sorted(_forward_at(cuts, n), key=lambda p: (p[0].layer or 0, p[0].direction or 0))
        if found:
            place, trial = found[0]
            if cuts.alike is False and place.direction:
                place = _reverse_in_whole(cuts, place)
            return _refined(adapter, place, trial)
    return None


def _reverse_in_whole(cuts: Cuts, place: Place) -> Place:
    """A departure of the reverse direction, whose short runs count the steps otherwise: its step is
    known from the whole output alone.
    """
    t = _first_output(cuts, 1, -1) if place.quantity == "output" else -1
    return replace(place, time_step=t if t >= 0 else None, steps=None)


def _forward_at(cuts: Cuts, n: int) -> Iterator[tuple[Place, Trial]]:
    """Departures in runs of n steps: of each state, and of the output."""
    spec = cuts.whole.case.spec
    states_given = "h_n" in cuts.first[0].got
    for direction in range(spec.directions):
        trial = cuts.reaching(direction, backward=False)[n - 1]
        t = 0 if n == 1 else cuts.time(direction, n, backward=False)
        output = row_of(trial, "output")
        for layer in range(spec.layers):
            row = layer * spec.directions + direction
            if state_share(trial, row) > 1:
                name = "h_n" if share(trial, "h_n", row) > 1 else "c_n"
                judged = row_of(trial, name)
                if layer == spec.layers - 1 and output_share(trial, direction, n) > 1:
                    name, judged = "output", output
                    t = _first_output(cuts, direction, t)
                yield _place(trial, name, judged, layer, direction, t, n, row), trial
        if output is not None and output.failed:
            top = spec.layers - 1 if states_given or spec.layers == 1 else None
            for step in reversed(range(n)) if direction else range(n):
                part = (step, slice(None), half_of(trial, direction))
                if share(trial, "output", part) > 1:
                    at = step + (cuts.whole.case.T - n if direction and n > 1 else 0)
                    yield _place(trial, "output", output, top, direction, at, n), trial
                    break


def _first_output(cuts: Cuts, direction: int, otherwise: int) -> int:
    """The first step, as the direction runs, at which its half of the whole output departs: with
    several layers in two directions a shorter run need not show it at the same step.
    """
    whole = cuts.first[-1]
    half = half_of(whole, direction)
    steps = range(cuts.whole.case.T)
    for t in reversed(steps) if direction else steps:
        if share(whole, "output", (t, slice(None), half)) > 1:
            return t
    return otherwise


def _place(
    trial: Trial, quantity: str, row: Any, layer: int | None, direction: int, t: int, n: int,
    state: int | None = None,
) -> Place:  # fmt: skip
    whole = state is None or quantity == "output"
    over = row.share if whole else share(trial, quantity, state)
    if row.status != "over budget":
        over = np.inf
    return Place(quantity, layer, direction, t, None, over * row.budget, row.budget, n)


def _refined(adapter: Adapter, place: Place, trial: Trial) -> Place:
    """The place with the half of the input that is read wrongly, or the gate."""
    if place.layer is None:
        return place
    half = _half_read_wrongly(adapter, place, trial)
    if half is not None:
        return replace(place, direction=half, reads_below=True)
    return replace(place, gate=_gate_forward(adapter, place, trial))


def _again(adapter: Adapter, trial: Trial, weights: Mapping[str, Array]) -> Trial:
    """The same problem with other weights."""
    merged = dict(trial.problem.weights) | dict(weights)
    return attempt(adapter, Solved.of(replace(trial.problem, weights=merged)))


def _departs_at(place: Place, trial: Trial) -> bool:
    if place.quantity == "output":
        return share(trial, "output", (..., half_of(trial, place.direction or 0))) > 1
    row = (place.layer or 0) * trial.problem.case.spec.directions + (place.direction or 0)
    return state_share(trial, row) > 1


def _half_read_wrongly(adapter: Adapter, place: Place, trial: Trial) -> int | None:
    """The half of the layer's input without which the departure vanishes, if it is one only."""
    spec = trial.problem.case.spec
    if not place.layer or spec.directions != 2:
        return None
    name = "weight_ih" + suffix(place.layer, place.direction or 0)
    hides = []
    for half in (0, 1):
        weight = trial.problem.weights[name].copy()
        weight[:, half_of(trial, half)] = 0.0
        hides.append(not _departs_at(place, _again(adapter, trial, {name: weight})))
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


def _gate_forward(adapter: Adapter, place: Place, trial: Trial) -> str | None:
    spec = trial.problem.case.spec
    letters = GATE_ORDER[spec.cell]
    if spec.gates == 1 or trial.raised is not None:
        return None
    unused = [g for i, g in enumerate(letters) if _unused(adapter, place, trial, i)]
    if len(unused) == 1:
        return unused[0]
    suspects = []
    for i, gate in enumerate(letters):
        up = PINNED if gate != "z" else 0.0  # z = 1 would hide the candidate as well

        def pinned(kind: str, rows: Array, up: float = up) -> Array:
            return np.full_like(rows, up if kind == "bias_ih" else 0.0)

        if (spec.bias or not up) and not _departs_at(
            place, _again(adapter, trial, _with_gate(trial, place, i, pinned))
        ):
            suspects.append(gate)
    if suspects == ["r", "n"]:  # what r does shows through n alone
        return "r"
    return suspects[0] if len(suspects) == 1 else None


def _unused(adapter: Adapter, place: Place, trial: Trial, gate: int) -> bool:
    """Return whether the oracle's answer depends on the gate's weights and the candidate's does
    not.
    """
    other = _again(adapter, trial, _with_gate(trial, place, gate, lambda kind, rows: -rows))
    theirs = [t.numbers(place.quantity) for t in (trial, other)]
    right = [t.solved.expected[place.quantity] for t in (trial, other)]
    if theirs[0] is None or theirs[1] is None or theirs[0].shape != theirs[1].shape:
        return False
    if not (np.isfinite(theirs[0]).all() and np.isfinite(theirs[1]).all()):
        return False
    moved = float(np.abs(theirs[0] - theirs[1]).max())
    return moved < 1e-4 * float(np.abs(right[0] - right[1]).max())


def first_backward(cuts: Cuts, red: Collection[str]) -> Place | None:
    """The first departure of a gradient: of a weight if any departs, else of x, h0 or c0.

    red: the quantities that depart in the whole problem; a cut run, which begins with another
    state, may depart in more.
    """
    spec, T = cuts.whole.case.spec, cuts.whole.case.T
    if cuts.alike is False:
        return _backward_in_whole(cuts.last[-1], red)
    for n in range(1, T + 1):
        for layer in reversed(range(spec.layers)):
            for direction in range(spec.directions):
                trial = cuts.reaching(direction, backward=True)[n - 1]
                for name in weights_of(trial, layer, direction):
                    if name in red and share(trial, name) > 1:
                        t = 0 if n == 1 else cuts.time(direction, n, backward=True)
                        place = _place(trial, name, row_of(trial, name), layer, direction, t, n)
                        return replace(place, gate=_gate_backward(trial, name))
    for n in range(1, T + 1):
        trial = cuts.last[n - 1]
        for name in ("grad_x", "grad_h0", "grad_c0"):
            if name in red and share(trial, name) > 1:
                return _of_input(trial, name, n, T)
    return None


def _backward_in_whole(whole: Trial, red: Collection[str]) -> Place | None:
    """Return what `first_backward` does, of a candidate that goes by the number of the step.

    Cut runs do not tell its step. In one direction the gradient of x does, as dL/dx_t = W_ihᵀ δ_t:
    the last step at which it departs, the first that the pass back comes to.
    """
    spec, T = whole.problem.case.spec, whole.problem.case.T
    wrong = [t for t in range(T) if "grad_x" in red and share(whole, "grad_x", t) > 1]
    time = max(wrong) if wrong and spec.directions == 1 else None
    for layer in reversed(range(spec.layers)):
        for direction in range(spec.directions):
            for name in weights_of(whole, layer, direction):
                if name in red and share(whole, name) > 1:
                    place = _place(whole, name, row_of(whole, name), layer, direction, 0, T)
                    gate = _gate_backward(whole, name)
                    return replace(place, time_step=time, steps=None, gate=gate)
    return None


def _of_input(trial: Trial, name: str, n: int, T: int) -> Place:
    """A departure of the gradient of x (its last wrong step) or of the initial state (its row)."""
    directions = trial.problem.case.spec.directions
    begins = 0 if n == 1 else T - n
    if name == "grad_x":
        wrong = [t for t in range(n) if share(trial, name, t) > 1]
        t = begins + (max(wrong) if wrong else 0)
        return _place(trial, name, row_of(trial, name), 0, 0, t, n)
    count = len(trial.solved.expected[name])
    wrong = [k for k in range(count) if share(trial, name, k) > 1]
    layer, direction = divmod(max(wrong, default=0), directions)
    t = begins if direction == 0 else T - 1
    return _place(trial, name, row_of(trial, name), layer, direction, t, n)


def _gate_backward(trial: Trial, name: str) -> str | None:
    """The only gate whose block of rows departs."""
    spec = trial.problem.case.spec
    if spec.gates == 1 or "weight_hr" in name:
        return None
    H = spec.hidden_size
    wrong = [
        letter
        for i, letter in enumerate(GATE_ORDER[spec.cell])
        if share(trial, name, slice(i * H, (i + 1) * H)) > 1
    ]
    return wrong[0] if len(wrong) == 1 else None


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
                if share(trial, name, (t, slice(None), half_of(trial, direction))) > 1:
                    layer = spec.layers - 1
                    return replace(place, layer=layer, direction=direction, time_step=t)
    if name in ("h_n", "c_n", "grad_h0", "grad_c0"):
        wrong = [k for k in range(len(trial.solved.expected[name])) if share(trial, name, k) > 1]
        layer, direction = divmod(min(wrong, default=0), spec.directions)
        return replace(place, layer=layer, direction=direction)
    known = next((p for p in spec.parameters if f"grad_{p.name}" == name), None)
    return replace(place, layer=known.layer, direction=known.direction) if known else place
