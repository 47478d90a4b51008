"""A call of one of torch's networks, its answers, and the tensors that are held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnnbench.diagnosis.script.calls import Call
from rnnbench.diagnosis.script.run import Run
from rnnbench.diagnosis.script.views import View, views, without_ones
from rnnbench.parity.candidate import answers
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem
from rnnbench.spec import UNIT_ROUNDOFF

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor of the script beside the part of a quantity that it should equal.

    how     what shows it: "torch.allclose in line 30"
    strong  whether the script itself compares them; else it must be explained to be held wrong
    weighed whether weights of torch's went into it, as far as its operations show
    """

    view: View
    theirs: Array
    label: str
    line: int
    how: str
    strong: bool
    weighed: bool = True

    def of(self, quantity: Array) -> Array:
        """Return the part of a whole quantity, in one row."""
        return self.view.pick(quantity).reshape(-1)


@dataclass(eq=False)
class Asked:
    """A call, its problem for the oracle, and what in the script is held against it."""

    call: Call
    problem: Problem
    expected: Mapping[str, Array]
    gradients: Mapping[str, Array]
    held: list[Held] = field(default_factory=list)
    settled: bool = True

    @cached_property
    def right(self) -> Mapping[str, Array]:
        """Every quantity as the oracle computes it."""
        return self.expected or self.problem.expected()

    @cached_property
    def torchs(self) -> Mapping[str, Array]:
        """Every quantity as torch computes it, for what rounding may do."""
        found = answers("native", self.problem)
        return {q: v.detach().double().numpy() for q, v in found.items() if v is not None}

    @cached_property
    def parts(self) -> dict[Shape, list[tuple[View, Array]]]:
        """Every part of torch's own answers, by its shape without axes of length 1."""
        found: dict[Shape, list[tuple[View, Array]]] = {}
        for quantity, whole in (self.call.answers | dict(self.gradients)).items():
            for view in views(self.problem.case, quantity):
                part = without_ones(view.pick(whole))
                if part.size and part.any():
                    found.setdefault(part.shape, []).append((view, part))
        return found

    def part(self, value: Array) -> View | None:
        """Return the part of torch's answers that a value is, number by number."""
        value = without_ones(value)
        for view, part in self.parts.get(value.shape, ()):
            if value.flat[0] == part.flat[0] and np.array_equal(value, part):
                return view
        return None

    def fitting(self, value: Array, quantities: Sequence[str]) -> list[View]:
        """Return the parts of some quantities that have the shape of a value."""
        shape = without_ones(value).shape
        return [v for v, _ in self.parts.get(shape, ()) if v.quantity in quantities]


def sizes(value: Array) -> Shape:
    """Return the sizes of a value's axes, sorted, without those of 1."""
    return tuple(sorted(size for size in value.shape if size != 1))


def settled(run: Run, call: Call, shapes: set[Shape]) -> Asked:
    """Return a call with the gradients that torch's weights were left with.

    Settles which backward passes make these up, where something of the shape of a weight, or of a
    gate's block of one, could be compared with them.
    """
    blocks = [w[: call.spec.hidden_size] for w in call.weights.values()]
    if not any(sizes(w) in shapes for w in (*call.weights.values(), *blocks)):
        call.passes = {}
    if not call.passes:
        return Asked(call, call.problem(), {}, {})
    after = {number: grads.get(id(call.module), {}) for number, grads in run.watch.after.all()}
    known, own = dict(call.passes), sorted(call.passes)
    for chosen in ([own[0]], own, [own[-1]]):
        grads = {n: g for n, g in after.get(chosen[-1], {}).items() if g is not None}
        call.passes = {number: known[number] for number in chosen}
        problem = call.problem()
        expected = problem.expected()
        if grads and all(_near(g, expected.get(f"grad_{n}"), call) for n, g in grads.items()):
            named = {f"grad_{n}": g for n, g in grads.items()}
            return Asked(call, problem, expected, named)
    call.passes = {}
    return Asked(call, call.problem(), {}, {}, settled=False)


def _near(one: Array, other: Array | None, call: Call) -> bool:
    if other is None or one.shape != other.shape:
        return False
    unit = UNIT_ROUNDOFF[call.spec.dtype]
    size = float(np.linalg.norm(other))
    return float(np.linalg.norm(one - other)) <= 4096 * unit * size + 1e-30
