"""The answer to a script, from the numbers of its one run: right or not, place, cause, terms.

A known mistake explains what a script holds if the network with that mistake gives its numbers, for
these weights, this input and this loss (`rnnbench.diagnosis.causes`). The network with the mistake
then stands for the script where it has to be run again: over cut sequences, to find the first step
(`rnnbench.diagnosis.locate`), and step by step, for what each adds to a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnbench.diagnosis import cuts, locate
from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.candidates import adapters_for
from rnnbench.diagnosis.causes import Found, explain
from rnnbench.diagnosis.findings import Compared, Explanation, Place, Quantity, Script
from rnnbench.diagnosis.result import Diagnosis
from rnnbench.diagnosis.script import trouble
from rnnbench.diagnosis.script.held import Asked, Held
from rnnbench.diagnosis.script.match import asked
from rnnbench.diagnosis.script.parts import recognised
from rnnbench.diagnosis.script.run import Run
from rnnbench.diagnosis.trials import GROSS, Solved, Trial, attempt
from rnnbench.mistakes import candidate
from rnnbench.parity.budget import relative_error
from rnnbench.parity.check import Row, judge
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF

SECONDS = 1.0
"""Time for pairs of mistakes."""
LONGEST_CUT = 16
FEW = 8
"""Numbers of a tensor that are shown."""
WEAK = 4
"""Variables that are tried against a quantity only because of their shape."""

Pick = Callable[[Array], Array]


@dataclass(frozen=True)
class Partly(Problem):
    """A problem of which only parts are asked: by quantity, how they are taken from the whole."""

    picks: Mapping[str, Pick] = field(default_factory=dict)

    def expected(self) -> dict[str, Array]:
        """Return the parts as the oracle computes them."""
        return picked(super().expected(), self.picks)


@dataclass(frozen=True)
class SolvedInPart(Solved):
    """A problem of which parts are asked, and what is right."""

    def seen(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the parts that are asked of all answers."""
        assert isinstance(self.problem, Partly)
        return picked(found, self.problem.picks)


def picked(whole: Mapping[str, Any], picks: Mapping[str, Pick]) -> dict[str, Any]:
    """Return parts of answers; an answer that is None, or of another shape, has none."""
    found: dict[str, Any] = {}
    for quantity, pick in picks.items():
        value = whole.get(quantity)
        try:
            found[quantity] = None if value is None else pick(value)
        except (IndexError, ValueError):
            found[quantity] = None
    return found


def trial_of(one: Asked, held: Sequence[Held]) -> Trial:
    """Return what the script holds of a call as one trial, part beside part."""
    groups: dict[str, list[Held]] = {}
    for h in held:
        groups.setdefault(h.view.quantity, []).append(h)

    def pick(quantity: str, members: list[Held]) -> Pick:
        def parts(whole: Array) -> Array:
            if whole.shape != one.right[quantity].shape:
                raise ValueError("a part of an answer of another shape is another part")
            return np.concatenate([h.of(whole) for h in members])

        return parts

    picks = {quantity: pick(quantity, members) for quantity, members in groups.items()}
    p = one.problem
    problem = Partly(p.case, p.x, p.state, p.weights, p.upstream, p.masks, picks)
    expected = picked(one.right, picks)
    unit = UNIT_ROUNDOFF[p.case.spec.dtype]
    torchs = picked(one.torchs, picks)
    errors = {q: relative_error(v, expected[q], unit) for q, v in torchs.items()}
    dtype = getattr(torch, p.case.spec.dtype)
    got = {
        quantity: torch.tensor(np.concatenate([h.theirs.reshape(-1) for h in members]), dtype=dtype)
        for quantity, members in groups.items()
    }
    rows = judge("the script", problem, expected, errors, got, gross=GROSS)
    return Trial(SolvedInPart(problem, expected, errors), got, rows)


