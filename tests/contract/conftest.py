"""Fixtures of the contract: the kind of network, and torch's module beside ours."""

from __future__ import annotations

import pytest
import torch
from contract.modules import CELL, KINDS, Pair, make
from support import sizes, skip_what_jax_compiles

import rnnbench
from rnnbench.interface import Conditions
from rnnbench.spec import Spec


@pytest.fixture(params=KINDS, scope="session")
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def _affordable(request):
    """On jax the GRU shows the contract; parity shows its other cells."""
    given = getattr(getattr(request.node, "callspec", None), "params", {})
    if given.get("kind", "GRU") != "GRU":
        skip_what_jax_compiles(given.get("backend", ""), "the GRU shows it")


@pytest.fixture
def pair(backend, kind):
    """A function that makes both modules from one seed, or skips with the backend's reason."""

    def build(input_size, hidden_size, **kwargs):
        spec = Spec(CELL[kind], 3, 4, dtype=str(kwargs.get("dtype", torch.float32))[6:])
        reason = rnnbench.get_backend(backend).supports(spec, Conditions())
        if reason is not None:
            pytest.skip(f"{backend}: {reason}")
        hidden_size, projection = sizes(backend, hidden_size, kwargs.get("proj_size", 0))
        if projection:
            kwargs["proj_size"] = projection
        torch.manual_seed(0)
        theirs = make(torch.nn, kind, input_size, hidden_size, **kwargs)
        torch.manual_seed(0)
        ours = make(rnnbench, kind, input_size, hidden_size, backend=backend, **kwargs)
        return Pair(theirs, ours)

    return build
