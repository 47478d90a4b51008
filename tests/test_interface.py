"""Registry, entry points, public names, and what an import does not import."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

import rnnbench
from rnnbench import Conditions, InputError, Spec, UnsupportedError, interface
from rnnbench.backends.manual import Manual


def test_public_names():
    assert set(rnnbench.__all__) == {
        "RNN", "GRU", "LSTM", "check", "backends", "register", "get_backend", "run", "Backend",
        "Conditions", "Inputs", "Spec", "Case", "InputError", "UnsupportedError",
        "diagnose", "from_torch", "mistakes", "swap", "training", "truncated_bptt", "truncation",
        "windows",
    }  # fmt: skip
    for name in rnnbench.__all__:
        assert getattr(rnnbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = rnnbench.nosuch


def test_built_in_backends_come_first():
    assert rnnbench.backends()[:4] == ("manual", "numba", "native", "compile")


def test_a_peer_without_its_library_is_not_listed_and_says_what_it_needs(monkeypatch):
    interface._missing.cache_clear()
    monkeypatch.setattr(interface, "find_spec", lambda name: None)
    try:
        assert not set(interface.PEERS) & set(rnnbench.backends())
        sentence = r"'onnxruntime' needs onnxruntime and onnx, .*: pip install 'rnnbench\[peers\]'"
        with pytest.raises(InputError, match=sentence):
            rnnbench.get_backend("onnxruntime")
        with pytest.raises(InputError, match="backend 'jax' needs jax and jaxlib"):
            rnnbench.GRU(3, 4, backend="jax")
        with pytest.raises(InputError, match="must not be a registered backend's; got 'jax'"):
            rnnbench.register("jax", Lazy())
    finally:
        interface._missing.cache_clear()


PEER_LIBRARIES = ("jax", "jaxlib", "onnx", "onnxruntime")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import rnnbench; rnnbench.backends()", ("torch", "numba", "numpy", "pandas", "typer")),
        ("import rnnbench; rnnbench.backends(); rnnbench.GRU(3, 4)", PEER_LIBRARIES),
        ("import rnnbench; rnnbench.get_backend('manual')", ("numba", "pandas", "torch._inductor")),
        ("import rnnbench.cli", ("torch", "numba", "pandas")),
    ],
)
def test_importing_imports_only_what_is_used(statement, absent):
    code = f"{statement}\nimport sys\nprint([m for m in {absent!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


class Lazy(Manual):
    """A third party's backend that can do one cell only."""

    def supports(self, spec, conditions):
        return None if spec.cell == "gru" else "only GRUs are implemented"


@pytest.fixture
def third_party():
    rnnbench.register("lazy", Lazy())
    yield "lazy"
    interface.unregister("lazy")


def test_registered_backend_is_checked_and_used_like_any_other(third_party):
    assert third_party in rnnbench.backends()
    assert rnnbench.check(third_party, [rnnbench.Case(Spec("gru", 3, 4), 5, 2)]).passed
    assert rnnbench.GRU(3, 4, backend=third_party)(torch.zeros(5, 2, 3))[0].shape == (5, 2, 4)


def test_unsupported_case_says_why_and_never_falls_back(third_party):
    with pytest.raises(UnsupportedError, match=r"'lazy' does not support .*: only GRUs are"):
        rnnbench.LSTM(3, 4, backend=third_party)(torch.zeros(5, 2, 3))
    result = rnnbench.check(third_party, [rnnbench.Case(Spec("lstm", 3, 4), 5, 2)])
    assert not result.passed
    assert "only GRUs are implemented" in str(result)


def test_name_can_be_registered_once_only():
    with pytest.raises(InputError, match="must not be a registered backend's; got 'manual'"):
        rnnbench.register("manual", Lazy())
    with pytest.raises(InputError, match="must be an rnnbench Backend; got str"):
        rnnbench.register("other", "rnnbench.backends.manual:Manual")


class FakeEntryPoint:
    name = "plugged"

    def load(self):
        return Lazy


def test_backend_from_an_entry_point(monkeypatch):
    monkeypatch.setattr(interface, "_third_party", lambda: {"plugged": FakeEntryPoint()})
    assert "plugged" in rnnbench.backends()
    assert isinstance(rnnbench.get_backend("plugged"), Lazy)
    interface._load.cache_clear()


def test_identity_says_which_kernel_ran():
    def kernel(cell, **changes):
        spec = Spec(cell, 3, 4, **changes)
        dtype = getattr(torch, spec.dtype)
        x = torch.zeros(5, 2, 3, dtype=dtype)
        weights = [torch.zeros(p.shape, dtype=dtype) for p in spec.parameters]
        inputs = interface.check_inputs(spec, x, None, weights)
        return rnnbench.get_backend("native").identity(spec, inputs)["kernel"]

    assert kernel("lstm") == "oneDNN (mkldnn_rnn_layer)"
    assert kernel("lstm", dtype="float64") == "ATen loop"
    assert kernel("gru") == "ATen loop"
    assert kernel("rnn_tanh") == "ATen loop"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: cuDNN cannot be shown")
def test_identity_on_cuda_is_cudnn():
    spec = Spec("lstm", 3, 4)
    weights = [torch.zeros(p.shape, device="cuda") for p in spec.parameters]
    inputs = interface.check_inputs(spec, torch.zeros(5, 2, 3, device="cuda"), None, weights)
    assert rnnbench.get_backend("native").identity(spec, inputs)["kernel"] == "cuDNN (_cudnn_rnn)"


def test_conditions_default_to_dense_training_on_the_cpu():
    assert Conditions() == Conditions("cpu", "training", packed=False, masks_given=False)


def test_a_spec_is_found_again_by_another_process():
    """Of a str every process has another hash, so a spec must not take its own along."""
    spec = Spec("gru", 3, 4)
    assert hash(spec) == hash(Spec("gru", 3, 4)) != hash(Spec("gru", 3, 5))
    code = (
        "import pickle, sys; from rnnbench import Spec\n"
        "spec = pickle.load(sys.stdin.buffer)\n"
        "assert {Spec('gru', 3, 4): 1}[spec] == 1 and spec == Spec('gru', 3, 4)"
    )
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(spec), check=True, timeout=60)
