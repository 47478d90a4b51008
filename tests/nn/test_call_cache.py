"""A module's second call takes the short way and gives what the long way does, whatever changed."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import rnnbench
from rnnbench.nn import call_cache

CELLS = ("RNN", "GRU", "LSTM")
T, B, I, H = 5, 3, 4, 6  # noqa: E741

every_cell = pytest.mark.parametrize("cell", CELLS)


def module(cell: str, **keywords: Any) -> Any:
    torch.manual_seed(0)
    return getattr(rnnbench, cell)(I, H, **({"backend": "numba"} | keywords))


def flat(result: Any) -> list[Tensor]:
    """All tensors of a module's result."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [tensor for part in result for tensor in flat(part)]


def as_native(own: Any, x: Any, hx: Any = None) -> list[Tensor]:
    """What torch's own module makes of the same weights and arguments."""
    other = own._torch_class(
        own.input_size, own.hidden_size, own.num_layers, bidirectional=own.bidirectional,
        batch_first=own.batch_first,
    )  # fmt: skip
    other.to(own.weight_ih_l0.dtype)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            weight.copy_(getattr(own, name))
        return flat(other(x, hx))


def assert_same(got: list[Tensor], want: list[Tensor]) -> None:
    for one, other in zip(got, want, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a module went the short way."""
    ways: list[bool] = []
    own = call_cache.Memory.call

    def watched(*arguments: Any) -> Any:
        found = own(*arguments)
        ways.append(found is not None)
        return found

    monkeypatch.setattr(call_cache.Memory, "call", watched)
    return ways


def state(cell: str, depth: int = 1, **keywords: Any) -> Any:
    parts = [torch.randn(depth, B, H, **keywords) for _ in range(2)]
    return tuple(parts) if cell == "LSTM" else parts[0]


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Tensor]]:
    """Return a function that calls a module with the short way closed."""

    def call(net: Any, *arguments: Any) -> list[Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(call_cache.Memory, "call", lambda *_: None)
            return flat(net(*arguments))

    return call


@every_cell
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("depth", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_second_call_is_short_and_right(cell, batch_first, given, depth, mode, taken, long_way):
    net = module(cell, batch_first=batch_first, **depth)
    hx = state(cell, 4 if depth else 1) if given else None
    with mode():
        for _ in range(3):
            x = torch.randn(*((B, T) if batch_first else (T, B)), I)
            got = flat(net(x, hx))
            assert_same(got, as_native(net, x.clone(), hx))
            assert all(map(torch.equal, got, long_way(net, x, hx)))
    assert taken == [False, True, True]


@every_cell
def test_gradients_of_the_short_way_are_those_of_the_long(cell, taken):
    net = module(cell, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, I, requires_grad=True)
    hx = state(cell, 4, requires_grad=True)
    sources = [x, *flat(hx), *net.parameters()]
    found = []
    for _ in range(2):
        results = flat(net(x, hx))
        total = sum((result * result).sum() for result in results)
        found.append(torch.autograd.grad(total, sources))
    assert taken == [False, True]
    assert all(map(torch.equal, *found))


def in_double(net, x, hx):
    return net.double(), x.double(), hx


def other_weights(net, x, hx):
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)
    return net, x, hx


def weights_behind_autograds_back(net, x, hx):
    net.weight_hh_l0.data[:] = 0.25
    return net, x, hx


def another_parameter(net, x, hx):
    net.weight_hh_l0 = torch.nn.Parameter(torch.randn_like(net.weight_hh_l0))
    return net, x, hx


def parametrised(net, x, hx):
    torch.nn.utils.parametrizations.weight_norm(net, "weight_hh_l0")
    return net, x, hx


def called_with_other_weights_between(net, x, hx):
    """Which torch's own list of the weights remembers until the next forward."""
    others = {name: torch.randn_like(weight) for name, weight in net.named_parameters()}
    torch.func.functional_call(net, others, (x,))
    return net, x, hx


def weights_transposed_in_memory(net, x, hx):
    net.weight_hh_l0.data = net.weight_hh_l0.data.T.contiguous().T
    return net, x, hx


def longer(net, x, hx):
    return net, torch.cat([x, x]), hx


def larger_batch(net, x, hx):
    return net, torch.cat([x, x], dim=1), hx


def strided(net, x, hx):
    return net, x.transpose(0, 1).contiguous().transpose(0, 1), hx


def negated(net, x, hx):
    return net, torch._neg_view(x), hx


def batch_first(net, x, hx):
    net.batch_first = True
    return net, x.transpose(0, 1), hx


def batch_first_of_equal_sizes(net, x, hx):
    net.batch_first = True
    return net, x, hx


def unbatched(net, x, hx):
    return net, x[:, 0], hx


def packed(net, x, hx):
    return net, pack_padded_sequence(x, [T, 2, 1]), hx


def other_backend(net, x, hx):
    net.backend = "manual"
    return net, x, hx


CHANGES: list[Callable[..., Any]] = [
    in_double, other_weights, weights_behind_autograds_back, another_parameter,
    weights_transposed_in_memory, longer, larger_batch, strided, negated, batch_first,
    batch_first_of_equal_sizes, unbatched, packed, other_backend,
    parametrised, called_with_other_weights_between,
]  # fmt: skip


@every_cell
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_calls_is_seen(cell, change, long_way):
    net = module(cell)
    with torch.no_grad():
        x = torch.randn(T, T if change is batch_first_of_equal_sizes else B, I)
        for _ in range(2):
            net(x)
        net, x, hx = change(net, x, None)
        for _ in range(2):
            got = flat(net(x, hx))
            assert_same(got, as_native(net, x, hx))
            assert all(map(torch.equal, got, long_way(net, x, hx)))


@every_cell
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda x: x[..., :2], "input_size|size"),
        (lambda x: x.double(), "dtype"),
        (lambda x: x[:0], "larger than 0"),
        (lambda x: x[None], "2-D or 3-D|2D or 3D"),
    ],
)
def test_errors_after_a_good_call_are_torchs(cell, spoil, sentence):
    net = module(cell)
    x = torch.randn(T, B, I)
    with torch.no_grad():
        net(x)
        net(x)
        with pytest.raises((RuntimeError, ValueError), match=sentence):
            net(spoil(x))


