"""A model under torch.compile: as many graphs as with torch.nn's module, and ours runs in between.

torch ends a graph at every module that is an RNN, GRU or LSTM (`torch._dynamo.variables.builder`),
so one graph cannot be had; with its experimental setting ``allow_rnn`` it takes ours for torch's.
"""

from __future__ import annotations

import pytest
import torch
from torch import _dynamo, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

import rnnbench
from rnnbench import Spec
from rnnbench.bptt import torch_private

BACKENDS = ("auto", *(name for name in rnnbench.backends() if name != "onnxruntime"))
KINDS = ("RNN", "GRU", "LSTM")


class Tagger(nn.Module):
    """An embedding of reals, a network, and a head: what torch can compile on both sides."""

    def __init__(self, net: nn.RNNBase) -> None:
        super().__init__()
        self.before, self.net, self.after = nn.Linear(5, 6), net, nn.Linear(8, 3)

    def forward(self, x):
        rows = self.before(x).sin()
        y, _ = self.net(rows)
        return self.after(y).cos()


@pytest.fixture(autouse=True)
def fresh():
    _dynamo.reset()
    _dynamo.utils.counters.clear()
    yield
    _dynamo.reset()


def compiled(model, **options):
    return torch.compile(model, backend="aot_eager", **options)


def graphs():
    return _dynamo.utils.counters["stats"]["unique_graphs"]


def gradients(model, x):
    model.zero_grad()
    y = model(x)
    y.sum().backward()
    return [y.detach(), *(p.grad.clone() for p in model.parameters())]


OWN = {"compile": 2}
"""Graphs that a backend compiles for itself."""


@pytest.mark.parametrize(
    ("kind", "backend"),
    [(k, b) for b in BACKENDS for k in (KINDS if b == "numba" else ("GRU",))],
)
def test_it_has_the_graphs_of_torchs_and_the_numbers_of_its_own(kind, backend):
    lengths = (5, 5, 7)
    theirs = compiled(Tagger(getattr(nn, kind)(6, 8)))
    for T in lengths:
        gradients(theirs, torch.randn(T, 2, 5))
    expected = graphs()
    fresh_model = Tagger(getattr(rnnbench, kind)(6, 8, backend=backend))
    _dynamo.reset()
    _dynamo.utils.counters.clear()
    ours = compiled(fresh_model)
    for T in lengths:
        x = torch.randn(T, 2, 5)
        for found, right in zip(gradients(ours, x), gradients(fresh_model, x), strict=True):
            assert_close(found, right)
    assert 0 < graphs() <= expected + OWN.get(backend, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_that_calls_run_has_a_graph_before_and_after_it(backend):
    spec = Spec("gru", 5, 8)
    weights = [torch.randn(p.shape) for p in spec.parameters]

    def function(x):
        return rnnbench.run(backend, spec, x.sin(), None, weights)[0].cos()

    if backend == "auto":
        pytest.skip("run takes the name of a backend")
    x = torch.randn(4, 2, 5)
    assert_close(compiled(function)(x), function(x))
    assert graphs() > 0


@pytest.mark.parametrize("backend", ["numba", "manual"])
def test_the_module_itself_and_its_method_can_be_compiled(backend):
    net, x = rnnbench.LSTM(5, 8, backend=backend), torch.randn(4, 2, 5)
    right = net(x)[0]
    assert_close(compiled(net)(x)[0], right)
    net.compile(backend="aot_eager")
    assert_close(net(x)[0], right)


def test_packed_sequences_in_a_compiled_model():
    net = rnnbench.GRU(6, 8, backend="numba", batch_first=True)

    def model(x, lengths):
        packed = pack_padded_sequence(x.sin(), lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(net(packed)[0], batch_first=True)[0].cos()

    x, lengths = torch.randn(3, 5, 6), torch.tensor([2, 5, 3])
    assert_close(compiled(model)(x, lengths), model(x, lengths))


@pytest.mark.parametrize("backend", ["numba", "manual", "auto"])
def test_where_torch_looks_into_an_rnn_ours_is_torchs(backend):
    """One graph, by torch's experimental setting."""
    model = Tagger(rnnbench.GRU(6, 8, backend=backend))
    x = torch.randn(3, 2, 5)
    with _dynamo.config.patch(allow_rnn=True):
        found = gradients(compiled(model, fullgraph=True), x)
    for one, right in zip(found, gradients(model, x), strict=True):
        assert_close(one, right)
    assert graphs() == 1


def test_planted_a_module_that_torch_looks_into_fails_or_is_many_graphs():
    """Without the mark torch's compiler follows the calls into our kernels."""
    forward, frames = rnnbench.nn.modules._Backed.forward, torch_private._frames
    default = frames._FrameAction.DEFAULT
    frames.set_code_exec_strategy(forward.__code__, frames._FrameExecStrategy(default, default))
    model = compiled(Tagger(rnnbench.GRU(6, 8, backend="numba")))
    try:
        model(torch.randn(3, 2, 5))
    except Exception:  # noqa: BLE001 (torch's own, version by version)
        return
    finally:
        torch_private.uncompiled(forward, inlined=True)
    assert graphs() > 2
