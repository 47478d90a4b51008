"""What leaves the process leaves as torch's: traced and exported programs are those of torch.nn."""

from __future__ import annotations

import io
import warnings

import onnxruntime
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.testing import assert_close

import rnnbench
from rnnbench.bptt import torch_private

BACKENDS = ("auto", *rnnbench.backends())
KINDS = ("RNN", "GRU", "LSTM")


def pair(kind, backend, **options):
    """Return a module of ours and torch's with the same weights, two layers."""
    ours = getattr(rnnbench, kind)(6, 8, 2, backend=backend, **options)
    theirs = getattr(torch.nn, kind)(6, 8, 2, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


def flat(found):
    y, state = found
    return [y, *(state if isinstance(state, tuple) else (state,))]


def kinds(found):
    """Return type and shape of each tensor of a result, of a packed one's rows too."""
    parts = [part.data if isinstance(part, PackedSequence) else part for part in flat(found)]
    return [(type(part), part.shape) for part in parts]


@pytest.fixture(params=BACKENDS)
def on(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_records_the_network_and_no_empty_memory(kind, mode, on):
    """Traced with one input, called with another: the numbers are the network's."""
    ours, theirs = pair(kind, on)
    example, x = torch.randn(5, 3, 6), torch.randn(5, 3, 6)
    with torch.no_grad():
        traced = make_fx(
            lambda given: ours(given)[0], tracing_mode=mode, _allow_non_fake_inputs=True
        )(example)
        assert_close(traced(x), theirs(x)[0], rtol=0, atol=0)


def test_make_fx_of_gradients_records_them(on):
    ours, theirs = pair("GRU", on)

    def gradient(net):
        return lambda given: torch.autograd.grad(net(given)[0].sum(), net.weight_hh_l0)[0]

    x = torch.randn(5, 3, 6)
    traced = make_fx(gradient(ours))(torch.randn(5, 3, 6))
    assert_close(traced(x), gradient(theirs)(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_jit_trace_gives_torchs_program_for_other_lengths(kind, on):
    ours, theirs = pair(kind, on, bidirectional=True)
    traced = torch.jit.trace(ours, torch.randn(5, 3, 6))
    x = torch.randn(9, 3, 6)
    with torch.no_grad():
        for found, expected in zip(flat(traced(x)), flat(theirs(x)), strict=True):
            assert_close(found, expected)


@pytest.mark.parametrize("strict", [False, True])
def test_export_gives_torchs_program_with_a_dynamic_batch(strict, on):
    ours, theirs = pair("GRU", on)
    batch = {1: torch.export.Dim("batch", min=2, max=64)}
    program = torch.export.export(
        ours, (torch.randn(5, 3, 6),), dynamic_shapes=(batch,), strict=strict
    )
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("rnnbench" in name for name in names)
    x = torch.randn(5, 7, 6)
    assert_close(program.module()(x)[0], theirs(x)[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_the_older_onnx_export_runs_in_onnx_runtime(kind, on):
    ours, theirs = pair(kind, on)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(ours, (torch.randn(5, 3, 6),), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue())
    x = torch.randn(5, 3, 6)
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        assert_close(torch.from_numpy(found[0]), theirs(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fake_tensors_have_the_shapes_of_torchs(kind, on):
    ours, theirs = pair(kind, on)
    x = torch.randn(5, 3, 6)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found = flat(ours(mode.from_tensor(x)))
    assert [tuple(part.shape) for part in found] == [tuple(part.shape) for part in flat(theirs(x))]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_tensor_is_torchs_after_its_mode_has_ended(kind, packed, on):
    ours, theirs = pair(kind, on)
    x = torch.randn(5, 3, 6)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad():
        ours(x)  # which remembers a call of this shape
        fake = mode.from_tensor(x)
        if packed:
            rows = pack_padded_sequence(x, [5, 4, 2])
            fake = rows._replace(data=mode.from_tensor(rows.data))
        found, expected = ours(fake), theirs(fake)
    assert kinds(found) == kinds(expected)


def test_fx_records_one_node_as_it_does_for_torchs(on):
    ours, theirs = pair("GRU", on)
    graphs = [torch.fx.symbolic_trace(torch.nn.Sequential(net)) for net in (ours, theirs)]
    first, second = ([(n.op, n.target, len(n.args)) for n in g.graph.nodes] for g in graphs)
    assert first == second
    x = torch.randn(5, 3, 6)
    with torch.no_grad():
        assert_close(graphs[0](x)[0], ours(x)[0])
    assert type(graphs[0].get_submodule("0")) is rnnbench.GRU


def test_fx_refuses_a_module_that_is_the_whole_of_what_is_traced(on):
    for net in pair("GRU", on):
        with pytest.raises(torch.fx.proxy.TraceError):
            torch.fx.symbolic_trace(net)


def test_nothing_is_traced_in_a_usual_call_or_under_a_mode_that_only_looks_on():
    class Looking(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    x = torch.zeros(5, 3, 6)
    assert not torch_private.is_traced(x)
    with Looking():
        assert not torch_private.is_traced(x)
    with FakeTensorMode():
        assert torch_private.is_traced(x)
