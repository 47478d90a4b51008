"""Diagnose one candidate: the whole course of `rnnbench.diagnose`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from rnnbench.diagnosis import cuts, locate
from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.candidates import adapters_for
from rnnbench.diagnosis.causes import Found, explain, returned
from rnnbench.diagnosis.findings import Explanation, Quantity
from rnnbench.diagnosis.guard import buffers_kept
from rnnbench.diagnosis.limit import TimeLimit, TimeUpError
from rnnbench.diagnosis.observed import observed, special_mistakes
from rnnbench.diagnosis.recognition import recognise
from rnnbench.diagnosis.repeat import unsteady
from rnnbench.diagnosis.resemblance import resemblances
from rnnbench.diagnosis.result import Diagnosis
from rnnbench.diagnosis.script.process import diagnose_script
from rnnbench.diagnosis.trials import (
    Trial,
    attempt,
    cases_for,
    own_numbers,
    solved_for,
    takes_packed,
    what_it_raised,
)
from rnnbench.diagnosis.usage import array_of, check_usage
from rnnbench.diagnosis.weights import Mapped, Match
from rnnbench.errors import InputError
from rnnbench.parity.check import Row
from rnnbench.spec import Spec

LONGEST_CUT = 32
"""Steps up to which somebody's own sequence is cut; a longer one is judged, ours is cut."""


def diagnose(
    candidate: Any,
    *,
    spec: Spec | None = None,
    kind: str | None = None,
    mapping: Mapped | None = None,
    batch_first: bool | None = None,
    unbatched: bool | None = None,
    states: str | None = None,
    gates: str | None = None,
    interleaved: bool | None = None,
    transposed: bool | None = None,
    arrays: str | None = None,
    loss: str | None = None,
    x: Any = None,
    state: Any = None,
    weights: Mapping[str, Any] | None = None,
    seconds: float = 20.0,
    time_limit: float | None = 120.0,
) -> Diagnosis:
    """Find where a candidate first departs from the float64 oracle, and which mistake explains it.

    candidate  the path of a script, which is run in a process of its own and needs nothing else
               (`rnnbench.diagnosis.script`); or a module or other object that holds its weights,
               called as ``m(x)`` or ``m(x,
               state)``; a function ``f(x, state, weights)``; a single cell, called as ``c(x_t,
               state)`` or ``c(x_t, state, weights)``; or a function that returns gradients,
               ``g(x, state, weights)`` or ``g(x, state, weights, upstream)``. Its own weights are
               set aside for the time of the call
    spec       the network; needed where torch's attributes or parameter names do not tell it
    kind       "module", "function", "cell" or "gradient"; needed for the last two, unless the
               cell is a `torch.nn.RNNCellBase`
    mapping    torch's name of a weight → where the candidate holds it ("layers.0.W", "U[0][1]"), a
               list of places if it is held gate by gate, or None if it has none (then it is zero);
               for functions, → the name under which they want it
    batch_first, unbatched, states, gates, interleaved, transposed, arrays
               the candidate's layout, see `rnnbench.diagnosis.layouts.Layout`; what is None is
               recognised. Storage of the weights is recognised only where their names are not
               torch's: under torch's names another order is a mistake
    loss       what a gradient function of three arguments differentiates: "h_n" (default), the sum
               of the final state, or "output", the sum of the output
    x, state, weights
               somebody's own numbers, a problem of their own before ours: x (T, B, I) or (T, I);
               state h0 or (h0, c0), (L·D, B, H) or (L·D, H); weights by torch's names
    seconds    time for the search of pairs of mistakes
    time_limit seconds that the candidate's calls may take together, some dozens of up to five
               steps (or of own numbers); None for no limit. Then the status is "raised". See
               `rnnbench.diagnosis.limit` for what it cannot interrupt

    The candidate is run in this process: what it prints is kept off, what it changes (default
    dtype, threads, random state, environment, …; buffers of the module) is put back and said, and
    `SystemExit` is taken for an error of its own. The command ``rnnbench diagnose`` runs a file in
    a process of its own, which can be ended whatever it does.

    A module is also given a `PackedSequence` of different lengths, and a function that has a
    parameter ``lengths`` is given these; where they are not taken, they are not compared.
    Parametrised weights (`torch.nn.utils.parametrizations`) are set as plain ones, on a copy.

    Returns a `Diagnosis`: ``.passed``, ``.first_divergence``, ``.cause``, ``.to_dict()``,
    ``.to_html()``; it prints as an account. Raises InputError where the candidate cannot be asked:
    an unknown network, weights that cannot be told apart, wrong shapes of own numbers.
    """
    started = time.monotonic()
    limit = TimeLimit(time_limit)
    if isinstance(candidate, str | Path):
        return diagnose_script(Path(candidate), time_limit=time_limit)
    layout = {
        "batch_first": batch_first, "unbatched": unbatched, "states": states, "gates": gates,
        "interleaved": interleaved, "transposed": transposed, "arrays": arrays,
    }  # fmt: skip
    check_usage(
        spec=spec, kind=kind, mapping=mapping, layout=layout, loss=loss, x=x, state=state,
        weights=weights,
    )  # fmt: skip
    adapters = adapters_for(candidate, spec, kind, mapping, layout, loss, limit)
    here = torch.get_default_device().type == "cpu"  # where problems are solved and compared
    changed: list[str] = []
    with buffers_kept(adapters[0].candidate, changed):
        try:
            with nullcontext() if here else torch.device("cpu"):
                result = _diagnosed(adapters, layout, (x, state, weights), seconds)
        except TimeUpError:
            result = _cut_off(adapters, limit)
    result.notes += changed
    result.seconds = time.monotonic() - started
    return result