def answer(run: Run) -> Diagnosis:
    """Return what is to be said of a script that has run."""
    found, remarks, untraced = asked(run)
    said = trouble.sentences(run)
    script = Script(ended=trouble.ended(run), trouble=said)
    name = Path(run.source.file).name
    result = Diagnosis(name, None, "raised" if said else "nothing", "script", script=script)
    result.raised = said[0] if said else "" if found else trouble.no_network(run)
    if not found:
        return result
    _judge(result, run, found)
    if result.status == "right" and (untraced or trouble.asserted(run)):
        failed = f"its comparison in line {run.line} fails, which could not be traced further"
        result.status, result.raised = "nothing", (untraced or [failed])[0]
    if said:
        result.status = "raised"
    script.advice = [*remarks, *trouble.advice(run)]
    return result


def _judge(result: Diagnosis, run: Run, found: Sequence[Asked]) -> None:
    """Fill in what departs, or what is right, of the first call that something is held against."""
    assert result.script is not None
    judged = [(one, h, trial_of(one, [h])) for one in found for h in one.held]
    wrong = [(one, h) for one, h, trial in judged if trial.failed and h.strong]
    right = [(one, h) for one, h, trial in judged if not trial.failed]
    cause = Found(())
    if not wrong:
        wrong, cause = _by_cause(judged)
    first = next((one for one, _ in [*wrong, *right]), found[-1])
    _describe(result, run, first)
    kept = [h for one, h in [*right, *wrong] if one is first]
    result.quantities = _quantities(trial_of(first, kept).rows) if kept else _own(first)
    result.script.compared = [
        _compared(h, trial) for one, h, trial in judged if (one, h) in [*wrong, *right]
    ]
    if wrong:
        _departs(result, run, first, [h for one, h in wrong if one is first], kept, cause)
    else:
        result.status = "right"


def _quantities(rows: Sequence[Row]) -> list[Quantity]:
    return [Quantity(r.quantity, r.status, r.error, r.budget, r.case, r.detail) for r in rows]


def _by_cause(
    judged: Sequence[tuple[Asked, Held, Trial]],
) -> tuple[list[tuple[Asked, Held]], Found]:
    """Return a variable that only its shape speaks for, if a known mistake gives its numbers."""
    weak = [(one, h, trial) for one, h, trial in judged if trial.failed and not h.strong]
    for one, h, trial in sorted(weak, key=lambda found: found[2].rows[0].error)[:WEAK]:
        found = explain([trial], 0.0)
        if found.mistakes:
            return [(one, h)], found
    return [], Found(())


def _describe(result: Diagnosis, run: Run, one: Asked) -> None:
    assert result.script is not None
    result.spec, result.T = one.problem.case.spec, one.call.T
    name = trouble.name_of(run, one.call.module)
    made = one.call.at.line if one.call.at else 0
    kind = type(one.call.module).__name__
    case = one.problem.case
    result.script.network = (
        f"{name} (nn.{kind}, called in line {made}: {case.T} steps, "
        f"{case.B} sequence{'s' * (case.B != 1)})"
    )
    result.layout = ""


def _own(one: Asked) -> list[Quantity]:
    """Return what torch's network answered, judged by the oracle."""
    p = one.problem
    got = {
        q: torch.tensor(v, dtype=getattr(torch, p.case.spec.dtype))
        for q, v in (one.call.answers | dict(one.gradients)).items()
    }
    expected = {q: v for q, v in one.right.items() if q in got}
    unit = UNIT_ROUNDOFF[p.case.spec.dtype]
    errors = {q: relative_error(got[q].double().numpy(), v, unit) for q, v in expected.items()}
    return _quantities(judge("torch's", p, expected, errors, got))


def _compared(h: Held, trial: Trial) -> Compared:
    row = trial.rows[0]
    right = next(iter(trial.solved.expected.values()))
    return Compared(
        h.label, h.line, h.view.quantity, h.view.words, h.how, row.error, row.budget, row.failed,
        tuple(map(float, h.theirs.reshape(-1)[:FEW])), tuple(map(float, right[:FEW])),
    )  # fmt: skip


