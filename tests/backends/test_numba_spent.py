"""The last backward pass of a graph leaves δ where the gates were, and nobody sees that."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import rnnbench
from rnnbench.backends.numba import passes, threads

GATED = pytest.mark.parametrize("cell", ["GRU", "LSTM"])


def net(cell, **options):
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64} | options
    return getattr(rnnbench, cell)(5, 19, backend="numba", **options)


def inputs(batch=3):
    return torch.randn(
        7, batch, 5, dtype=torch.float64, requires_grad=True, generator=torch.manual_seed(1)
    )


@pytest.fixture
def places(monkeypatch):
    """Of every time loop backward: whether δ took the gates' place."""
    found = []
    own = passes.backward_steps

    def watched(*arguments):
        (addresses,) = arguments[4]
        found.append(addresses["gates"] == addresses["delta"])
        return own(*arguments)

    monkeypatch.setattr(passes, "backward_steps", watched)
    return found


def total(result):
    y, final = result
    return sum((t * t).sum() for t in (y, *(final if isinstance(final, tuple) else (final,))))


def gradients(loss, module, x, **keywords):
    return torch.autograd.grad(loss, [x, *module.parameters()], **keywords)


@GATED
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_in_the_gates_place_are_those_beside_them(
    cell, batch, count, places, monkeypatch
):
    module, x = net(cell), inputs(batch)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    monkeypatch.setattr(threads, "WORTH_IT", 0.1 if batch > 1 else float("inf"))
    monkeypatch.setattr(threads, "TEAM_WORTH", 0.1)
    try:
        loss = total(module(x))
        beside = gradients(loss, module, x, retain_graph=True)
        assert places
        assert not any(places)
        places.clear()
        again = gradients(loss, module, x, retain_graph=True)
        assert not any(places)
        places.clear()
        inside = gradients(loss, module, x)
        assert places
        assert all(places)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, beside, inside))
    assert all(map(torch.equal, beside, again))


@GATED
def test_a_graph_is_spent_once(cell):
    module, x = net(cell), inputs()
    loss = total(module(x))
    gradients(loss, module, x)
    with pytest.raises(RuntimeError, match="second time"):
        gradients(loss, module, x)


@GATED
def test_after_an_interrupted_pass_another_says_what_is_lost(cell, monkeypatch):
    """The gates are gone, and torch knows that what was saved has been used."""
    module, x = net(cell, num_layers=1, bidirectional=False), inputs()
    loss = total(module(x))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes, "backward_products", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gradients(loss, module, x)
    with pytest.raises(RuntimeError, match="second time"):
        gradients(loss, module, x)


@GATED
def test_second_derivatives_and_the_transforms_keep_the_gates(cell, places):
    module, x = net(cell, num_layers=1, bidirectional=False), inputs()
    first = gradients(total(module(x)), module, x, create_graph=True)
    assert not any(places)
    (second,) = torch.autograd.grad(sum((g * g).sum() for g in first), x)
    assert second.abs().sum() > 0
    places.clear()
    loss = total(module(x))
    many = torch.eye(2, dtype=torch.float64)[:, :1].squeeze(1)
    (batched,) = torch.autograd.grad(loss, x, many, is_grads_batched=True)
    assert places == [False, False]
    assert torch.equal(batched[1], torch.zeros_like(x))


@GATED
def test_checkpointed_parts_are_those_of_a_whole(cell):
    module, x = net(cell, num_layers=1, bidirectional=False), inputs()
    whole = gradients(total(module(x)), module, x)
    wanted = torch.autograd.grad(module(x)[0].pow(2).sum(), x)[0]
    for reentrant in (False, True):
        x.grad = None
        checkpoint(lambda own: module(own)[0], x, use_reentrant=reentrant).pow(2).sum().backward()
        assert torch.equal(x.grad, wanted)
    y = checkpoint(lambda own: total(module(own)), x, use_reentrant=False)
    assert all(map(torch.equal, whole, gradients(y, module, x)))


def test_a_projection_needs_its_gates_afterwards(places):
    module, x = net("LSTM", proj_size=7), inputs()
    loss = total(module(x))
    first = gradients(loss, module, x, retain_graph=True)
    assert all(map(torch.equal, first, gradients(loss, module, x)))
    assert not any(places)
