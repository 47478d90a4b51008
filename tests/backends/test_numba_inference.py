"""A module's later inference by one thread goes from addresses alone, to the long way's bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnbench
from rnnbench.backends.numba import inference, plan, threads
from rnnbench.backends.numba.memory import HUGE, empty
from rnnbench.bptt.recurrence import Layout
from rnnbench.errors import InputError
from rnnbench.spec import Spec

NETS = {
    "plain": {},
    "deep": {"num_layers": 3},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False, "bidirectional": True},
    "batch first": {"batch_first": True},
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Outputs of the calls that took the shorter way."""
    outputs: list[Tensor] = []
    own = inference.Inference.__call__

    def watched(*arguments: Any) -> Any:
        found = own(*arguments)
        outputs.append(found[0])
        return found

    monkeypatch.setattr(inference.Inference, "__call__", watched)
    return outputs


def module(cell: str, sizes: tuple[int, int] = (5, 19), **keywords: Any) -> Any:
    torch.manual_seed(0)
    return getattr(rnnbench, cell)(*sizes, backend="numba", **keywords)


def parts(result: Any) -> list[Tensor]:
    """Output and every part of the state."""
    y, final = result
    return [y, *(final if isinstance(final, tuple) else (final,))]


@torch.no_grad()
def long_and_short(net: Any, x: Tensor, hx: Any = None) -> tuple[list[Tensor], list[Tensor]]:
    vars(net).pop("_memory", None)
    net(x, hx)
    found = parts(net(x, hx))
    vars(net).pop("_memory", None)
    return parts(net(x, hx)), found


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("given", [False, True])
def test_the_shorter_way_gives_the_long_ways_bits(cell, dtype, net, given, short):
    own = module(cell, dtype=dtype, **NETS[net])
    x = torch.randn(4, 3, 5, dtype=dtype)
    with torch.no_grad():
        final = own(x)[1]
    hx = None
    if given:
        random = [torch.randn_like(p) for p in (final if cell == "LSTM" else (final,))]
        hx = tuple(random) if cell == "LSTM" else random[0]
    want, got = long_and_short(own, x, hx)
    assert len(short) == 1
    assert all(map(torch.equal, want, got))


@pytest.mark.parametrize("keywords", [{}, {"num_layers": 2, "bidirectional": True}])
def test_a_projection_goes_the_shorter_way(keywords, short):
    want, got = long_and_short(module("LSTM", proj_size=7, **keywords), torch.randn(6, 2, 5))
    assert short
    assert all(map(torch.equal, want, got))


def test_relu_goes_the_shorter_way(short):
    want, got = long_and_short(module("RNN", nonlinearity="relu"), torch.randn(6, 2, 5))
    assert short
    assert all(map(torch.equal, want, got))


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_inputs_are_projected_in_chunks_as_on_the_long_way(cell, short):
    """Layers of different inputs share one memory, of which each needs another part."""
    net = module(cell, (3, 150), num_layers=2, bidirectional=True)
    want, got = long_and_short(net, torch.randn(400, 4, 3))
    assert short
    assert all(map(torch.equal, want, got))


def test_an_output_in_huge_pages_may_be_changed_in_place(short):
    net = module("RNN", (2, 64))
    x = torch.randn(HUGE // (64 * 4) // 4, 4, 2)
    want, got = long_and_short(net, x)
    assert short[0].numel() * 4 >= HUGE
    assert torch.equal(want[0], got[0])
    assert not got[0]._is_view()
    got[0].requires_grad_().mul(2).sum().backward()


def test_every_call_returns_memory_of_its_own(short):
    net, x = module("LSTM"), torch.randn(4, 3, 5)
    with torch.no_grad():
        net(x)
        first, second = parts(net(x)), parts(net(2 * x))
    assert len({part.data_ptr() for part in (*first, *second)}) == 6
    assert not torch.equal(first[0], second[0])
    assert len(short) == 2


def test_training_and_several_threads_take_the_long_way(monkeypatch, short):
    net, x = module("GRU"), torch.randn(4, 3, 5)
    for _ in range(2):
        net(x)
    monkeypatch.setattr(threads, "WORTH_IT", 0.1)
    torch.set_num_threads(2)
    with torch.no_grad():
        for _ in range(2):
            net(x)
    assert not short


def test_a_frozen_module_takes_the_shorter_way_with_gradients_on(short):
    net = module("GRU").requires_grad_(False)
    for _ in range(2):
        net(torch.randn(4, 3, 5))
    assert len(short) == 1


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0"])
def test_a_weight_whose_memory_is_gone_is_refused_in_a_sentence(name, short):
    net, x = module("GRU"), torch.randn(4, 3, 5)
    with torch.no_grad():
        for _ in range(2):
            net(x)
        assert len(short) == 1
        getattr(net, name).untyped_storage().resize_(0)
        with pytest.raises(InputError, match="has no memory behind it"):
            net(x)


def test_a_negated_state_is_what_it_says():
    """A view whose memory holds the opposite numbers."""
    net, x = module("RNN"), torch.randn(4, 3, 5)
    h0 = torch._neg_view(torch.randn(1, 3, 19))
    assert h0.is_neg()
    assert h0.is_contiguous()
    with torch.no_grad():
        net(x, h0)
        got, want = net(x, h0)[0], net(x, h0.resolve_neg())[0]
    assert torch.equal(got, want)


def test_under_a_transform_nobody_takes_the_shorter_way(short):
    net, x = module("GRU"), torch.randn(4, 3, 5)
    scales = torch.tensor([1.0, 2.0])
    with torch.no_grad():
        y = net(x)[0]
        assert torch.equal(net(x)[0], y)
        short.clear()
        mapped = torch.func.vmap(lambda scale: net(x * scale)[0])(scales)
        beside = torch.func.vmap(lambda scale: scale * net(x)[0])(scales)
    torch.testing.assert_close(mapped[0], y)
    torch.testing.assert_close(beside, torch.stack([y, 2 * y]))
    assert not short


@pytest.mark.parametrize("sizes", [(300, 20), (3, 20)])
def test_all_layers_keep_to_the_memory_that_they_share(sizes, short, monkeypatch):
    rooms = []

    def guarded(like: Tensor, *shape: int) -> Tensor:
        if len(shape) > 1:
            return empty(like, *shape)
        rooms.append(empty(like, shape[0] + 64))
        rooms[-1][-64:] = 7
        return rooms[-1]

    net = module("LSTM", sizes, num_layers=2, bidirectional=True)
    monkeypatch.setattr(inference, "empty", guarded)
    want, got = long_and_short(net, torch.randn(9, 2, sizes[0]))
    assert len(short) == len(rooms) == 1
    assert (rooms[0][-64:] == 7).all()
    assert all(map(torch.equal, want, got))


@pytest.mark.parametrize(
    ("spec", "T", "B", "steps"),
    [
        (Spec("lstm", 256, 256), 128, 1, 128),  # W_ih is 1 MiB, a step's gates 4 KiB
        (Spec("lstm", 256, 256), 600, 1, 200),
        (Spec("lstm", 256, 256), 128, 16, 3),  # a quarter of W_ih
        (Spec("lstm", 256, 256), 4, 16, 2),
        (Spec("rnn_tanh", 16, 16), 128, 1, 128),
        (Spec("rnn_tanh", 16, 16), 128, 10**6, 1),
    ],
    ids=str,
)
def test_chunks_are_as_equal_as_can_be(spec, T, B, steps):
    assert plan.chunk_steps(plan.Plan.of(spec, spec.input_size), Layout([B] * T)) == steps
