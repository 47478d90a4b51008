"""The vector kernels, piece by piece; parity over all options is tested for all backends."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from backends.recurrences import assert_same_results, layers, make_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import rnnbench
from rnnbench.backends.manual import ManualRecurrence
from rnnbench.backends.numba import activations, gate_order, gemm
from rnnbench.backends.numba import layers as layers_of_the_kernels
from rnnbench.backends.numba.backend import Numba
from rnnbench.backends.numba.microkernel import MOST_ROWS, product
from rnnbench.backends.numba.recurrence import NumbaRecurrence
from rnnbench.backends.numba.row_order import row_order
from rnnbench.backends.numba.vector import PROCESSORS, Lanes, emitted, processor
from rnnbench.backends.numba_plain.backend import PlainRecurrence
from rnnbench.bptt.recurrence import LayerResult, LayerWeights, Layout
from rnnbench.interface import Conditions
from rnnbench.spec import CELLS, Case, Spec

DTYPES = ("float32", "float64")


def aligned(*shape, dtype):
    """Zeros that begin where torch's memory does."""
    return torch.zeros(shape, dtype=getattr(torch, dtype)).numpy()


def _tanh(e, x, out):
    e.store(activations.tanh(e.load(x)), out)


def _sigmoid(e, x, out):
    e.store(activations.sigmoid(e.load(x)), out)


tanh, sigmoid = emitted(_tanh), emitted(_sigmoid)


@njit
def _on_all(which, x, out, width):
    for i in range(0, len(x), width):
        at, to = x.ctypes.data + i * x.itemsize, out.ctypes.data + i * x.itemsize
        if which == 0:
            tanh(x, at, to)
        else:
            sigmoid(x, at, to)


