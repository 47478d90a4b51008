"""Every way to call the module: same output, same state, same gradients, same error as torch."""

from __future__ import annotations

import pytest
import torch
from contract.modules import CELL, assert_same, gradients, make, state_for, tensors
from support import sizes, skip_unless_supported, trains
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import rnnbench
from rnnbench.spec import Spec


def compare(pair, x, hx=None):
    """Both modules forward and backward on the same input, the loss touching everything."""
    theirs, ours = pair
    results = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        result = module(x, hx)
        weights = [torch.linspace(-1, 1, t.numel()).view_as(t) for t in tensors(result)]
        loss = sum((t * w.to(t.dtype)).sum() for t, w in zip(tensors(result), weights, strict=True))
        results.append((result, gradients(module, [x] if hx is None else [x, hx], loss)))
    (got, got_grads), (expected, expected_grads) = results
    assert_same(got, expected)
    assert_same(got_grads, expected_grads, factor=10)
    return got


SHAPES = {
    "time first": ({}, (5, 2, 3)),
    "batch first": ({"batch_first": True}, (2, 5, 3)),
    "unbatched": ({}, (5, 3)),
    "unbatched, batch first": ({"batch_first": True}, (5, 3)),
    "stacked, both directions": ({"num_layers": 3, "bidirectional": True}, (5, 2, 3)),
    "no bias": ({"num_layers": 2, "bias": False}, (5, 2, 3)),
    "one step, one sequence": ({}, (1, 1, 3)),
    "empty batch": ({"num_layers": 2, "bidirectional": True}, (5, 0, 3)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", [False, True], ids=["zero state", "state given"])
def test_shape(pair, shape, given):
    kwargs, size = SHAPES[shape]
    modules = pair(3, 4, **kwargs)
    x = torch.randn(size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    hx = None
    if given:
        depth = kwargs.get("num_layers", 1) * (1 + kwargs.get("bidirectional", False))
        batch = () if len(size) == 2 else (size[0 if kwargs.get("batch_first") else 1],)
        hx = state_for(modules.ours, depth, *batch)
        for part in tensors(hx):
            part.requires_grad_()
    compare(modules, x, hx)


def test_projection(pair, kind):
    if kind != "LSTM":
        pytest.skip("only an LSTM has a projection")
    modules = pair(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    compare(modules, torch.randn(5, 2, 3, requires_grad=True), state_for(modules.ours, 4, 2))


def test_dropout_draws_torchs_masks_from_the_same_seed(pair):
    modules = pair(3, 4, num_layers=3, bidirectional=True, dropout=0.5)
    compare(modules, torch.randn(5, 2, 3, requires_grad=True))


def test_dropout_is_off_in_eval_mode_and_never_after_the_last_layer(pair, kind):
    theirs, ours = pair(3, 4, num_layers=2, dropout=1.0)
    x = torch.randn(5, 2, 3)
    y, _ = ours(x)
    # relu itself makes some of them zero, dropout of 1 all
    assert y.ne(0).any() if kind == "RELU" else y.ne(0).all()
    assert_same(ours.eval()(x), theirs.eval()(x))
    assert not torch.equal(ours(x)[0], y)


def test_non_contiguous_input_and_state(pair):
    modules = pair(3, 4)
    x = torch.randn(3, 2, 5).permute(2, 1, 0).requires_grad_()
    size = modules.ours.hidden_size
    h = torch.randn(2, 1, size).transpose(0, 1)
    c = torch.randn(1, 2, 2 * size)[..., ::2]
    assert not x.is_contiguous()
    assert not c.is_contiguous()
    compare(modules, x, (h, c) if modules.ours.mode == "LSTM" else c)


@pytest.mark.parametrize("given", [False, True], ids=["zero state", "state given"])
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_packed_sequence(pair, order, given):
    lengths = [5, 3, 3, 1] if order == "sorted" else [3, 5, 1, 3]
    modules = pair(3, 4, num_layers=2, bidirectional=True)
    padded = torch.randn(5, 4, 3, requires_grad=True)
    hx = state_for(modules.ours, 4, 4) if given else None
    results = []
    for module in modules:
        packed = pack_padded_sequence(
            padded, torch.tensor(lengths), enforce_sorted=order == "sorted"
        )
        y, state = module(packed, hx)
        loss = (y.data**2).sum() + sum((part**3).sum() for part in tensors(state))
        results.append((y, state, gradients(module, padded, loss)))
    (y, state, grads), (their_y, their_state, their_grads) = results
    assert_same(y, their_y)
    assert_same(state, their_state)
    assert_same(grads, their_grads, factor=10)
    assert torch.equal(y.batch_sizes, their_y.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        a, b = getattr(y, name), getattr(their_y, name)
        assert (a is None and b is None) or torch.equal(a, b)


def error_of(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001 (which one is what is compared)
        return type(error), str(error)
    return None


def _pair(module, h):
    return (h, h) if module.mode == "LSTM" else h


def with_state(*shape, size=None, dtype=torch.float32):
    """A call with a state of that shape, its last dimension the module's own but for ``size``."""

    def call(module):
        h = torch.zeros(*shape, size or module.hidden_size, dtype=dtype)
        module(torch.zeros(5, 2, 3), (h, h) if module.mode == "LSTM" else h)

    return call


WRONG_CALLS = {
    "four dimensions": lambda m: m(torch.zeros(5, 2, 3, 1)),
    "one dimension": lambda m: m(torch.zeros(3)),
    "another input size": lambda m: m(torch.zeros(5, 2, 7)),
    "another dtype": lambda m: m(torch.zeros(5, 2, 3, dtype=torch.float64)),
    "whole numbers": lambda m: m(torch.zeros(5, 2, 3, dtype=torch.int64)),
    "another device": lambda m: m(torch.zeros(5, 2, 3, device="meta")),
    "no time step": lambda m: m(torch.zeros(0, 2, 3)),
    "state of another batch": with_state(1, 3),
    "64 columns in the state, as in Q1": with_state(1, 2, size=64),
    "state for two layers": with_state(2, 2),
    "state of two dimensions": with_state(2),
    "state on another device": lambda m: m(
        torch.zeros(5, 2, 3), _pair(m, torch.zeros(1, 2, m.hidden_size, device="meta"))
    ),
    "packed, another dtype": lambda m: m(pack_sequence([torch.zeros(2, 3, dtype=torch.float64)])),
}


@pytest.mark.parametrize("what", WRONG_CALLS)
def test_wrong_call_raises_what_torch_raises(pair, what, kind):
    theirs, ours = pair(3, 4)
    expected = error_of(lambda: WRONG_CALLS[what](theirs))
    assert expected is not None
    got = error_of(lambda: WRONG_CALLS[what](ours))
    if what == "packed, another dtype" and kind == "LSTM":
        # torch skips its own check here and fails in a product of matrices
        assert "must have dtype float32; got torch.float64" in got[1] or got == expected
    else:
        assert got == expected


def test_state_of_another_dtype_is_named(pair):
    """torch gives no sentence of its own here, but one of a product deep inside."""
    _, ours = pair(3, 4)
    with pytest.raises(RuntimeError, match=r"h0 must have dtype float32|same dtype|unsupported"):
        with_state(1, 2, dtype=torch.float64)(ours)


@pytest.mark.parametrize("what", ["input", "state"])
def test_packed_sizes_are_checked_with_torchs_sentences_for_the_lstm_too(backend, what):
    """torch's LSTM skips its validation for packed input and fails in a product of matrices."""
    lstm = rnnbench.LSTM(3, 4, backend=backend)
    size, batch = (7, 1) if what == "input" else (3, 2)
    packed = pack_sequence([torch.zeros(5, size)])
    h = torch.zeros(1, batch, 4)
    message = {
        "input": r"input.size\(-1\) must be equal to input_size. Expected 3, got 7",
        "state": r"Expected hidden size \(1, 1, 4\), got \[1, 2, 4\]",
    }[what]
    with pytest.raises(RuntimeError, match=message):
        lstm(packed, (h, h))


@pytest.mark.parametrize("way", ["dense", "packed", "no_grad", "half", "autocast"])
def test_call_runs_on_the_named_backend_and_no_other(backend, kind, way, monkeypatch):
    if backend == "native":
        pytest.skip("native is torch's own kernel, called by torch's own forward")
    if backend == "compile" and way in ("half", "autocast"):
        pytest.skip("more graphs to compile; the choice of backend is the same code")
    if backend == "onnxruntime" and way == "autocast":
        pytest.skip("autocast lowers to bfloat16, for which it has no kernel")
    runs = []
    chosen, native = rnnbench.get_backend(backend), rnnbench.get_backend("native")
    own = chosen.run
    monkeypatch.setattr(chosen, "run", lambda *a: runs.append(backend) or own(*a))
    monkeypatch.setattr(native, "run", lambda *a: runs.append("native"))
    dtype = torch.bfloat16 if way == "half" else torch.float32
    skip_unless_supported(backend, Spec(CELL[kind], 3, 4, dtype=str(dtype)[6:]), phase="inference")
    module = make(rnnbench, kind, 3, sizes(backend, 4)[0], backend=backend, dtype=dtype)
    module.requires_grad_(trains(backend))
    x = torch.randn(5, 2, 3, dtype=dtype)
    with torch.set_grad_enabled(way != "no_grad"), torch.autocast("cpu", enabled=way == "autocast"):
        module(pack_sequence([x[:, 0], x[:3, 1]]) if way == "packed" else x)
    assert runs == [backend]


@pytest.mark.filterwarnings("ignore:Complex modules:UserWarning")
@pytest.mark.parametrize("backend", ["auto", "native"])
def test_what_only_torch_can_do_still_runs(backend, kind):
    if kind == "RELU":
        pytest.skip("torch has no complex relu")
    module = make(rnnbench, kind, 3, 4, backend=backend).to(torch.complex64)
    assert module(torch.zeros(5, 2, 3, dtype=torch.complex64))[0].dtype == torch.complex64
    y, _ = make(rnnbench, kind, 3, 4, backend=backend).to("meta")(
        torch.zeros(5, 2, 3, device="meta")
    )
    assert y.shape == (5, 2, 4)
