"""The sliding mode's gradient is brute force's, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from truncation.brute import (
    as_one_batch,
    assert_equal,
    doubled,
    network,
    one_by_one,
    state_of,
    zero_state,
)

import rnnbench
from rnnbench import InputError, UnsupportedError
from rnnbench.truncation import sliding

examples = settings(max_examples=25, deadline=None, derandomize=True)


def slid(module, x, state, dy, k, **options):
    """Gradients of x and of every weight that ⟨dy, y⟩ has in mode "sliding"."""
    x = x.detach().requires_grad_()
    (part,) = rnnbench.truncated_bptt(module, x, state, mode="sliding", k=k, **options)
    loss = (part.output * dy).sum()
    return list(torch.autograd.grad(loss, [x, *module.parameters()]))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("T", [1, 9, 257])
def test_equal_to_brute_force(cell, T, layers):
    module = network(cell, 3, 4, num_layers=layers)
    for B in (1, 3):
        x, state = torch.randn(T, B, 3, dtype=torch.float64), state_of(module, B)
        for k in (1, 2, 7, 64, T):
            dy = torch.randn(T, B, 4, dtype=torch.float64)
            expected = as_one_batch(module, x, state, dy, range(T), k)
            assert_equal(slid(module, x, state, dy, k), expected)


@pytest.mark.parametrize("kernel", ["numba", "torch"])
@examples
@given(
    T=st.integers(1, 12), k=st.integers(1, 14), B=st.integers(1, 3), layers=st.integers(1, 3),
    start=st.integers(0, 11), stride=st.integers(1, 4), bias=st.booleans(), proj=st.booleans(),
)  # fmt: skip
def test_equal_to_each_window_by_itself(cell, kernel, T, k, B, layers, start, stride, bias, proj):
    start = min(start, T - 1)
    size = 2 if proj and cell == "lstm" else 4
    projection = {"proj_size": size} if size < 4 else {}
    module = network(cell, 3, 4, num_layers=layers, bias=bias, **projection)
    x, state = torch.randn(T, B, 3, dtype=torch.float64), state_of(module, B)
    steps = range(start, T, stride)
    dy = torch.randn(len(steps), B, size, dtype=torch.float64)
    expected = one_by_one(module, x, state, dy, steps, k)
    assert_equal(as_one_batch(module, x, state, dy, steps, k), expected)
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "torch":
            patch.delitem(sliding.KERNELS, (cell, "float64"))
        assert_equal(slid(module, x, state, dy, k, start=start, stride=stride), expected)


def test_tiles_of_any_size_give_the_same_in_plain_torch(cell, monkeypatch):
    module = network(cell, 3, 4, num_layers=2)
    x, dy = torch.randn(30, 2, 3, dtype=torch.float64), torch.randn(30, 2, 4, dtype=torch.float64)
    expected = slid(module, x, None, dy, 7)
    monkeypatch.delitem(sliding.KERNELS, (cell, "float64"))
    for tile_bytes in (1, 5_000, 2**30):
        monkeypatch.setattr(sliding, "TILE_BYTES", tile_bytes)
        assert_equal(slid(module, x, None, dy, 7), expected)


def test_windows_of_the_whole_sequence_are_full_bptt_with_dropout(cell):
    module = network(cell, 3, 4, num_layers=3, dropout=0.4)
    x, dy = doubled(11, 2, 3).requires_grad_(), doubled(11, 2, 4)
    sources = [x, *module.parameters()]
    found = []
    for mode, options in (("sliding", {"k": 11}), ("full", {})):
        torch.manual_seed(3)
        (part,) = rnnbench.truncated_bptt(module, x, None, mode=mode, **options)
        found.append(torch.autograd.grad(part.output, sources, dy))
    assert_equal(*found)
    module.eval()
    (part,) = rnnbench.truncated_bptt(module, x, None, mode="sliding", k=11)
    assert_equal([part.output], [module(x)[0]])


@pytest.mark.parametrize("backend", ["manual", "native", "numba", "auto"])
def test_our_modules_run_on_their_own_backend(backend):
    module = network("gru", 3, 4, num_layers=2)
    ours = rnnbench.GRU(3, 4, 2, backend=backend).double()
    ours.load_state_dict(module.state_dict())
    x, dy = doubled(20, 2, 3), doubled(20, 2, 4)
    assert_equal(slid(ours, x, None, dy, 6), slid(module, x, None, dy, 6))


def test_float32_is_as_close_as_float32_is(cell):
    module = network(cell, 8, 16, num_layers=2)
    x, dy = doubled(100, 2, 8), doubled(100, 2, 16)
    expected = slid(module, x, None, dy, 10)
    got = slid(module.float(), x.float(), None, dy.float(), 10)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 1e-5


def test_cells_are_layers_of_their_own(cell):
    module = network(cell, 3, 4)
    kind = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}.get(cell, nn.RNNCell)
    own = kind(3, 4, **({"nonlinearity": cell[4:]} if kind is nn.RNNCell else {})).double()
    own.load_state_dict({n.removesuffix("_l0"): w for n, w in module.state_dict().items()})
    x, dy = doubled(9, 2, 3), doubled(9, 2, 4)
    state = state_of(module, 2)
    first = tuple(part[0] for part in state) if cell == "lstm" else state[0]
    expected = slid(module, x, state, dy, 3)
    assert_equal(slid(own, x, first, dy, 3), expected)
    parts = rnnbench.truncated_bptt(own, x, first, mode="k1_k2", k1=1, k2=3)
    for weight in own.parameters():
        weight.grad = None
    for part in parts:
        (part.output * dy[part.slice]).sum().backward()
    assert_equal([weight.grad for weight in own.parameters()], expected[1:])


def test_layouts_are_the_modules_own(cell):
    module = network(cell, 3, 4, num_layers=2)
    turned = network(cell, 3, 4, num_layers=2, batch_first=True)
    x, dy, state = doubled(9, 1, 3), doubled(9, 1, 4), state_of(module, 1)
    gx, *expected = slid(module, x, state, dy, 3)
    got_x, *got = slid(turned, x.transpose(0, 1), state, dy.transpose(0, 1), 3)
    assert_equal([got_x.transpose(0, 1), *got], [gx, *expected])
    alone = tuple(part[:, 0] for part in state) if cell == "lstm" else state[:, 0]
    got_x, *got = slid(module, x[:, 0], alone, dy[:, 0], 3)
    assert_equal([got_x[:, None], *got], [gx, *expected])


def test_sequences_of_mixed_lengths_are_one_at_a_time(cell):
    module = network(cell, 3, 4, num_layers=2)
    sequences = [doubled(n, 3) for n in (5, 9, 1, 7)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    (part,) = rnnbench.truncated_bptt(module, packed, None, mode="sliding", k=3)
    dy = doubled(9, 4, 4)
    got = torch.autograd.grad(part.output, list(module.parameters()), dy)
    total = None
    for b, sequence in enumerate(sequences):
        (alone,) = rnnbench.truncated_bptt(module, sequence, None, mode="sliding", k=3)
        own = torch.autograd.grad(alone.output, list(module.parameters()), dy[: len(sequence), b])
        total = own if total is None else [a + c for a, c in zip(total, own, strict=True)]
        assert_equal([part.output[: len(sequence), b]], [alone.output])
        assert not part.output[len(sequence) :, b].any()
        mixed, single = ((s if cell == "lstm" else (s,)) for s in (part.state, alone.state))
        assert_equal([p[:, b] for p in mixed], list(single))
    assert_equal(got, total)
    assert part.mask.sum(0).tolist() == [5, 9, 1, 7]


def test_heads_and_embeddings_get_their_own_gradients():
    """Σ_t ℓ_t through a head: the head's gradient is exact, the embedding's is the windows'."""
    module = network("lstm", 3, 4)
    embedding, head = nn.Embedding(7, 3).double(), nn.Linear(4, 7).double()
    characters = torch.randint(7, (12, 2))
    (part,) = rnnbench.truncated_bptt(module, embedding(characters), None, mode="sliding", k=4)
    nn.functional.cross_entropy(head(part.output).flatten(0, 1), characters.flatten()).backward()
    got_head = head.weight.grad.clone()
    y = part.output.detach().requires_grad_()
    head.zero_grad()
    nn.functional.cross_entropy(head(y).flatten(0, 1), characters.flatten()).backward()
    x = embedding(characters).detach()
    dx, *expected = one_by_one(module, x, zero_state(module), y.grad, range(12), 4)
    assert_equal([weight.grad for weight in module.parameters()], expected)
    rows = torch.zeros(7, 3).double().index_add_(0, characters.flatten(), dx.flatten(0, 1))
    assert_equal([embedding.weight.grad], [rows])
    assert_equal([got_head], [head.weight.grad])