def elementwise(which, values, dtype):
    width = Lanes.of(dtype).width
    x = np.zeros(-(-len(values) // width) * width, dtype)
    x[: len(values)] = values
    out = np.empty_like(x)
    _on_all(("tanh", "sigmoid").index(which), x, out, width)
    return out[: len(values)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("which", "exact"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("tanh", np.tanh)],
    ids=["sigmoid", "tanh"],
)
def test_activations_are_within_three_ulp_of_80_bit_values(which, exact, dtype):
    small = np.logspace(-30, 1.9, 40001)
    x = np.concatenate([-small, small, np.linspace(-12, 12, 200001)]).astype(dtype)
    want = exact(x.astype(np.longdouble))
    ulp = np.spacing(np.abs(want).astype(dtype))
    assert np.abs((elementwise(which, x, dtype) - want) / ulp).max() <= 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_at_the_ends(dtype):
    x = np.array([-1e4, 1e4, -np.inf, np.inf, np.nan, -0.0], dtype)
    np.testing.assert_array_equal(elementwise("sigmoid", x, dtype), [0, 1, 0, 1, np.nan, 0.5])
    found = elementwise("tanh", x, dtype)
    np.testing.assert_array_equal(found, [-1, 1, -1, 1, np.nan, 0])
    assert np.signbit(found[-1])


@njit
def _one_block(like, rows, vectors, a, b, c0, c, width):
    K = a.shape[1]
    product(
        like, rows, vectors, a.ctypes.data, K, 1, b.ctypes.data, c0.ctypes.data, 0, width,
        c.ctypes.data, vectors * width, width, K, b.ctypes.data,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_block_size_is_the_product(dtype):
    width, rng = Lanes.of(dtype).width, np.random.default_rng(0)
    for vectors, most in MOST_ROWS.items():
        for rows in range(1, most + 1):
            for K in (0, 1, 2, 3, 7, 8, 9, 40):
                a = rng.standard_normal((rows, K)).astype(dtype)
                b = rng.standard_normal((K, vectors * width)).astype(dtype)
                c0 = rng.standard_normal(vectors * width).astype(dtype)
                c = np.empty((rows, vectors * width), dtype)
                _one_block(a, rows, vectors, a, b, c0, c, width)
                error = np.abs(c - (a.astype("f8") @ b.astype("f8") + c0)).max()
                assert error < 40 * np.finfo(dtype).eps, (rows, vectors, K)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [(0,), (2, 0, 1), (0, 1, 2, 3)], ids=["rnn", "gru", "lstm"])
@pytest.mark.parametrize("H", [1, 5, 16, 37])
@pytest.mark.parametrize("K", [1, 15, 16, 40])
def test_packing_a_transposed_weight_pads_with_zeros_and_writes_no_further(dtype, order, H, K):
    width, gates = Lanes.of(dtype).width, len(order)
    units = -(-H // width)
    weight = np.random.default_rng(0).standard_normal((gates * H, K)).astype(dtype)
    out = aligned(units * gates * K * width + 99, dtype=dtype)
    out[:] = 7
    gate_order.pack_transposed(
        weight, weight.ctypes.data, K, np.array(order), H, width, 0, H, out.ctypes.data
    )
    vectors = np.zeros((units, gates, width, K), dtype)
    for unit in range(units):
        for g, gate in enumerate(order):
            own = weight[gate * H : (gate + 1) * H][unit * width : (unit + 1) * width]
            vectors[unit, g, : len(own)] = own
    rows = vectors.reshape(-1, width, K)
    group = 4 if gates == 1 else gates
    panels = [
        rows[start : start + group].transpose(2, 0, 1).ravel()
        for start in range(0, len(rows), group)
    ]
    np.testing.assert_array_equal(out[:-99], np.concatenate(panels))
    assert (out[-99:] == 7).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 40), st.integers(1, 40), st.sampled_from(DTYPES),
    st.integers(0, 99),
)  # fmt: skip
def test_weight_gradients_are_sums_of_outer_products(N, H, size, dtype, seed):
    """One gate; h_{t−1} comes from rows of y and of h0 by chance."""
    width, rng = Lanes.of(dtype).width, np.random.default_rng(seed)
    slot, wide = (-(-n // width) * width for n in (H, size))
    delta = np.zeros((N, slot), dtype)
    delta[:, :H] = rng.standard_normal((N, H))
    x, y, h0 = (rng.standard_normal(shape).astype(dtype) for shape in ((N, size), (N, H), (5, H)))
    index = np.where(rng.random(N) < 0.5, rng.integers(0, N, N), ~rng.integers(0, 5, N))
    dw_ih, dw_hh = aligned(H, wide, dtype=dtype), aligned(H, slot, dtype=dtype)
    sums, packed = (
        aligned(slot, dtype=dtype),
        aligned(gemm.BLOCK * (2 * slot + wide), dtype=dtype),
    )
    for memory in (dw_ih, dw_hh, sums, packed):  # what lies there before does not matter
        memory[...] = np.nan
    zeros = aligned(width, dtype=dtype)
    _weight_gradients(delta, H, width, index, x, y, h0, packed, dw_ih, dw_hh, sums, zeros)
    h = y[np.maximum(index, 0)]
    h[index < 0] = h0[~index[index < 0]]
    for got, rows in ((dw_ih[:, :size], x), (dw_hh[:, :H], h), (sums[:H, None], np.ones((N, 1)))):
        want = delta[:, :H].astype("f8").T @ rows.astype("f8")
        scale = np.abs(delta[:, :H]).astype("f8").T @ np.abs(rows).astype("f8")
        assert (np.abs(got - want) <= 12 * np.finfo(dtype).eps * scale + 1e-300).all()


@njit
def _weight_gradients(delta, H, width, index, x, y, h0, packed, dw_ih, dw_hh, sums, zeros):
    one = np.zeros(1, np.int64)
    gemm.weight_gradients(
        delta.ravel(), delta.ctypes.data, delta.shape[1], H, width, index, one, one, x.ctypes.data,
        x.shape[1], y.ctypes.data, H, h0.ctypes.data, H, packed.ctypes.data, dw_ih.ctypes.data,
        dw_ih.shape[1], dw_hh.ctypes.data, dw_hh.shape[1], sums.ctypes.data, zeros.ctypes.data, 0,
        delta.shape[1],
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(layers(), st.booleans())
def test_row_order_finds_the_row_before_and_the_last_row(layer, reverse):
    _, layout = layer
    order = row_order(layout, reverse=reverse)
    state, last = [~i for i in range(layout.B)], {}
    before = {}
    for start, b in order.steps:
        for i in range(b):
            before[start + i] = state[i]
            state[i] = last[i] = start + i
    assert order.before.tolist() == [before[n] for n in range(layout.N)]
    assert order.last.tolist() == [last[i] for i in range(layout.B)]


@settings(max_examples=80, deadline=None)
@given(layers(), st.booleans(), st.booleans(), st.integers(0, 2**31))
@pytest.mark.parametrize(
    "reference", [ManualRecurrence(), PlainRecurrence()], ids=["manual", "plain"]
)
def test_equals_the_simple_recurrences(reference, layer, reverse, needs_dx, seed):
    assert_same_results(
        NumbaRecurrence(), reference, *layer, reverse=reverse, needs_dx=needs_dx, seed=seed
    )


def random_layer(cell, *, B=2, T=5, H=4, dtype=torch.float32):
    spec = Spec(cell, 3, H, dtype=str(dtype)[6:])
    weights = LayerWeights(*(torch.randn(p.shape, dtype=dtype) / H for p in spec.parameters), None)
    state = [torch.randn(B, H, dtype=dtype) for _ in range(1 + spec.has_cell_state)]
    c0 = state[1] if spec.has_cell_state else None
    return spec, Layout([B] * T), torch.randn(T * B, 3, dtype=dtype), state[0], c0, weights


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "B"), [(5, 2), (700, 33)])
def test_inference_keeps_nothing_and_has_the_bits_of_training(cell, T, B):
    """700 steps are projected in several chunks in inference."""
    layer = random_layer(cell, T=T, B=B, H=20)
    inference, training = (
        NumbaRecurrence().forward(*layer, reverse=True, keep=keep) for keep in (False, True)
    )
    assert inference.saved == ()
    assert training.saved
    torch.testing.assert_close(
        LayerResult(*inference[:3], ()), LayerResult(*training[:3], ()), rtol=0, atol=0
    )


@pytest.mark.parametrize("cell", CELLS)
def test_one_sequence_has_the_same_bits_alone_and_in_a_batch_of_one_size(cell):
    """A row's sums do not depend on the rows beside it in its block; all are in one here, since a
    lower block may add in another order."""
    B = min(MOST_ROWS.values())
    spec, _, x, h0, c0, weights = random_layer(cell, B=B, T=3, H=20)
    order = torch.arange(B).roll(1)
    swapped = x.view(3, B, 3)[:, order].reshape(3 * B, 3)
    layout = Layout([B] * 3)
    one = NumbaRecurrence().forward(spec, layout, x, h0, c0, weights, reverse=False, keep=False)
    two = NumbaRecurrence().forward(
        spec, layout, swapped, h0[order], None if c0 is None else c0[order], weights,
        reverse=False, keep=False,
    )  # fmt: skip
    assert torch.equal(one.h_n[order], two.h_n)


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_inputs_give_the_same_bits(cell):
    inputs = make_inputs(Spec(cell, 3, 40, layers=2, directions=2), T=9, B=5, training=True)
    runs = []
    for _ in range(3):
        y, final = Numba().run(Spec(cell, 3, 40, layers=2, directions=2), inputs)
        loss = y.sum() + sum(part.sum() for part in final)
        runs.append((y, *torch.autograd.grad(loss, inputs.weights)))
    for run in runs[1:]:
        assert all(map(torch.equal, run, runs[0]))


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm"])
@pytest.mark.parametrize("which", ["output", "state"])
def test_an_infinite_upstream_gradient_goes_as_far_as_in_torch(cell, which):
    """Lanes beyond the hidden size hold ∞ · 0 = NaN, which must not come back into the units.

    Not for the GRU: its gradients of both signs make ∞ − ∞ = NaN by themselves.
    """
    torch.manual_seed(0)
    spec = Spec(cell, 3, 4)
    inputs = make_inputs(spec, T=4, training=True)
    with torch.no_grad():
        for tensor in (inputs.x, *inputs.state, *inputs.weights):
            tensor.abs_().mul_(0.3)  # one sign: in torch too ∞ − ∞ would be NaN
    found = []
    for backend in ("numba", "native"):
        y, final = rnnbench.run(backend, spec, inputs.x, inputs.state, inputs.weights)
        upstream = [torch.zeros_like(part) for part in (y, *final)]
        upstream[0 if which == "output" else -1][-1, 0, 0] = torch.inf
        found.append(torch.autograd.grad([y, *final], [inputs.x, *inputs.state], upstream))
    assert any(g.isinf().any() for g in found[1])
    for got, want in zip(*found, strict=True):
        assert torch.equal(got.isnan(), want.isnan())
        assert torch.equal(got.isinf(), want.isinf())


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch_runs(cell):
    spec = Spec(cell, 3, 4, directions=2)
    inputs = make_inputs(spec, T=2, B=0, training=True)
    y, final = Numba().run(spec, inputs)
    (y.sum() + sum(part.sum() for part in final)).backward()
    assert y.shape == (2, 0, 8)
    assert all(w.grad.count_nonzero() == 0 for w in inputs.weights)


def test_backward_twice_gives_the_same():
    spec = Spec("gru", 3, 4)
    inputs = make_inputs(spec, training=True)
    y, _ = Numba().run(spec, inputs)
    first = torch.autograd.grad(y.sum(), inputs.weights, retain_graph=True)
    second = torch.autograd.grad(y.sum(), inputs.weights)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_weight_changed_in_place_past_autograd_is_seen():
    spec = Spec("lstm", 3, 4)
    inputs = make_inputs(spec)
    before, _ = Numba().run(spec, inputs)
    inputs.weights[1].data.mul_(2)
    after, _ = Numba().run(spec, inputs)
    fresh = inputs._replace(weights=tuple(w.clone() for w in inputs.weights))
    assert not torch.equal(before, after)
    assert torch.equal(after, Numba().run(spec, fresh)[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_is_read_from_the_dispatcher(cell, dtype):
    spec = Spec(cell, 3, 4, dtype=dtype)
    inputs = make_inputs(spec, training=True)
    found = Numba().identity(spec, inputs)
    assert found["kernel"] == "numba vectors (forward, backward_steps, backward_products)"
    assert f"forward({dtype}, " in found["signature"]
    assert ({*DTYPES} - {dtype}).pop() not in found["signature"]
    assert processor().name in found["vectors"]
    assert (found["threads"], found["device"]) == (torch.get_num_threads(), "cpu")
    assert all(tensor.grad is None for tensor in inputs.weights)


def test_wide_layers_stay_within_budget():
    """dx of a GRU with 512 units sums 1536 terms."""
    result = rnnbench.check("numba", cases=[Case(Spec("gru", 512, 512), T=4, B=16)])
    assert result.passed, str(result)


@pytest.mark.parametrize(("cell", "P"), [*((cell, 0) for cell in CELLS), ("lstm", 5)])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_rows_that_would_share_cache_sets_are_apart_and_lose_nothing(cell, P, packed):
    """Of gates, of δ and of c: 256 units of eight bytes are a multiple of 2 KiB."""
    H = layers_of_the_kernels.ALIASED // 8
    assert layers_of_the_kernels.apart.py_func(H, 8) == H + 16
    assert layers_of_the_kernels.apart.py_func(H + 8, 8) == H + 8
    case = Case(
        Spec(cell, 6, H, layers=2, directions=2, dtype="float64", proj_size=P),
        T=6, B=3, lengths=(6, 3, 2) if packed else None,
    )  # fmt: skip
    result = rnnbench.check("numba", cases=[case])
    assert result.passed, str(result)


def test_identity_of_inference_names_the_forward_kernel_only():
    spec = Spec("lstm", 3, 4)
    assert Numba().identity(spec, make_inputs(spec))["kernel"] == "numba vectors (forward)"


def test_the_blocking_follows_the_registers():
    for vectors, most in MOST_ROWS.items():
        assert most * vectors + vectors + 1 <= processor().registers
    assert [p.vector_bytes for _, p in PROCESSORS] == [64, 32, 16]


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
    assert Numba().supports(Spec("gru", 3, 4, dtype=dtype), conditions) == reason


def test_numba_is_imported_only_when_the_backend_is_built():
    code = "import sys, rnnbench; rnnbench.backends(); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
