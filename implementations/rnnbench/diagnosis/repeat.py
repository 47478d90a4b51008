"""Test that a candidate answers the same question the same way: no state left over, no chance.

One problem is put three times: twice from one random state, once from another. What differs
between the first two is left over from a call (a state kept in an attribute, a cache, a changed
weight); what differs only with the random state is drawn (active dropout, noise).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.findings import Quantity
from rnnbench.diagnosis.trials import Solved, Trial, attempt
from rnnbench.spec import UNIT_ROUNDOFF

LEFT_OVER = (
    "two equal calls gave different answers: something is left over from a call to the next, such "
    "as a state kept in an attribute; begin every call from the state that is given, or from zeros"
)
DRAWN = (
    "two equal calls from different random states gave different answers: dropout is active or "
    "noise is added; switch it off (.eval(), p=0) to have the rest compared"
)


def unsteady(adapter: Adapter, solved: Solved) -> tuple[str, list[Quantity]]:
    """Return what is wrong with its repeatability in one sentence, and what differs; else
    nothing.
    """
    one, same, other = (_from(seed, adapter, solved) for seed in (0, 0, 1))
    for again, sentence in ((same, LEFT_OVER), (other, DRAWN)):
        if again.raised and not one.raised:
            return f"asked the same again, it raised {again.raised}", []
        differ = _different(one, again)
        if differ:
            return sentence, differ
    return "", []


def _from(seed: int, adapter: Adapter, solved: Solved) -> Trial:
    with _random_state(seed):
        return attempt(adapter, solved)


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """The three generators seeded for a block, and put back."""
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)
        random.setstate(pythons)


def _different(one: Trial, other: Trial) -> list[Quantity]:
    """Quantities of which two answers differ by more than rounding explains."""
    found = []
    for row in one.rows:
        a, b = one.got.get(row.quantity), other.got.get(row.quantity)
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape:
            if type(a) is not type(b) or (isinstance(a, Tensor) and isinstance(b, Tensor)):
                found.append(Quantity(row.quantity, "unsteady", np.inf, row.budget, row.case))
            continue
        a, b = a.detach().double(), b.detach().double()
        if torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True):
            continue
        size = max(float(a.norm()), float(b.norm()), 1e-300)
        error = float((a - b).norm()) / size / UNIT_ROUNDOFF[one.problem.case.spec.dtype]
        if not error <= row.budget:
            found.append(Quantity(row.quantity, "unsteady", error, row.budget, row.case))
    return found
