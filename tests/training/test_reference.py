"""The oracle that can be trained on: torch in float64 is its judge."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import rnnbench
from rnnbench.nn.modules import of_spec
from rnnbench.spec import Spec
from rnnbench.training import reference


def module(cell, backend, layers=2, directions=2, dropout=0.0):
    torch.manual_seed(0)
    return of_spec(Spec(cell, 3, 5, layers, directions, dropout=dropout), backend).double()


def everything(rnn, x, seed=0):
    torch.manual_seed(seed)
    output, final = rnn(x)
    data = output.data if hasattr(output, "batch_sizes") else output
    parts = [data, *(final if isinstance(final, tuple) else (final,))]
    ups = [
        torch.linspace(-1, 1, part.numel(), dtype=part.dtype).reshape(part.shape) for part in parts
    ]
    gradients = torch.autograd.grad(parts, list(rnn.parameters()), ups)
    return [*(part.detach() for part in parts), *gradients]


@pytest.fixture
def packed():
    torch.manual_seed(1)
    return pack_sequence([torch.randn(n, 3).double() for n in (4, 7, 4, 1)], enforce_sorted=False)


@pytest.mark.parametrize("directions", [1, 2])
def test_packed_in_groups_of_equal_length_is_torch(cell, directions, packed):
    with reference.registered() as name:
        ours = everything(module(cell, name, directions=directions), packed)
    theirs = everything(module(cell, "native", directions=directions), packed)
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-11, atol=1e-12)


def test_dense_is_torch(cell):
    x = torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    with reference.registered() as name:
        ours = everything(module(cell, name), x)
    for own, expected in zip(ours, everything(module(cell, "native"), x), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-11, atol=1e-12)


def test_one_seed_drops_the_units_that_a_float32_backend_drops(packed):
    with reference.registered() as name:
        oracle = everything(module("gru", name, dropout=0.5), packed)
    single = module("gru", "native", dropout=0.5).float()
    theirs = everything(single, packed.to(torch.float32))
    for own, expected in zip(oracle, theirs, strict=True):
        torch.testing.assert_close(own.float(), expected, rtol=1e-4, atol=1e-5)


def test_the_oracle_is_a_backend_for_a_while_and_only_in_float64():
    with reference.registered() as name:
        assert name in rnnbench.backends()
        with pytest.raises(rnnbench.UnsupportedError, match="the oracle is float64"):
            module("gru", name).float()(torch.zeros(2, 1, 3))
    assert name not in rnnbench.backends()
