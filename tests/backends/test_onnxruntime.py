"""What is particular to ONNX Runtime; parity over all options is tested for all backends."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
import torch

import rnnbench
from rnnbench import Spec, UnsupportedError, interface

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from rnnbench.backends import onnxruntime as peer

SPEC = Spec("gru", 3, 4, layers=2, directions=2)


def tensors(spec=SPEC, T=5, B=2):
    torch.manual_seed(0)
    x = torch.randn(T, B, spec.input_size)
    state = tuple(torch.randn(shape) for shape in spec.state_shapes(B).values())
    return x, state, tuple(torch.randn(p.shape) for p in spec.parameters)


@pytest.fixture
def built(monkeypatch):
    """The sessions built from here on, each as the arguments of its building."""
    calls = []
    own = peer._session
    monkeypatch.setattr(peer, "_session", lambda *a, **k: calls.append(k) or own(*a, **k))
    return calls


def same(x, state, weights, spec=SPEC):
    got, got_state = rnnbench.run("onnxruntime", spec, x, state, weights)
    want, want_state = rnnbench.run("native", spec, x, state, weights)
    for a, b in zip((got, *got_state), (want, *want_state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_one_session_serves_every_batch_and_length(built):
    x, state, weights = tensors()
    for T, B in ((5, 2), (1, 1), (9, 3)):
        x, state, _ = tensors(T=T, B=B)
        same(x, state, weights)
    assert len(built) == 1


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_weight_written_in_place_is_seen(built, index):
    x, state, weights = tensors()
    same(x, state, weights)
    weights[index].mul_(-1)
    same(x, state, weights)
    assert len(built) == 2


def test_another_weight_in_the_place_of_one_is_seen(built):
    x, state, weights = tensors()
    same(x, state, weights)
    for index in (0, 3):
        weights = (*weights[:index], weights[index] + 1, *weights[index + 1 :])
        same(x, state, weights)
    assert len(built) == 3


def test_new_storage_under_the_same_tensor_is_seen():
    x, state, weights = tensors()
    same(x, state, weights)
    weights[2].data = weights[2] + 1
    same(x, state, weights)


def test_weights_whose_changes_nothing_counts_are_not_cached(built):
    with torch.inference_mode():
        x, state, weights = tensors()
        same(x, state, weights)
        weights[0].mul_(-1)
        same(x, state, weights)
    assert len(built) == 2


def test_sessions_die_with_their_weights():
    backend = peer.OnnxRuntime()
    x, state, weights = tensors()
    with torch.no_grad():
        backend.run(SPEC, interface.check_inputs(SPEC, x, state, weights))
    assert len(backend.sessions._built) == 1
    del weights
    gc.collect()
    assert len(backend.sessions._built) == 0


def test_threads_are_torchs_and_said(built):
    x, state, weights = tensors()
    inputs = interface.check_inputs(SPEC, x, state, weights)
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            identity = rnnbench.get_backend("onnxruntime").identity(SPEC, inputs)
            assert identity["threads"] == count
            assert identity["inter-op threads"] == 1
    finally:
        torch.set_num_threads(before)
    assert [call["threads"] for call in built] == [1, 2]
    assert identity["execution provider"] == "CPUExecutionProvider"
    assert "(GRU)" in identity["kernel"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_a_batch_of_nothing_is_nothing_and_ends_no_process(cell, packed):
    spec = Spec(cell, 3, 4, 2, 2)
    x, state, weights = tensors(spec, B=0)
    sizes = None
    if packed:
        x, sizes = x.reshape(0, 3), torch.zeros(5, dtype=torch.int64)
    y, final = rnnbench.run("onnxruntime", spec, x, state, weights, batch_sizes=sizes)
    assert y.shape == (0, 8) if packed else (5, 0, 8)
    assert [part.shape for part in final] == [part.shape for part in state]


def test_a_nan_in_x_is_lost_as_the_module_says():
    """Should it ever come through, the docstring and the skipped contract test can go."""
    x, state, weights = tensors()
    x[2, 1, 0] = float("nan")
    y, _ = rnnbench.run("onnxruntime", SPEC, x, state, weights)
    assert y.isfinite().all()
    assert "a NaN in x or a weight" in peer.__doc__


def test_result_is_the_callers_own():
    x, state, weights = tensors()
    first, _ = rnnbench.run("onnxruntime", SPEC, x, state, weights)
    copy = first.clone()
    second, _ = rnnbench.run("onnxruntime", SPEC, 2 * x, state, weights)
    second.zero_()
    assert torch.equal(first, copy)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtype_without_a_kernel_is_refused(dtype):
    module = rnnbench.GRU(3, 4, backend="onnxruntime", dtype=getattr(torch, dtype))
    with torch.no_grad(), pytest.raises(UnsupportedError, match=f"no {dtype} kernel"):
        module(torch.zeros(5, 2, 3, dtype=getattr(torch, dtype)))


def test_what_it_cannot_do_is_refused_in_a_sentence():
    with pytest.raises(UnsupportedError, match="computes no gradients"):
        rnnbench.GRU(3, 4, backend="onnxruntime")(torch.zeros(5, 2, 3))
    with torch.no_grad():
        with pytest.raises(UnsupportedError, match="ONNX has no projection"):
            rnnbench.LSTM(3, 4, proj_size=2, backend="onnxruntime")(torch.zeros(5, 2, 3))
        module = rnnbench.GRU(3, 4, 2, dropout=0.5, backend="onnxruntime")
        with pytest.raises(UnsupportedError, match="no dropout between layers"):
            module(torch.zeros(5, 2, 3))
        assert module.eval()(torch.zeros(5, 2, 3))[0].shape == (5, 2, 4)


def test_tangents_are_not_lost_in_silence():
    from torch.autograd import forward_ad

    module = rnnbench.GRU(3, 4, backend="onnxruntime").requires_grad_(False)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.zeros(5, 2, 3), torch.ones(5, 2, 3))
        with pytest.raises(UnsupportedError, match="forward-mode"):
            module(dual)


FORKED = """
import os, torch, rnnbench
torch.set_num_threads(2)
module = rnnbench.LSTM(64, 64, backend="onnxruntime").requires_grad_(False)
x = torch.randn(9, 16, 64)
expected, _ = module(x)
child = os.fork()
if not child:
    os._exit(not torch.equal(module(x)[0], expected))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_runs_after_a_fork_which_threads_do_not_survive():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)