def test_gradients_add_up_in_grad_and_frozen_weights_get_none():
    module = network("gru", 3, 4)
    module.weight_hh_l0.requires_grad_(False)
    x = doubled(6, 2, 3)
    for _ in range(2):
        (part,) = rnnbench.truncated_bptt(module, x, None, mode="sliding", k=2)
        part.output.sum().backward()
    assert module.weight_hh_l0.grad is None
    module.weight_hh_l0.requires_grad_(True)
    expected = slid(module, x, None, torch.ones(6, 2, 4, dtype=torch.float64), 2)
    assert_equal([module.weight_ih_l0.grad / 2], [expected[1]])


def test_a_weight_changed_before_the_backward_pass_is_noticed():
    module = network("gru", 3, 4)
    (part,) = rnnbench.truncated_bptt(module, doubled(6, 2, 3), None, mode="sliding", k=2)
    with torch.no_grad():
        module.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        part.output.sum().backward()


def test_a_faster_kernel_takes_the_place_of_the_reference(monkeypatch):
    calls = []

    def kernel(spec, layers, dy, steps, k):
        calls.append((spec.name, steps, k))
        return sliding.steps_back(spec, layers, dy, steps, k)

    monkeypatch.setitem(sliding.KERNELS, ("gru", "float64"), kernel)
    for cell in ("gru", "lstm"):
        slid(network(cell, 3, 4), doubled(6, 2, 3), None, doubled(4, 2, 4), 2, start=2)
    assert calls == [("gru-I3-H4-L1-D1-float64", range(2, 6), 2)]


