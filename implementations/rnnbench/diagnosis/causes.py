"""Search the known mistakes for what explains the candidate: singly, then in pairs.

A set of mistakes explains a candidate if the network with these planted gives its numbers, every
quantity of every problem, to rounding. An error to the planted numbers is measured as to the
oracle's, in the unit roundoff of the dtype, and may be

    max(rule 1 of the budget, 4·A)   and   no more than 1/16 of the departure that it explains,

A being the conditioning of the planted network itself, measured as in `rnnbench.parity.budget` and
only where the rule does not suffice. A mistake that rounds to a narrower dtype is planted in the
dtype of the candidate as well, so that what it rounds falls to the same side.

Search.  What is right forward can only be wrong backward, so mistakes that change the output are
left out then, and those of the backward pass alone where gradients cannot decide. A pair of which
one member is of the backward pass is tried only where the other explains all outputs and states.
Pairs are sieved on the smallest problem; as in the catalogue the simpler explanation wins, and
among equals the one that stands first. Others that give the same numbers are named with it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rnnbench import mistakes
from rnnbench.diagnosis.trials import Solved, Trial
from rnnbench.mistakes import CATALOGUE, Mistake, limited
from rnnbench.parity.budget import FLOOR, conditioning_of, relative_error, rule
from rnnbench.parity.candidate import answers
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF

FORWARD = ("output", "h_n", "c_n")
OUTPUTS = "its outputs and states"
LEAST_GAIN = 16.0
ROUNDS = {"float16_accumulation", "float16_preactivation", "float32_inside"}


@dataclass(frozen=True)
class Found:
    """mistakes: one or two, none if nothing explains the numbers.

    same_numbers  other single mistakes that explain them as well
    complete      whether every pair was tried; False if time ran out before
    only          the layer or direction in which alone it is made, "" for all
    partly        the part of what was asked that they explain; "" for all of it
    """

    mistakes: tuple[Mistake, ...]
    same_numbers: tuple[str, ...] = ()
    complete: bool = True
    only: str = ""
    partly: str = ""


def explain(
    trials: Sequence[Trial], seconds: float, *, own: bool = False, special: Sequence[Mistake] = ()
) -> Found:
    """The simplest set of at most two mistakes that gives the candidate's numbers.

    own      whether the first trial is of the user's own numbers: a mistake that gives these is
             named even if it does not give the others'
    special  mistakes that only this candidate may have, tried first

    A gradient that is missing is zero, or where that explains nothing, not compared.
    """
    if returned(trials):
        return Found(())
    deadline = time.monotonic() + seconds
    search = _Search(trials)
    for one in special:
        if search.explains((one,), forward_only=True):
            return Found((one,), partly=OUTPUTS)
    found = search.single() or search.limited()
    parts = list(_parts(trials, own=own))
    without = all(v is None for t in trials for q, v in t.got.items() if q not in FORWARD)
    early = own or without  # before pairs, which could explain nothing besides
    if found is None and early:
        found = _first_of(parts, trials)
    if found is None:
        found = search.pair(deadline)
    if not found.mistakes and not early:
        found = _first_of(parts, trials) or found
    return found


def _first_of(parts: Sequence[list[Trial]], trials: Sequence[Trial]) -> Found | None:
    """The single mistakes that give the numbers of the first part that any gives."""
    for part in parts:
        found = _Search(part).single()
        if found is not None:
            return replace(found, partly=_what(trials, part))
    return None


def _parts(trials: Sequence[Trial], *, own: bool) -> Iterable[list[Trial]]:
    """Parts of what was asked that may be explained alone, the most telling first."""
    if not any(row.quantity in FORWARD for trial in trials for row in trial.failed):
        with_gradients = list(trials)
    else:
        with_gradients = [_without_missing(trial) for trial in trials]
    if any(
        len(less.got) < len(trial.got) for less, trial in zip(with_gradients, trials, strict=True)
    ):
        yield with_gradients
    if own and trials[0].failed:
        yield [trials[0]]
        yield [with_gradients[0]]


def _without_missing(trial: Trial) -> Trial:
    """A trial without the gradients that nothing reached."""
    return replace(trial, got={q: v for q, v in trial.got.items() if v is not None})


def _what(trials: Sequence[Trial], part: Sequence[Trial]) -> str:
    if len(part) == len(trials):
        return f"{OUTPUTS}; gradients that are missing were left out"
    case = part[0].problem.case
    return f"sequences of {case.T} steps ({case.name}); for others it does not give the numbers"


def first_explained(trials: Sequence[Trial]) -> int | None:
    """The first of several trials of one forward pass whose numbers a known mistake gives."""
    numbers: dict[tuple[int, str], Mapping[str, Any]] = {}
    for index, trial in enumerate(trials):
        for known in CATALOGUE.values():
            if known.backward_only or not known.applies(trial.problem.case):
                continue
            key = (id(trial.solved.problem), known.id)
            if key not in numbers:
                try:
                    numbers[key] = _numbers(trial.solved, [known], forward_only=True)
                except (RuntimeError, IndexError, ValueError):
                    numbers[key] = {}
            if _match(trial, [known], numbers[key], forward_only=True):
                return index
    return None


def returned(trials: Sequence[Trial]) -> str:
    """Return what was returned in place of numbers, "" if nothing was: no mistake explains such
    answers.

    A missing gradient is a number, zero: autograd gives None for it.
    """
    wrong = [trial for trial in trials if trial.failed]
    if wrong and all(trial.raised for trial in wrong):
        return "where it departs, the candidate raised an error"
    outputs = [value for trial in trials if (value := trial.numbers("output")) is not None]
    if outputs and not any(value.any() for value in outputs):
        return "the output is zero in every problem"
    if wrong and all(row.status == "raised" for trial in wrong for row in trial.failed):
        return "its backward pass raised an error, and its forward pass is right"
    for trial in trials:
        for row in trial.failed:
            value = trial.got.get(row.quantity)
            if isinstance(value, torch.Tensor) or row.status == "raised":
                continue
            if value is not None or row.quantity in FORWARD:
                kind = "None" if value is None else f"a {type(value).__name__}"
                return f"the candidate returned {kind} where {row.quantity} belongs"
    return ""


class _Search:
    """The catalogue against the trials, the cheapest first."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        answered = [trial for trial in trials if trial.raised is None]
        self.trials = sorted(answered, key=lambda trial: trial.problem.x.size)
        self.forward_known = any(q in trial.got for trial in answered for q in FORWARD)
        departs = {row.quantity for trial in answered for row in trial.failed}
        self.forward_wrong = bool(departs & set(FORWARD))
        self.known = [m for m in CATALOGUE.values() if self._thinkable(m)]

    def _thinkable(self, known: Mistake) -> bool:
        if not any(known.applies(trial.problem.case) for trial in self.trials):
            return False
        if not self.forward_known:
            return True
        if self.forward_wrong:
            return not known.backward_only
        # relu may hide a forward mistake in outputs of zero, gradients then too
        return known.backward_only

    def single(self) -> Found | None:
        """The single mistakes that give the numbers, or None."""
        found = [m for m in self.known if self.explains((m,))]
        return Found((found[0],), tuple(m.id for m in found[1:])) if found else None

    def limited(self) -> Found | None:
        """The first mistake that gives the numbers in one layer or direction alone, or None."""
        for known in self.known:
            for one, where in limited(known, self.trials[0].problem.case):
                if self.explains((one,)):
                    return Found((one,), only=where)
        return None

    def pair(self, deadline: float) -> Found:
        """The first pair that gives the numbers, if one does before the deadline."""
        for pair in self.pairs():
            if time.monotonic() > deadline:
                return Found((), complete=False)
            if self.explains(pair):
                return Found(pair)
        return Found(())

    def pairs(self) -> Iterable[tuple[Mistake, ...]]:
        """Pairs that the smallest problem does not rule out, in the order of the catalogue."""
        if self.forward_known and self.forward_wrong:
            backward = [
                m
                for m in CATALOGUE.values()
                if m.backward_only and any(m.applies(t.problem.case) for t in self.trials)
            ]
            alone = [m for m in self.known if self.explains((m,), forward_only=True)]
            yield from itertools.product(alone, backward)
        yield from itertools.combinations(self.known, 2)

    def explains(self, planted: Sequence[Mistake], *, forward_only: bool = False) -> bool:
        """Return whether these mistakes give the candidate's numbers in every trial."""
        trials = [t for t in self.trials if not any(_undefined(m, t) for m in planted)]
        cheap = self.forward_known and (forward_only or self.forward_wrong)
        if cheap and not all(_agrees(trial, planted, forward_only=True) for trial in trials):
            return False
        return forward_only or all(_agrees(trial, planted) for trial in trials)