def test_a_tensor_whose_memory_is_gone_is_refused_the_second_time_too():
    net, x = module("GRU"), torch.randn(T, B, I)
    with torch.no_grad():
        net(x)
        net(x)
        x.untyped_storage().resize_(0)
        with pytest.raises(ValueError, match="no memory"):
            net(x)


@every_cell
@pytest.mark.parametrize("called_before", [False, True])
def test_functional_calls_take_the_weights_that_they_are_given(cell, called_before):
    net, x = module(cell), torch.randn(T, B, I)
    others = {name: torch.randn_like(weight) for name, weight in net.named_parameters()}
    other = module(cell)
    other.load_state_dict(others)
    with torch.no_grad():
        for _ in range(2 * called_before):
            net(x)
        for _ in range(2):
            assert_same(flat(torch.func.functional_call(net, others, (x,))), as_native(other, x))
            assert_same(flat(net(x)), as_native(net, x))


class SeesFunctions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class SeesOperators(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [SeesFunctions, SeesOperators])
def test_under_a_mode_of_torch_the_call_goes_the_long_way(mode, taken):
    net, x = module("LSTM"), torch.randn(T, B, I)
    with torch.no_grad():
        want = flat(net(x))
        with mode():
            got = flat(net(x))
    assert taken == [False, False]
    assert all(map(torch.equal, got, want))


def test_autocast_between_calls_is_seen(taken):
    net, x = module("GRU"), torch.randn(T, B, I)
    with torch.no_grad():
        net(x)
        with torch.autocast("cpu", torch.bfloat16):
            net(x)
        net(x)
    assert taken == [False, False, True]


