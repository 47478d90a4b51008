"""Parts of a quantity that a script may hold: the whole, one step, one layer, a transpose, a gate.

Two arrays are compared without their axes of length 1: a script without a batch writes (T, H) or
(1, H) where torch has (T, 1, H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rnnbench.parity.oracle import Array
from rnnbench.spec import GATE_ORDER, Case

MOST = 512
"""Steps, and sequences, up to which each is looked at by itself."""


@dataclass(frozen=True)
class View:
    """Part of a quantity: its words, and how it is taken from the whole.

    time_step   the only step that it holds, None for all or none
    """

    quantity: str
    words: str
    pick: Callable[[Array], Array]
    time_step: int | None = None


def without_ones(array: Array) -> Array:
    """Return an array without its axes of length 1."""
    return array.reshape([size for size in array.shape if size != 1])


def views(case: Case, quantity: str) -> Iterator[View]:
    """Return the parts of a quantity of a case, the whole first."""
    yield View(quantity, "", lambda a: a)
    if quantity in ("output", "grad_x"):
        yield from _of_sequence(case, quantity)
    elif quantity in ("h_n", "c_n", "grad_h0", "grad_c0"):
        yield from _of_states(case, quantity)
    else:
        yield from _of_weight(case, quantity)


def _of_sequence(case: Case, quantity: str) -> Iterator[View]:
    T, B = case.T, case.B
    yield View(quantity, "batch first", lambda a: a.swapaxes(0, 1))
    for t in range(T if T <= MOST else 0):
        yield View(quantity, f"at t = {t}", lambda a, t=t: a[t], t)
    for b in range(B if 1 < B <= MOST else 0):
        yield View(quantity, f"of sequence {b}", lambda a, b=b: a[:, b])
    if quantity == "output" and case.spec.directions == 2:
        P = case.spec.state_size
        for name, half in (("forward", slice(0, P)), ("reverse", slice(P, None))):
            yield View(quantity, f"{name} half", lambda a, h=half: a[..., h])
            yield View(quantity, f"{name} half, batch first",
                       lambda a, h=half: a[..., h].swapaxes(0, 1))  # fmt: skip
            for t in range(T if T <= MOST else 0):
                yield View(quantity, f"{name} half at t = {t}", lambda a, h=half, t=t: a[t][..., h], t)
    yield View(quantity, "features first", lambda a: np.moveaxis(a, -1, 0))
    for t in range(T if T <= MOST else 0):
        yield View(quantity, f"at t = {t}, transposed", lambda a, t=t: a[t].T, t)


def _of_states(case: Case, quantity: str) -> Iterator[View]:
    spec = case.spec
    rows = [(k, d) for k in range(spec.layers) for d in range(spec.directions)]
    for i, (k, d) in reversed(list(enumerate(rows))):
        name = f"of layer {k + 1}" + (f" {('forward', 'reverse')[d]}" if spec.directions == 2 else "")
        yield View(quantity, name, lambda a, i=i: a[i])
        yield View(quantity, f"{name}, transposed", lambda a, i=i: a[i].T)
    yield View(quantity, "batch first", lambda a: a.swapaxes(0, 1))
    if spec.directions == 2:
        yield View(quantity, "of both directions side by side",
                   lambda a: np.concatenate([a[-2], a[-1]], axis=-1))  # fmt: skip


def _of_weight(case: Case, quantity: str) -> Iterator[View]:
    spec = case.spec
    if "weight" in quantity:
        yield View(quantity, "transposed", lambda a: a.T)
    if spec.gates > 1 and "weight_hr" not in quantity:
        H = spec.hidden_size
        for i, letter in enumerate(GATE_ORDER[spec.cell]):
            rows = slice(i * H, (i + 1) * H)
            yield View(quantity, f"of gate {letter}", lambda a, r=rows: a[r])
            if "weight" in quantity:
                yield View(quantity, f"of gate {letter}, transposed", lambda a, r=rows: a[r].T)