def _cut_off(adapters: Sequence[Adapter], limit: TimeLimit) -> Diagnosis:
    """Return what is left to say of a candidate whose time was over; its weights are its own
    again.
    """
    for adapter in adapters:
        if adapter.match is not None:
            adapter.match.restore()
    first = adapters[0]
    return Diagnosis(first.name, first.spec, "raised", first.kind, raised=limit.words)


def _diagnosed(
    adapters: list[Adapter], layout: Mapping[str, Any], own_problem: tuple[Any, Any, Any],
    seconds: float,
) -> Diagnosis:  # fmt: skip
    """Recognise the candidate's layout, then whether it is steady, then where it departs."""
    adapter, seen = recognise(adapters, layout, _steps_of(own_problem[0]))
    if adapter.kind != "gradient" and seen.raised is None:
        adapter.gives = tuple(name for name in adapter.gives if name in seen.got)
    result = Diagnosis(
        adapter.name, adapter.spec, "right", adapter.kind, layout=adapter.layout.words
    )
    result.exchanged = adapter.exchanged
    own = own_numbers(adapter, *own_problem)
    if seen.raised is not None:
        result.status, result.raised = "raised", what_it_raised(adapter, seen.raised)
    else:
        result.unsteady, result.quantities = unsteady(adapter, seen.solved)
    if result.unsteady:
        result.status = "departs"
    elif seen.raised is None:
        adapter.takes_packed = takes_packed(adapter)
        solved = [own] if own is not None else []
        solved += [solved_for(adapter, case) for case in cases_for(adapter)]
        trials = [attempt(adapter, one) for one in solved]
        _examine(result, adapter, trials, seconds, own=own is not None)
    result.notes = [*_remarks(adapter, seen), *adapter.notes, *result.notes]
    return result


def _steps_of(x: Any) -> int | None:
    return None if x is None else len(array_of("x", x))


def _examine(
    result: Diagnosis, adapter: Adapter, trials: Sequence[Trial], seconds: float, *, own: bool
) -> None:
    """Fill in what the trials say."""
    result.quantities = _worst(trials)
    if not result.quantities:
        raise InputError("candidate must return something to compare; it returned nothing")
    dense = [
        trial
        for trial in trials
        if trial.problem.case.lengths is None
        and trial.problem.masks is None
        and trial.problem.case.T <= LONGEST_CUT
    ]
    wrong = [trial for trial in trials if trial.failed]
    result.guessed = adapter.guessed > 1 and bool(wrong)
    shown = next((trial for trial in dense if trial.failed), dense[0])
    result.T = shown.problem.case.T
    runs = cuts.cut(adapter, shown.problem)
    result.heat = cuts.heat(runs)
    if not wrong:
        return
    result.status = "departs"
    red = {row.quantity for row in shown.failed}
    place = None
    if red & {"output", "h_n", "c_n"}:
        place = locate.first_forward(adapter, runs)
    elif red:
        place = locate.first_backward(runs, red)
    place = place or locate.in_whole(shown if red else wrong[0])
    result.first_divergence = place
    result.contributions = cuts.contributions(runs, place)
    result.contributions_of = place.quantity if result.contributions else ""
    result.contributions_exact = runs.exact
    if runs.alike is False:
        result.notes.append(
            "it does not do the same at every step (it goes by the number of the step, or one step "
            "overwrites another): what each step adds cannot be told from outside, and steps are "
            "named only where the whole run shows them"
        )
    result.no_numbers = returned(wrong)
    special = special_mistakes(adapter, trials[0])
    _name_cause(result, explain(trials, seconds, own=own, special=special))
    if result.cause is None and (seen := observed(adapter, trials)):
        result.cause, result.explanations = seen.id, [seen]
    if result.cause is None:
        result.notes += resemblances(trials)
    backward = [r.detail for trial in wrong for r in trial.failed if r.status == "raised"]
    if backward and red & {"output", "h_n", "c_n"} and not any(trial.raised for trial in wrong):
        result.notes.append(f"it raised {backward[0]}: its gradients are not compared")
    raised = next((trial.raised for trial in wrong if trial.raised), None)
    if raised is not None:
        result.raised = what_it_raised(adapter, raised)


