"""The terms that a script adds up to a gradient, beside what each time step adds to the right one.

dL/dW = Σ_t C_t with C_t = ∂L/∂W_t, W_t being a copy of W that step t alone uses. So the right C_t,
and those of the network with a mistake planted, are the gradients of such copies: exact, for any
number of layers and directions, and from the numbers of the one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnbench.diagnosis.findings import Term
from rnnbench.diagnosis.script.held import Held
from rnnbench.diagnosis.script.seen import Sum
from rnnbench.diagnosis.script.source import shown
from rnnbench.diagnosis.script.views import without_ones
from rnnbench.diagnosis.script.watch import Watch
from rnnbench.mistakes import CATALOGUE
from rnnbench.mistakes.network import At, Hook, Network
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem, as_float64
from rnnbench.parity.problem import gradients as gradients_of
from rnnbench.spec import UNIT_ROUNDOFF

NEAR = 2048.0
"""Units of roundoff, of the whole gradient, within which a term is a step's contribution."""
SHOWN = 8
MOST_TERMS = 64


def contributions(problem: Problem, quantity: str, planted: Sequence[str] = ()) -> list[Array]:
    """Return what each time step adds to the gradient of a weight, the first step of time first."""
    kind, _, place = quantity.removeprefix("grad_").rpartition("_l")
    layer, reverse = int(place.removesuffix("_reverse")), place.endswith("_reverse")
    copies: dict[int, Tensor] = {}

    def copied(weights: Mapping[str, Tensor], at: At) -> Mapping[str, Tensor]:
        if (at.layer, at.direction) != (layer, int(reverse)):
            return weights
        copies[at.step] = weights[kind].detach().clone().requires_grad_()
        return dict(weights) | {kind: copies[at.step]}

    hooks: dict[str, list[Hook]] = {"step_weights": [copied]}
    for name in planted:
        for where in CATALOGUE[name].places:
            hooks.setdefault(where, []).append(CATALOGUE[name].act)
    case = problem.case

    def leaf(array: Array) -> Tensor:
        return torch.tensor(as_float64(array), requires_grad=True)

    at = At(case.spec, case.T, case.B, case.lengths, ())
    weights = {name: leaf(value) for name, value in problem.weights.items()}
    y, final = Network(at, hooks).run(leaf(problem.x), tuple(map(leaf, problem.state)), weights)
    got = {"output": y} | dict(zip(("h_n", "c_n"), final, strict=False))
    found = gradients_of(got, problem.upstream, {str(step): c for step, c in copies.items()})
    zero = np.zeros(next(iter(copies.values())).shape)
    steps = [zero if (g := found[str(step)]) is None else g.numpy() for step in sorted(copies)]
    return steps[::-1] if reverse else steps


def terms(watch: Watch, held: Held) -> list[tuple[Array, Sum, int]]:
    """Return what the script added up to the gradient that it holds, and which side each was."""
    target = without_ones(held.theirs)
    last = next((s for s in reversed(watch.sums) if _equal(s.total, target)), None)
    if last is None:
        return []
    return _leaves(watch.sums, last, MOST_TERMS)


def _leaves(sums: Sequence[Sum], last: Sum, most: int) -> list[tuple[Array, Sum, int]]:
    """Go back from a total to what was added, from the last addition to the first."""
    by_total = {id(s): i for i, s in enumerate(sums)}
    found: list[tuple[Array, Sum, int]] = []
    pending: list[tuple[Sum, int]] = [(last, 0), (last, 1)]
    while pending and len(found) < most:
        of, side = pending.pop()
        value = of.parts[side]
        if not value.any() or value.size != of.total.size:
            continue
        earlier = sums[: by_total[id(of)]]
        inner = next((s for s in reversed(earlier) if _same(s.total, value)), None)
        if inner is not None and all(p.size == value.size for p in inner.parts):
            pending += [(inner, 0), (inner, 1)]
        else:
            found.append((value, of, side))
    return found


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _equal(one: Array, other: Array) -> bool:
    """Return whether two arrays are equal, in either order of their axes."""
    one = without_ones(one)
    return _same(one, other) or _same(one.T, other)


def recognised(watch: Watch, held: Held, problem: Problem, planted: Sequence[str]) -> list[Term]:
    """Return the script's terms, each with the step whose contribution it is, or should be."""
    quantity = held.view.quantity
    if quantity in ("grad_x", "grad_h0", "grad_c0"):
        return []
    added = terms(watch, held)
    if len(added) < 2:
        return []
    right = [held.of(c) for c in contributions(problem, quantity)]
    wrong = [held.of(c) for c in contributions(problem, quantity, planted)] if planted else right
    unit = UNIT_ROUNDOFF[problem.case.spec.dtype]
    scale = max(float(np.linalg.norm(c)) for c in right)
    found: list[Term] = []
    turned = _turned(held, added[0][0])
    values = [_row(value, turned) for value, _, _ in added]
    near = NEAR * unit * scale
    steps = [_step(value, right, near) for value in values]
    meant = _meant(values, steps, right, wrong, near)
    for (_, of, side), row, own, step in zip(added, values, steps, meant, strict=True):
        label, line = _label(watch, of, side)
        shape = right[step] if step is not None else np.zeros(0)
        found.append(Term(
            label, line, step, own is None, tuple(map(float, row[:SHOWN])),
            tuple(map(float, shape[:SHOWN])),
        ))  # fmt: skip
    return found


def _meant(
    values: Sequence[Array], steps: Sequence[int | None], right: Sequence[Array],
    wrong: Sequence[Array], near: float,
) -> list[int | None]:  # fmt: skip
    """Return the step that each term should be of: of those that are no step's, by the known
    mistake, or by their order where there is one term for each step.
    """
    left = [t for t in range(len(right)) if t not in steps]
    found = list(steps)
    for i, step in enumerate(steps):
        if step is None:
            by_mistake = _step(values[i], [wrong[t] for t in left], near)
            found[i] = left[by_mistake] if by_mistake is not None else None
    missing = [i for i, step in enumerate(found) if step is None]
    free = [t for t in range(len(right)) if t not in found]
    if len(missing) == len(free) and all(values[i].shape == right[0].shape for i in missing):

        def distance(order: Sequence[int]) -> float:
            pairs = zip(missing, order, strict=True)
            return float(sum(np.linalg.norm(values[i] - right[t]) for i, t in pairs))

        backwards = free[::-1]
        order = free if distance(free) <= distance(backwards) else backwards
        for i, t in zip(missing, order, strict=True):
            found[i] = t
    return found


def _turned(held: Held, term: Array) -> bool:
    """Return whether terms stand transposed to the sum that was compared."""
    return without_ones(term).shape != without_ones(held.theirs).shape


def _row(value: Array, turned: bool) -> Array:
    value = without_ones(value)
    return (value.T if turned else value).reshape(-1)


def _step(value: Array, steps: Sequence[Array], tolerance: float) -> int | None:
    """Return the step whose contribution a value is, to rounding."""
    near = [
        (float(np.linalg.norm(value - c)), t) for t, c in enumerate(steps) if c.shape == value.shape
    ]
    distance, step = min(near, default=(np.inf, 0))
    return step if distance <= tolerance else None


def _label(watch: Watch, of: Sum, side: int) -> tuple[str, int]:
    """Return the script's own name of a term and where it is made, else the expression it was."""
    line = of.at.line if of.at is not None else 0
    operands: Sequence[Any] = watch.source.operands(of.at) if of.at is not None else []
    text = shown(operands[side]) if side < len(operands) else f"what line {line} adds"
    return text, watch.source.assigned.get(text, line)