def test_vmap_and_grad_after_plain_calls_are_right():
    net = module("GRU")
    xs = torch.randn(2, T, B, I)
    with torch.no_grad():
        want = torch.stack([net(x)[0] for x in xs])
        net(xs[0])
        torch.testing.assert_close(torch.func.vmap(lambda x: net(x)[0])(xs), want)
    net(xs[0])
    gradient = torch.func.grad(lambda x: net(x)[0].square().sum())(xs[0])
    x = xs[0].clone().requires_grad_()
    net(x)[0].square().sum().backward()
    torch.testing.assert_close(gradient, x.grad)


def test_a_frozen_weight_gets_no_gradient_and_a_thawed_one_does():
    net, x = module("GRU"), torch.randn(T, B, I)
    net(x)
    net.weight_ih_l0.requires_grad_(False)
    net(x)[0].sum().backward()
    assert net.weight_ih_l0.grad is None
    assert net.weight_hh_l0.grad is not None
    net.weight_ih_l0.requires_grad_(True)
    net(x)[0].sum().backward()
    assert net.weight_ih_l0.grad is not None


def test_dropout_is_drawn_anew_in_every_call(taken):
    net, x = module("GRU", num_layers=2, dropout=0.5), torch.randn(T, B, I)
    first, second = net(x)[0], net(x)[0]
    assert not torch.equal(first, second)
    net.eval()
    assert torch.equal(net(x)[0], net(x)[0])
    assert taken == [False, False, False, True]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, "pickle", "torch.save"])
def test_copies_and_pickles_of_a_module_that_was_called(way):
    net, x = module("LSTM"), torch.randn(T, B, I)
    with torch.no_grad():
        net(x)
        want = flat(net(x))
        if way == "pickle":
            other = pickle.loads(pickle.dumps(net))
        elif way == "torch.save":
            stream = io.BytesIO()
            torch.save(net, stream)
            stream.seek(0)
            other = torch.load(stream, weights_only=False)
        else:
            other = way(net)
        for _ in range(2):
            assert all(map(torch.equal, flat(other(x)), want))


def test_a_subclass_that_overrides_a_part_of_torchs_forward_keeps_it():
    class Own(rnnbench.GRU):
        def permute_hidden(self, hx, permutation):
            return hx + 1

    torch.manual_seed(0)
    net, x = Own(I, H, backend="numba"), torch.randn(T, B, I)
    with torch.no_grad():
        assert torch.equal(net(x)[1], net(x)[1])
        plain = module("GRU")
        plain.load_state_dict(net.state_dict())
        assert torch.equal(net(x)[1], plain(x)[1] + 1)


def test_hooks_run_in_every_call():
    net, x = module("GRU"), torch.randn(T, B, I)
    seen = []
    net.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(3):
        net(x)
    assert len(seen) == 3


def test_the_memory_of_calls_is_bounded():
    net = module("GRU")
    with torch.no_grad():
        for length in range(1, 3 * call_cache.MOST):
            net(torch.randn(length, B, I))
    assert len(net._memory.calls) <= call_cache.MOST


def test_results_of_the_short_way_may_be_changed_in_place():
    net, x = module("LSTM"), torch.randn(T, B, I)
    for _ in range(2):
        y, (h, c) = net(x)
        y.detach_(), h.detach_(), c.detach_()
        y, (h, c) = net(x)
        y.mul_(2), h.mul_(2), c.mul_(2)
        (y.sum() + h.sum() + c.sum()).backward()


@pytest.mark.parametrize("threads", [1, 2])
def test_auto_chooses_anew_where_the_threads_change(threads):
    before = torch.get_num_threads()
    net, x = module("GRU", backend="auto"), torch.randn(64, 1, I)
    try:
        with torch.no_grad():
            want = flat(net(x))
            torch.set_num_threads(threads)
            for _ in range(2):
                assert_same(flat(net(x)), want)
    finally:
        torch.set_num_threads(before)