def _undefined(known: Mistake, trial: Trial) -> bool:
    """Return whether the catalogue does not say what a mistake does with sequences of several
    lengths.
    """
    case = trial.problem.case
    return (
        case.lengths is not None
        and not known.applies(case)
        and known.applies(replace(case, lengths=None))
    )


def _agrees(trial: Trial, planted: Sequence[Mistake], *, forward_only: bool = False) -> bool:
    """Return whether one trial's answers are those of the network with these mistakes.

    A mistake that the catalogue does not claim for the case may still act there, in part (a
    gradient of h0 after a single step), or not.
    """
    case = trial.problem.case
    claimed = [known for known in planted if known.applies(case)]
    every = list(planted)
    if _gives(trial, claimed, forward_only=forward_only):
        return True
    return claimed != every and _gives(trial, every, forward_only=forward_only)


def _gives(trial: Trial, planted: Sequence[Mistake], *, forward_only: bool) -> bool:
    """Return whether the network with these mistakes planted gives a trial's numbers."""
    if not planted:
        return not any(row.quantity in FORWARD or not forward_only for row in trial.failed)
    try:
        expected = _numbers(trial.solved, planted, forward_only=forward_only)
    except (RuntimeError, IndexError, ValueError):  # shapes do not fit, or nothing to act on
        return False
    if _match(trial, planted, expected, forward_only=forward_only):
        return True
    if not any(known.id in ROUNDS for known in planted):
        return False
    same_dtype = trial.solved.seen(_in_dtype(trial.problem, planted))
    return _match(trial, planted, same_dtype, forward_only=forward_only)