def _without_layers_below(spec, layers, dy, steps, k):
    right = sliding.steps_back(spec, layers, dy, steps, k)
    return [part._replace(dh=torch.zeros_like(part.dh)) for part in right[:-1]] + right[-1:]


PLANTED = {
    "a step too many": lambda *args: sliding.steps_back(*args[:-1], args[-1] + 1),
    "a step too few": lambda *args: sliding.steps_back(*args[:-1], args[-1] - 1),
    "full BPTT": lambda *args: sliding.steps_back(*args[:-1], 100),
    "losses a step late": lambda spec, layers, dy, steps, k: sliding.steps_back(
        spec, layers, dy.roll(1, 0), steps, k
    ),
    "lower layers cut off": _without_layers_below,
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_in_a_kernel_is_seen(mistake, cell, monkeypatch):
    module = network(cell, 3, 4, num_layers=2)
    x, dy = doubled(12, 2, 3), doubled(12, 2, 4)
    expected = one_by_one(module, x, zero_state(module), dy, range(12), 4)
    assert_equal(slid(module, x, None, dy, 4), expected)
    monkeypatch.setitem(sliding.KERNELS, (cell, "float64"), PLANTED[mistake])
    with pytest.raises(AssertionError):
        assert_equal(slid(module, x, None, dy, 4), expected)


def test_second_derivatives_are_refused():
    module = network("gru", 3, 4)
    x = doubled(5, 1, 3).requires_grad_()
    (part,) = rnnbench.truncated_bptt(module, x, None, mode="sliding", k=2)
    with pytest.raises(UnsupportedError, match="no second derivatives"):
        torch.autograd.grad(part.output.sum(), x, create_graph=True)


def patched():
    module = nn.GRU(3, 4)
    module.forward = lambda x, state: (x, state)
    return module


class Subclassed(nn.GRU):
    def forward(self, x, state=None):
        return super().forward(2 * x, state)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.GRU(3, 4, bidirectional=True), "a bidirectional module can be run"),
        (Subclassed(3, 4), "derived by hand for RNN, GRU and LSTM .* got Subclassed"),
        (patched(), "derived by hand for RNN, GRU and LSTM"),
        (lambda x, state: (x, state), "got function. Mode 'k1_k2' with k1=1 and k2=k"),
    ],
)
def test_what_is_not_derived_is_refused(model, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        rnnbench.truncated_bptt(model, torch.zeros(5, 1, 3), None, mode="sliding", k=2)


@pytest.mark.parametrize(
    ("x", "state", "sentence"),
    [
        (torch.zeros(5, 1, 2), None, r"x must have shape \(T, B, 3\)"),
        (torch.zeros(5, 1, 3, dtype=torch.float64), None, "x must have dtype float32"),
        (torch.zeros(5, 1, 3), torch.zeros(1, 2, 4), r"h0 must have shape \(1, 1, 4\)"),
    ],
)
def test_wrong_tensors_are_named(x, state, sentence):
    with pytest.raises(InputError, match=sentence):
        list(rnnbench.truncated_bptt(nn.GRU(3, 4), x, state, mode="sliding", k=2))
