"""Bad input: one clear sentence each, the same from every backend, before any work is done."""

from __future__ import annotations

import pytest
import torch
from support import sizes, skip_unless_supported

import rnnbench
from rnnbench import Case, InputError, Spec

SPEC = Spec("lstm", 3, 4, layers=2)


def arguments(spec=SPEC, T=5, B=2):
    x = torch.zeros(T, B, spec.input_size)
    state = tuple(torch.zeros(shape) for shape in spec.state_shapes(B).values())
    return x, state, tuple(torch.zeros(p.shape) for p in spec.parameters)


def replaced(sequence, index, value):
    items = list(sequence)
    items[index] = value
    return tuple(items)


BAD = {
    "x of another size": (
        lambda x, s, w: (torch.zeros(5, 2, 9), s, w),
        r"x must have shape \(T, B, 3\) with input_size 3; got \(5, 2, 9\)",
    ),
    "x unbatched": (
        lambda x, s, w: (torch.zeros(5, 3), s, w),
        r"x must have shape \(T, B, 3\) with input_size 3; got \(5, 3\)",
    ),
    "x of another dtype": (
        lambda x, s, w: (x.double(), s, w),
        "x must have dtype float32; got torch.float64",
    ),
    "x no tensor": (lambda x, s, w: (x.numpy(), s, w), "x must be a torch.Tensor; got ndarray"),
    "x without a step": (
        lambda x, s, w: (x[:0], s, w),
        r"x must have at least one time step \(T ≥ 1\); got shape \(0, 2, 3\)",
    ),
    "64 columns in h0, as in Q1": (
        lambda x, s, w: (x, replaced(s, 0, torch.zeros(2, 2, 64)), w),
        r"h0 must have shape \(2, 2, 4\) = \(layers·directions, B, size\) .*; got \(2, 2, 64\)",
    ),
    "c0 left out": (
        lambda x, s, w: (x, s[:1], w),
        r"state must be \(h0, c0\) for cell 'lstm'; got 1",
    ),
    "c0 of another dtype": (
        lambda x, s, w: (x, replaced(s, 1, s[1].double()), w),
        "c0 must have dtype float32; got torch.float64",
    ),
    "a weight left out": (lambda x, s, w: (x, s, w[:-1]), "weights must be 8 tensors .*; got 7"),
    "a transposed weight": (
        lambda x, s, w: (x, s, replaced(w, 1, w[1].T)),
        r"weight_hh_l0 must have shape \(16, 4\) .*; got \(4, 16\)",
    ),
    "a weight of another dtype": (
        lambda x, s, w: (x, s, replaced(w, 2, w[2].double())),
        "bias_ih_l0 must have dtype float32; got torch.float64",
    ),
    "x on another device": (
        lambda x, s, w: (x.to("meta"), s, w),
        "h0 must be on x's device meta; got cpu",
    ),
}


def packed(sizes, **changes):
    """Arguments for packed rows of these batch sizes."""
    x, state, weights = arguments(B=2)
    return {"x": x[:, 0], "state": state, "weights": weights, "batch_sizes": sizes} | changes