def _match(
    trial: Trial, planted: Sequence[Mistake], expected: Mapping[str, Any], *, forward_only: bool
) -> bool:
    """Return whether a trial's answers are the planted numbers to rounding."""
    case = trial.problem.case
    near: list[str] = []
    for quantity in (q for q in trial.got if not forward_only or q in FORWARD):
        verdict = _compare(trial, quantity, expected.get(quantity))
        if verdict is None:
            return False
        if verdict > rule(case, quantity):
            near.append(quantity)
    if not near:
        return True
    near_forward = all(q in FORWARD for q in near)
    noise = conditioning_of(
        trial.problem,
        {q: v for q in near if (v := expected.get(q)) is not None and v.any()},
        lambda moved: _numbers(
            replace(trial.solved, problem=moved), planted, forward_only=near_forward
        ),
    )
    return all(
        (_compare(trial, q, expected.get(q)) or 0.0) <= FLOOR * noise.get(q, 0.0) for q in near
    )


def _compare(trial: Trial, quantity: str, planted: Array | None) -> float | None:
    """Error in eps of an answer to the planted number; None if that cannot be the explanation."""
    case = trial.problem.case
    unit = UNIT_ROUNDOFF[case.spec.dtype]
    got, right = trial.numbers(quantity), trial.solved.expected[quantity]
    if got is not None and got.shape != right.shape and planted is None:
        return None
    if planted is None or got is None:
        nothing = all(value is None or not value.any() for value in (got, planted))
        return 0.0 if nothing else None
    if got.shape != planted.shape or not np.isfinite(got).all():
        return None
    if planted.any():
        error = relative_error(got, planted, unit)
    else:  # nothing to be relative to but what it should have been
        error = float(np.linalg.norm(got)) / max(float(np.linalg.norm(right)), 1e-30) / unit
    if error <= rule(case, quantity):
        return error
    departs = relative_error(got, right, unit) if got.shape == right.shape else np.inf
    return error if error * LEAST_GAIN <= departs else None


def _numbers(solved: Solved, planted: Sequence[Mistake], *, forward_only: bool) -> dict[str, Any]:
    problem, case = solved.problem, solved.problem.case
    upstream = problem.upstream if case.training and not forward_only else None
    with torch.set_grad_enabled(upstream is not None):
        found = mistakes.answers(
            case.spec, problem.x, problem.state, problem.weights, mistakes=planted,
            upstream=upstream, lengths=case.lengths, masks=problem.masks,
        )  # fmt: skip
    return solved.seen(found)


def _in_dtype(problem: Problem, planted: Sequence[Mistake]) -> dict[str, Any]:
    """Return what `_numbers` does, computed in the dtype under test."""
    found = answers(mistakes.candidate(problem.case.spec, *planted), problem)
    return {q: None if v is None else v.detach().double().numpy() for q, v in found.items()}
