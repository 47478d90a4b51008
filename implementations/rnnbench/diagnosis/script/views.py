"""Parts of a quantity that a script may hold: the whole, one step, one layer, a transpose, a gate.

Two arrays are compared without their axes of length 1: a script without a batch writes (T, H) or
(1, H) where torch has (T, 1, H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnbench.parity.oracle import Array
from rnnbench.spec import GATE_ORDER, Case

Pick = Callable[[Array], Array]
Part = Callable[..., "View"]

MOST = 512
"""Steps, and sequences, up to which each is looked at by itself."""


@dataclass(frozen=True, eq=False)
class View:
    """Part of a quantity: its words, and how it is taken from the whole.

    time_step   the only step that it holds, None for all or none
    """

    quantity: str
    words: str
    pick: Pick
    time_step: int | None = None

    @property
    def name(self) -> str:
        """Quantity and part."""
        return f"{self.quantity} {self.words}".strip()


def without_ones(array: Array) -> Array:
    """Return an array without its axes of length 1."""
    return array.reshape([size for size in array.shape if size != 1])


def views(case: Case, quantity: str) -> Iterator[View]:
    """Return the parts of a quantity of a case, the whole first."""

    def part(words: str, pick: Pick, time_step: int | None = None) -> View:
        return View(quantity, words, pick, time_step)

    yield part("", lambda a: a)
    if quantity in ("output", "grad_x"):
        yield from _of_sequence(case, part)
        if quantity == "output" and case.spec.directions == 2:
            yield from _of_halves(case, part)
    elif quantity in ("h_n", "c_n", "grad_h0", "grad_c0"):
        yield from _of_states(case, part)
    else:
        yield from _of_weight(case, part, quantity)


def _steps(case: Case) -> range:
    return range(case.T if case.T <= MOST else 0)


def _at(*index: Any) -> Pick:
    """Return a pick of a part by its index."""
    return lambda a: a[index]


def _turned(*index: Any) -> Pick:
    """Return a pick of a part by its index, its first two axes exchanged."""
    return lambda a: a[index].swapaxes(0, 1)


def _of_sequence(case: Case, part: Part) -> Iterator[View]:
    yield part("batch first", _turned(...))
    for t in _steps(case):
        yield part(f"at t = {t}", _at(t), t)
    for b in range(case.B if 1 < case.B <= MOST else 0):
        yield part(f"of sequence {b}", _at(slice(None), b))
    yield part("features first", lambda a: np.moveaxis(a, -1, 0))
    for t in _steps(case):
        yield part(f"at t = {t}, transposed", _turned(t), t)


def _of_halves(case: Case, part: Part) -> Iterator[View]:
    P = case.spec.state_size
    for name, half in (("forward", slice(0, P)), ("reverse", slice(P, None))):
        yield part(f"{name} half", _at(..., half))
        yield part(f"{name} half, batch first", _turned(..., half))
        for t in _steps(case):
            yield part(f"{name} half at t = {t}", _at(t, ..., half), t)


def _of_states(case: Case, part: Part) -> Iterator[View]:
    spec = case.spec
    rows = [(k, d) for k in range(spec.layers) for d in range(spec.directions)]
    for i, (k, d) in reversed(list(enumerate(rows))):
        direction = f" {('forward', 'reverse')[d]}" if spec.directions == 2 else ""
        yield part(f"of layer {k + 1}{direction}", _at(i))
        yield part(f"of layer {k + 1}{direction}, transposed", _turned(i))
    yield part("batch first", _turned(...))
    if spec.directions == 2:
        yield part("of both directions", lambda a: np.concatenate([a[-2], a[-1]], axis=-1))


def _of_weight(case: Case, part: Part, quantity: str) -> Iterator[View]:
    spec, matrix = case.spec, "weight" in quantity
    if matrix:
        yield part("transposed", _turned(...))
    if spec.gates > 1 and "weight_hr" not in quantity:
        H = spec.hidden_size
        for i, letter in enumerate(GATE_ORDER[spec.cell]):
            rows = slice(i * H, (i + 1) * H)
            yield part(f"of gate {letter}", _at(rows))
            if matrix:
                yield part(f"of gate {letter}, transposed", _turned(rows))
