"""Programs that use torch.func keep working: gradients and maps of ours equal torch's."""

from __future__ import annotations

import pytest
import torch
from contract.modules import assert_same, make
from support import sizes
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap
from torch.nn.utils.rnn import pack_sequence

import rnnbench

REFUSING = ("jax",)
"""Backends that refuse these transforms: `test_a_backend_that_cannot_says_so`."""


@pytest.fixture(autouse=True)
def can_be_transformed(request, backend):
    if (
        backend in REFUSING
        and "refus" not in request.node.name
        and "says_so" not in request.node.name
    ):
        pytest.skip(f"{backend} refuses torch.func, which another test shows")


X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))


def loss_of(module):
    def loss(parameters, x):
        y, state = functional_call(module, parameters, (x,))
        return y.square().sum() + sum(part.sum() for part in state)

    return loss


def leaves(module):
    return {name: p.detach() for name, p in module.named_parameters()}


def test_grad_of_every_weight(pair):
    theirs, ours = pair(3, 4, num_layers=2, bidirectional=True)
    found = [grad(loss_of(module))(leaves(module), X) for module in (theirs, ours)]
    for name, expected in found[0].items():
        assert_same(found[1][name], expected, factor=10)


def test_vjp_of_the_input(pair):
    found = [vjp(lambda x, m=m: m(x)[0], X) for m in pair(3, 4)]
    (y, pull), (y_ours, pull_ours) = found
    assert_same(y_ours, y)
    assert_same(pull_ours(torch.ones_like(y)), pull(torch.ones_like(y)), factor=10)


def test_jacrev_of_the_input(pair):
    theirs, ours = pair(3, 4, dtype=torch.float64)
    x = X.double()[:2]
    assert_same(jacrev(lambda x: ours(x)[0])(x), jacrev(lambda x: theirs(x)[0])(x), factor=10)


def test_vmap_is_one_call_after_the_other(pair, backend):
    if backend == "native":
        pytest.skip("torch has no batching rule for its own kernels")
    _, ours = pair(3, 4)
    many = torch.stack([X, -X, 2 * X])
    mapped = vmap(lambda x: ours(x)[0])(many)
    assert torch.equal(mapped, torch.stack([ours(x)[0] for x in many]))


def test_gradients_per_sample(pair, backend):
    if backend == "native":
        pytest.skip("torch has no batching rule for its own kernels")
    _, ours = pair(3, 4)
    parameters, many = leaves(ours), torch.stack([X, -X])
    mapped = vmap(grad(loss_of(ours)), in_dims=(None, 0))(parameters, many)
    for k, x in enumerate(many):
        for name, expected in grad(loss_of(ours))(parameters, x).items():
            assert_same(mapped[name][k], expected)


def test_second_derivatives(pair):
    def twice(module):
        first = grad(lambda x: module(x)[0].square().sum())
        return grad(lambda x: first(x).square().sum())(X.double())

    theirs, ours = (twice(module) for module in pair(3, 4, num_layers=2, dtype=torch.float64))
    assert_same(ours, theirs, factor=100)


def test_second_derivatives_of_packed_sequences_are_refused_as_in_torch(backend, kind):
    hidden, _ = sizes(backend, 4)
    module = make(rnnbench, kind, 3, hidden, backend=backend, dtype=torch.float64)
    packed = pack_sequence([X.double()[:, 0], X.double()[:3, 1]])

    def loss(data):
        return module(packed._replace(data=data))[0].data.square().sum()

    with pytest.raises(RuntimeError):
        grad(lambda data: grad(loss)(data).square().sum())(packed.data)


def test_a_backend_that_cannot_says_so(pair, backend):
    if backend not in REFUSING:
        pytest.skip("goes through torch.func")
    _, ours = pair(3, 4)
    with pytest.raises(NotImplementedError, match=r"torch\.func"):
        grad(loss_of(ours))(leaves(ours), X)
    x = X.clone().requires_grad_()
    y, _ = ours(x)
    upstream = torch.stack([torch.ones_like(y), y.detach()])
    with pytest.raises(NotImplementedError, match="batched upstream"):
        torch.autograd.grad(y, x, upstream, is_grads_batched=True, retain_graph=True)
    with pytest.raises(NotImplementedError, match="batched upstream"):
        vmap(lambda up: torch.autograd.grad(y, x, up, retain_graph=True)[0])(upstream)


def test_forward_mode_is_refused_or_right(pair, backend):
    theirs, ours = pair(3, 4)
    if backend == "native":
        for module in (theirs, ours):
            module.double()
        x = X.double()
        found = [jvp(lambda x, m=m: m(x)[0], (x,), (x,))[1] for m in (theirs, ours)]
        assert_same(found[1], found[0])
        return
    with pytest.raises(NotImplementedError, match="forward-mode"):
        jvp(lambda x: ours(x)[0], (X,), (X,))


def test_forward_over_reverse_is_refused(pair, backend):
    if backend == "native":
        pytest.skip("torch's own has it")
    _, ours = pair(3, 4)
    first = grad(lambda x: ours(x)[0].square().sum())
    with pytest.raises(NotImplementedError, match=r"forward-mode|torch\.func"):
        jvp(first, (X,), (X,))


@pytest.mark.parametrize("result", ["output", "state", "both"])
def test_batched_upstream_gradients_of_the_old_vmap(pair, result):
    found = []
    for module in pair(3, 4, num_layers=2):
        x = X.clone().requires_grad_()
        y, state = module(x)
        h_n = state[0] if isinstance(state, tuple) else state
        outputs = {"output": [y], "state": [h_n], "both": [y, h_n]}[result]
        upstream = [torch.stack([torch.ones_like(o), -o.detach()]) for o in outputs]
        sources = [x, *module.parameters()]
        found.append(torch.autograd.grad(outputs, sources, upstream, is_grads_batched=True))
    for ours, theirs in zip(*found[::-1], strict=True):
        assert_same(ours, theirs, factor=10)


def test_vectorised_jacobian(pair):
    theirs, ours = pair(3, 4)
    found = [
        torch.autograd.functional.jacobian(lambda x, m=m: m(x)[0], X[:2], vectorize=True)
        for m in (theirs, ours)
    ]
    assert_same(found[1], found[0], factor=10)


def test_vmap_over_upstream_gradients_of_an_ordinary_graph(pair, backend):
    """`torch.vmap` of `torch.autograd.grad`: the graph was made outside of the transform."""
    theirs, ours = pair(3, 4)
    found = []
    for module in (theirs, ours):
        x = X.clone().requires_grad_()
        y = module(x)[0]
        upstream = torch.stack([torch.ones_like(y), y.detach()])
        pull = vmap(lambda up, y=y, x=x: torch.autograd.grad(y, x, up, retain_graph=True)[0])
        found.append(pull(upstream))
    assert_same(found[1], found[0], factor=10)