def _departs(
    result: Diagnosis, run: Run, one: Asked, wrong: Sequence[Held], kept: Sequence[Held],
    cause: Found,
) -> None:  # fmt: skip
    """Fill in place, cause and terms."""
    assert result.script is not None
    result.status = "departs"
    held, trial = _first(one, wrong)
    if not cause.mistakes:
        cause = explain([trial_of(one, kept)], SECONDS)
        if not cause.mistakes and len(kept) > 1:
            cause = explain([trial], 0.0)
    ids = tuple(m.id for m in cause.mistakes)
    result.cause = "+".join(ids) or None
    result.same_numbers = list(cause.same_numbers)
    result.explanations = [
        Explanation(m.id, m.sentence, m.where, m.wrong, m.right) for m in cause.mistakes
    ]
    result.first_divergence = _place(one, held, trial, ids)
    if not cause.mistakes and not held.weighed:
        result.notes.append(
            f"no weight of {trouble.name_of(run, one.call.module)} went into {held.label}, as far "
            "as its operations show: two networks with different weights cannot agree; copy the "
            "weights before the answers are compared"
        )
    gradient = next((h for h in wrong if h.view.quantity.startswith("grad_")), None)
    if gradient is not None:
        result.script.terms = recognised(run.watch, gradient, one.problem, ids)
        result.script.terms_of = gradient.label
        steps = [t.time_step for t in result.script.terms if t.departs and t.time_step is not None]
        if steps and result.first_divergence == replace(result.first_divergence, time_step=None):
            result.first_divergence = replace(result.first_divergence, time_step=max(steps))


def _first(one: Asked, wrong: Sequence[Held]) -> tuple[Held, Trial]:
    """Return what departs first: forward before backward, the earliest step."""

    def key(h: Held) -> tuple[bool, int]:
        return h.view.quantity.startswith("grad_"), h.view.time_step or 0

    first = min(wrong, key=key)
    return first, trial_of(one, [first])


def _place(one: Asked, held: Held, trial: Trial, ids: Sequence[str]) -> Place:
    """Return the first departure: of the planted network where a cause is known."""
    row = trial.rows[0]
    error = row.error if not np.isnan(row.error) else np.inf
    case = one.problem.case
    place = Place(held.view.quantity, None, None, held.view.time_step, None, error, row.budget)
    if ids and case.lengths is None and case.T <= LONGEST_CUT:
        adapter = _planted(one, ids)
        runs = cuts.cut(adapter, one.problem)
        whole = attempt(adapter, Solved.of(one.problem))
        red = {r.quantity for r in whole.failed}
        forward = red & {"output", "h_n", "c_n"}
        found = locate.first_forward(adapter, runs) if forward else locate.first_backward(runs, red)
        if found is not None:
            return replace(found, error=error, budget=row.budget)
    return _by_numbers(one, held, place)


def _planted(one: Asked, ids: Sequence[str]) -> Adapter:
    spec = one.problem.case.spec
    return adapters_for(candidate(spec, *ids), spec, "function", None, {}, None)[0]


def _by_numbers(one: Asked, held: Held, place: Place) -> Place:
    """Return the place as the script's own numbers show it."""
    spec = one.problem.case.spec
    known = next((p for p in spec.parameters if f"grad_{p.name}" == place.quantity), None)
    if known is not None:
        return replace(place, layer=known.layer, direction=known.direction)
    if place.quantity != "output" or place.time_step is not None:
        return place
    right = one.right["output"]
    tolerance = place.budget * UNIT_ROUNDOFF[spec.dtype]
    wrong = _first_wrong(held, right, tolerance, spec.directions)
    if not wrong:
        return place
    direction, t = wrong
    return replace(place, layer=spec.layers - 1, direction=direction, time_step=t)


def _first_wrong(
    held: Held, right: Array, tolerance: float, directions: int
) -> tuple[int, int] | None:
    """Return the direction and the first step, as it runs, at which a whole output departs."""
    index = held.of(np.arange(right.size).reshape(right.shape)).astype(int)
    whole = right.reshape(-1).copy()
    whole[index] = held.theirs.reshape(-1)
    off = np.abs(whole.reshape(right.shape) - right) > max(tolerance, 1e-7) * np.abs(right).max()
    for direction, part in enumerate(np.split(off, directions, axis=-1)):
        steps = np.flatnonzero(part.any(axis=(1, 2)))
        if len(steps):
            return direction, int(steps.max() if direction else steps.min())
    return None