BAD_OPTIONS = {
    "batch sizes that grow": (
        packed(torch.tensor([2, 1, 2])),
        r"batch_sizes must hold at least one step and never grow or be negative; got \[2, 1, 2\]",
    ),
    "batch sizes without a step": (
        packed(torch.tensor([], dtype=torch.int64)),
        "at least one step",
    ),
    "batch sizes of another dtype": (packed(torch.tensor([2.0, 2.0, 1.0])), "must be int64"),
    "batch sizes as a list": (packed([2, 2, 1]), "batch_sizes must be a torch.Tensor; got list"),
    "masks too few": (
        dict(zip(("x", "state", "weights"), arguments(), strict=True)) | {"masks": ()},
        "masks must be 1 tensors; got 0",
    ),
    "masks of another shape": (
        dict(zip(("x", "state", "weights"), arguments(), strict=True)) | {"masks": [torch.ones(4)]},
        r"masks\[0\] must have shape \(5, 2, 4\) and dtype float32; got \(4,\)",
    ),
    "a bare state": (
        dict(zip(("x", "state", "weights"), arguments(), strict=True))
        | {"state": torch.zeros(2, 2, 4)},
        "state must be a sequence of tensors; got Tensor",
    ),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_bad_option_is_named_before_a_kernel_sees_it(backend, what):
    given, message = BAD_OPTIONS[what]
    with pytest.raises(InputError, match=message):
        rnnbench.run(backend, SPEC, **given)


def test_a_packed_sequence_that_grows_reaches_no_kernel(backend):
    bad = torch.nn.utils.rnn.PackedSequence(torch.zeros(33, 3), torch.tensor([1, 2, 30]))
    with pytest.raises(RuntimeError):
        rnnbench.GRU(3, 4, backend=backend)(bad)


@pytest.mark.parametrize("what", BAD)
def test_bad_argument_is_named_with_what_it_was_and_must_be(backend, what):
    change, message = BAD[what]
    with pytest.raises(InputError, match=message):
        rnnbench.run(backend, SPEC, *change(*arguments()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("elman", 3, 4), "cell must be one of 'rnn_tanh', 'rnn_relu', 'gru', 'lstm'; got 'elman'"),
        (("gru", 0, 4), "input_size must be an int of at least 1; got 0"),
        (("gru", 3, -1), "hidden_size must be an int of at least 1; got -1"),
        (("gru", 3, 4.0), "hidden_size must be an int of at least 1; got 4.0"),
        (("gru", 3, True), "hidden_size must be an int of at least 1; got True"),
        (("gru", 3, 4, 0), "layers must be an int of at least 1; got 0"),
        (("gru", 3, 4, 1, 3), "directions must be one of 1, 2; got 3"),
        (("gru", 3, 4, 1, 1, 1), "bias must be a bool; got 1"),
        (("gru", 3, 4, 1, 1, True, "int8"), "dtype must be one of .*; got 'int8'"),
        (("gru", 3, 4, 1, 1, True, "float32", 2), "proj_size must be 0 for cell 'gru'; got 2"),
        (("lstm", 3, 4, 1, 1, True, "float32", 4), "smaller than hidden_size=4; got 4"),
        (
            ("gru", 3, 4, 1, 1, True, "float32", 0, 1.5),
            r"dropout must be a number in \[0, 1\]; got 1.5",
        ),
        (("gru", 3, 4, 1, True), "directions must be an int of at least 1; got True"),
        (("lstm", 3, 4, 1, 1, True, "float32", 1.5), "proj_size must be an int .*; got 1.5"),
    ],
)
def test_impossible_network_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Spec(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T": 0}, "T must be an int of at least 1; got 0"),
        ({"B": 0}, "B must be an int of at least 1; got 0"),
        ({"phase": "eval"}, "phase must be one of 'inference', 'training'; got 'eval'"),
        ({"lengths": (3,)}, "lengths must be a tuple of 2 ints between 1 and T=5"),
        ({"lengths": (6, 5)}, "lengths must be a tuple of 2 ints between 1 and T=5"),
    ],
)
def test_impossible_case_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Case(**({"spec": SPEC, "T": 5, "B": 2} | change))


def test_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"backend must be one of 'manual', .*; got 'cudnn'"):
        rnnbench.run("cudnn", SPEC, *arguments())
    with pytest.raises(InputError, match="got 'cudnn'"):
        rnnbench.GRU(3, 4, backend="cudnn")


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_in_x_go_through_as_in_torch(backend, cell, poison):
    spec = Spec(cell, 3, sizes(backend, 4)[0], directions=2)
    skip_unless_supported(backend, spec, phase="inference")
    if backend == "onnxruntime":
        pytest.skip("its activations clamp, and NaN with it; test_onnxruntime shows what it does")
    torch.manual_seed(0)
    x, _, _ = arguments(spec)
    x = torch.randn_like(x)
    x[2, 1, 0] = poison
    scale = 2 * spec.hidden_size**-0.5
    weights = tuple(scale * torch.randn(p.shape) for p in spec.parameters)
    with torch.no_grad():
        got, got_state = rnnbench.run(backend, spec, x, None, weights)
        expected, expected_state = rnnbench.run("native", spec, x, None, weights)
    for a, b in zip((got, *got_state), (expected, *expected_state), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_reach_the_same_gradients_as_in_torch(backend, cell, poison):
    spec = Spec(cell, 3, sizes(backend, 4)[0])
    skip_unless_supported(backend, spec)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 3, generator=generator)
    x[2, 1, 0] = poison
    scale = 2 * spec.hidden_size**-0.5
    values = [scale * torch.randn(p.shape, generator=generator) for p in spec.parameters]
    found = []
    for name in (backend, "native"):
        weights = [w.clone().requires_grad_() for w in values]
        y, _ = rnnbench.run(name, spec, x, None, weights)
        found.append(torch.autograd.grad(y.sum(), weights))
    for got, expected in zip(*found, strict=True):
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got.isinf(), expected.isinf())
