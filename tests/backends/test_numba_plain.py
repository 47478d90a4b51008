"""What is particular to the numba-plain backend; parity is tested for all backends."""

import importlib.util

import numpy as np
import pytest
import torch
from backends.caching import identity_in_a_process
from backends.recurrences import assert_same_results, layers, make_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.caching import CompileResultCacheImpl

from rnnbench import interface
from rnnbench.backends.manual import ManualRecurrence
from rnnbench.backends.numba_plain import kernels
from rnnbench.backends.numba_plain.backend import KERNELS, NumbaPlain, PlainRecurrence
from rnnbench.bptt.recurrence import LayerPass, LayerResult, LayerWeights, Layout
from rnnbench.interface import Conditions, Inputs
from rnnbench.spec import CELLS, Spec

DTYPES = ("float32", "float64")


@njit
def _on_all(function, x, out):
    for i in range(len(x)):
        out[i] = function(x[i])


def elementwise(function, x):
    out = np.empty_like(x)
    _on_all(function, x, out)
    return out


def ulps(got, exact):
    return np.abs((got - exact) / np.spacing(np.abs(exact).astype(got.dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "exact"),
    [(kernels.sigmoid, lambda x: 1 / (1 + np.exp(-x))), (kernels.tanh, np.tanh)],
    ids=["sigmoid", "tanh"],
)
def test_activations_are_within_two_ulp(function, exact, dtype):
    small = np.logspace(-30, 1.9, 4001)
    x = np.concatenate([-small, small, [0.625, np.nextafter(0.625, 0)]]).astype(dtype)
    assert ulps(elementwise(function, x), exact(x.astype(np.longdouble))).max() <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_at_the_ends(dtype):
    x = np.array([-1e4, 1e4, -np.inf, np.inf, np.nan, -0.0], dtype)
    np.testing.assert_array_equal(elementwise(kernels.sigmoid, x), [0, 1, 0, 1, np.nan, 0.5])
    tanh = elementwise(kernels.tanh, x)
    np.testing.assert_array_equal(tanh, [-1, 1, -1, 1, np.nan, 0])
    assert np.signbit(tanh[-1])


def test_relu_of_nan_is_nan_and_its_gradient_is_torchs():
    results = []
    for backend in ("native", "numba-plain"):
        torch.manual_seed(0)
        spec = Spec("rnn_relu", 2, 3)
        inputs = make_inputs(spec, T=1, training=True)
        with torch.no_grad():
            inputs.x[0, 0, 0] = torch.nan
        y, _ = interface.run(backend, spec, inputs.x, inputs.state, inputs.weights)
        y.sum().backward()
        results.append((y.detach(), inputs.state[0].grad))
    assert results[0][0].isnan().any()
    for native, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, native, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(layers(), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_equals_the_manual_recurrence(layer, reverse, needs_dx, seed):
    assert_same_results(
        PlainRecurrence(), ManualRecurrence(), *layer, reverse=reverse, needs_dx=needs_dx, seed=seed
    )


@pytest.mark.parametrize("cell", CELLS)
def test_inference_keeps_nothing_and_equals_training(cell):
    spec = Spec(cell, 3, 4)
    x, h0 = torch.randn(10, 3), torch.randn(2, 4)
    c0 = torch.randn(2, 4) if spec.has_cell_state else None
    weights = LayerWeights(*(torch.randn(p.shape) for p in spec.parameters), None)
    results = [
        PlainRecurrence().forward(
            LayerPass(spec, Layout([2] * 5), x, weights, reverse=False), h0, c0, keep=keep
        )
        for keep in (False, True)
    ]
    assert results[0].saved == ()
    inference, training = (LayerResult(*result[:3], ()) for result in results)
    torch.testing.assert_close(inference, training, rtol=0, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch_runs(cell):
    spec = Spec(cell, 3, 4, directions=2)
    inputs = make_inputs(spec, T=2, B=0, training=True)
    y, final = NumbaPlain().run(spec, inputs)
    (y.sum() + sum(part.sum() for part in final)).backward()
    assert y.shape == (2, 0, 8)
    assert all(w.grad.count_nonzero() == 0 for w in inputs.weights)


def test_backward_twice_gives_the_same():
    spec = Spec("gru", 3, 4)
    inputs = make_inputs(spec, training=True)
    y, _ = NumbaPlain().run(spec, inputs)
    first = torch.autograd.grad(y.sum(), inputs.weights, retain_graph=True)
    second = torch.autograd.grad(y.sum(), inputs.weights)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_is_read_from_the_dispatcher(cell, dtype):
    spec = Spec(cell, 3, 4, dtype=dtype)
    inputs = make_inputs(spec, training=True)
    found = NumbaPlain().identity(spec, inputs)
    forward, backward = KERNELS[cell]
    assert found["kernel"] == f"numba njit ({forward.__name__}, {backward.__name__})"
    assert found["signature"].count("_forward(array(int64, 2d, C), bool, ") == 1
    assert f"array({dtype}, 2d, C)" in found["signature"]
    assert ({*DTYPES} - {dtype}).pop() not in found["signature"]
    assert (found["threads"], found["device"]) == (1, "cpu")
    assert all(tensor.grad is None for tensor in inputs.weights)


def test_identity_of_inference_names_the_forward_kernel_only():
    spec = Spec("lstm", 3, 4)
    assert NumbaPlain().identity(spec, make_inputs(spec))["kernel"] == "numba njit (lstm_forward)"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_one_signature_per_dtype_whatever_the_layout_of_the_tensors(batch, proj_size):
    spec = Spec("lstm", 3, 4, directions=2, proj_size=proj_size)
    inputs = make_inputs(spec, B=batch)
    strided = Inputs(
        inputs.x.transpose(0, 1).contiguous().transpose(0, 1),
        tuple(part.mT.contiguous().mT for part in inputs.state),
        tuple(w.repeat_interleave(2, -1)[..., ::2] for w in inputs.weights),
    )
    for one in (inputs, strided):
        for weight in one.weights:
            weight.requires_grad_()
        y, _ = NumbaPlain().run(spec, one)
        y.sum().backward()
    for kernel in KERNELS["lstm"]:
        assert len(kernel.signatures) == len(
            {signature[2].dtype for signature in kernel.signatures}
        )


@pytest.mark.parametrize(
    ("dtype", "conditions", "reason"),
    [
        ("float32", Conditions(), None),
        ("float64", Conditions(phase="inference", packed=True, masks_given=True), None),
        ("float32", Conditions(device="cuda"), "runs on the CPU only; got cuda"),
        ("float16", Conditions(), None),
        ("bfloat16", Conditions(), None),
    ],
)
def test_supports_gives_its_reason(dtype, conditions, reason):
    assert NumbaPlain().supports(Spec("gru", 3, 4, dtype=dtype), conditions) == reason


def test_the_second_process_loads_from_the_disk(tmp_path):
    runs = []
    for _ in range(2):
        out, err = identity_in_a_process("numba-plain", tmp_path).communicate()
        assert out, err
        runs.append(out.split())
    assert [run[:2] for run in runs] == [["0", "1"], ["1", "0"]]
    assert runs[0][2].startswith(str(tmp_path))


def test_without_a_cache_folder_it_warns_once_and_runs(monkeypatch):
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    where = importlib.util.spec_from_file_location("uncached_kernels", kernels.__file__)
    uncached = importlib.util.module_from_spec(where)
    with pytest.warns(RuntimeWarning, match="compiled anew in every process") as warned:
        where.loader.exec_module(uncached)
    assert len(warned) == 1
    assert uncached.sigmoid(0.0) == 0.5