def _name_cause(result: Diagnosis, found: Found) -> None:
    result.cause = "+".join(m.id for m in found.mistakes) or None
    result.same_numbers = list(found.same_numbers)
    result.explanations = [
        Explanation(m.id, m.sentence, m.where, m.wrong, m.right) for m in found.mistakes
    ]
    if found.only:
        result.notes.append(f"the cause is in {found.only} alone")
    if found.partly:
        result.notes.append(f"the cause gives the numbers of {found.partly}")
    if not found.complete:
        result.notes.append("not every pair of mistakes was tried: time ran out")


def _worst(trials: Sequence[Trial]) -> list[Quantity]:
    """Each quantity where it is furthest over, or nearest to, its budget."""
    worst: dict[str, Row] = {}
    for row in (row for trial in trials for row in trial.rows):
        old = worst.get(row.quantity)
        if old is None or row.share > old.share:
            worst[row.quantity] = row
    return [
        Quantity(r.quantity, r.status, r.error, r.budget, r.case, r.detail) for r in worst.values()
    ]


def _remarks(adapter: Adapter, seen: Trial) -> list[str]:
    """Return what the user should know about the candidate, apart from its numbers."""
    said = [adapter.remark] if adapter.remark else []
    said += _how_asked(adapter)
    if adapter.match is not None:
        said += _about_weights(adapter.match, adapter.kind)
    if adapter.absent:
        names = ", ".join(adapter.absent[:4]) + (", …" if len(adapter.absent) > 4 else "")
        said.append(f"it has no {names}: taken for zero")
    if not adapter.takes_state:
        said.append("it takes no initial state: compared with zero states")
    if adapter.kind == "module" and seen.raised is None and not adapter.takes_packed:
        said.append("it takes no PackedSequence: sequences of different lengths are not compared")
    if adapter.kind != "gradient" and seen.raised is None:
        missing = [
            n for n in ("h_n", "c_n") if n in seen.solved.expected and n not in adapter.gives
        ]
        if missing:
            said.append(f"it does not return {' or '.join(missing)}: not compared")
    return said


def _how_asked(adapter: Adapter) -> list[str]:
    """Return what was found out, or guessed, of the way in which it must be called."""
    said = []
    if adapter.guessed > 1:
        said.append(
            f"the layout is a guess: {adapter.guessed} fit in shape and none makes the numbers "
            "right; taken was the first in which a known mistake gives them, else the first"
        )
    if adapter.steps:
        said.append(f"it takes sequences of {adapter.steps} steps only: asked these alone")
    if adapter.batch:
        said.append("it takes one sequence at a time: asked one alone")
    if adapter.only_last:
        said.append(f"its output is that of the last {adapter.only_last} alone: compared there")
    if adapter.method:
        said.append(f"called as .{adapter.method}(…)")
    if callable(getattr(adapter.candidate, "backward", None)):
        said.append(
            "its method backward is not asked: diagnose a function g(x, state, weights, upstream) "
            "that calls it, of kind gradient"
        )
    return said


def _about_weights(match: Match, kind: str) -> list[str]:
    """Return where its weights were found, and what it holds besides."""
    said = [match.inferred] if match.inferred else []
    if match.head.said:
        said.append(
            f"asked by its recurrent part: {', '.join(match.head.said)} taken out for the calls"
        )
    if match.plain and kind in ("module", "cell"):
        paths = ", ".join(match.plain[:4]) + (", …" if len(match.plain) > 4 else "")
        said.append(
            f"weights that are no parameters ({paths}): .parameters(), optimisers, .to() and "
            "state_dict() do not see them; use nn.Parameter and nn.ParameterList"
        )
    others = [slot for slot in match.unmatched if slot.registered]
    if others:
        held = ", ".join(f"{slot.path} {slot.shape}" for slot in others[:4])
        more = ", …" if len(others) > 4 else ""
        said.append(
            f"it has parameters that are no weight of the network ({held}{more}): they keep their "
            "values, and what they do to the answers is compared as well"
        )
    if match.tied:
        pairs = ", ".join(f"{one} and {other}" for one, other in match.tied[:3])
        said.append(
            f"one tensor stands for two weights: {pairs}; it was given the value of the first, so "
            "the second departs. Hold a tensor for each, equal or not, to have the rest compared"
        )
    return said
