"""Full BPTT with recomputation: the same gradient out of less memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from truncation.brute import assert_equal, doubled, network, parts, state_of

import rnnbench
from rnnbench import InputError
from rnnbench.truncation import checkpointed

T, B, H = 144, 32, 16
SEGMENT = 12  # √T


def saved_bytes(call):
    """The result of a call, and the bytes of the storages that its graph keeps."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    return result, sum(storages.values())


def gradients_of(model, x, state, call):
    """Output, final state and gradients of x, state and weights."""
    x = x.detach().requires_grad_()
    leaves = [part.detach().requires_grad_() for part in parts(state)]
    y, final = call(x, tuple(leaves) if len(leaves) > 1 else leaves[0])
    loss = y.square().sum() + sum(part.sum() for part in parts(final))
    return [y, *parts(final), *torch.autograd.grad(loss, [x, *leaves, *model.parameters()])]


@pytest.mark.parametrize("backend", ["manual", "native"])
@pytest.mark.parametrize("every", [None, 1, 7, 50])
def test_the_gradient_is_unchanged(backend, every):
    model = rnnbench.LSTM(3, 4, 2, backend=backend).double()
    x, state = doubled(30, 2, 3), state_of(model, 2)
    expected = gradients_of(model, x, state, model)
    got = gradients_of(model, x, state, lambda x, s: checkpointed(model, x, s, every=every))
    assert_equal(got, expected)


@pytest.mark.parametrize("Module", [nn.RNN, nn.GRU, nn.LSTM])
def test_what_the_graph_keeps_grows_like_the_root_of_the_steps(Module):
    """States at the checkpoints, against all gates of all steps."""
    model = Module(H, H)
    x = torch.randn(T, B, H)
    _, plain = saved_bytes(lambda: model(x))
    _, kept = saved_bytes(lambda: checkpointed(model, x))
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[Module]
    state, weights = 4 * B * H, sum(4 * w.numel() for w in model.parameters())
    results = 4 * T * B * H  # x itself, which the pieces begin from
    assert plain > (1 + gates) * T * state
    assert kept < results + weights + 4 * (T // SEGMENT) * state
    piece = x[:SEGMENT]
    _, one = saved_bytes(lambda: model(piece))  # what is there while a piece is run again
    assert kept + one < 0.6 * plain


def test_memory_really_allocated_is_less():
    """By torch's allocator: what a call holds beside its output until the backward pass."""
    model, x = nn.GRU(H, H), torch.randn(T, B, H)

    def held(call):
        with torch.profiler.profile(profile_memory=True) as recording:
            result = call()
        return result, sum(event.self_cpu_memory_usage for event in recording.events())

    _, plain = held(lambda: model(x))
    _, kept = held(lambda: checkpointed(model, x))
    output = 4 * T * B * H
    assert kept - output < 0.2 * (plain - output)


def test_dropout_draws_the_same_masks_again():
    """The gradient is that of the very masks of the forward pass: finite differences see them."""
    model = network("gru", 3, 4, num_layers=3, dropout=0.5)
    x = doubled(16, 2, 3)

    def loss(x):
        torch.manual_seed(5)
        (part,) = rnnbench.truncated_bptt(model, x, mode="full", checkpoint=True)
        return part.output.square().sum()

    leaf = x.clone().requires_grad_()
    value = loss(leaf)
    torch.manual_seed(99)  # what runs between forward and backward does not matter
    (gradient,) = torch.autograd.grad(value, leaf)
    direction = doubled(16, 2, 3)
    step = 1e-6
    numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    assert abs(float(numeric.detach() - (gradient * direction).sum())) < 1e-6


def test_any_model_and_mixed_lengths(cell):
    model = network(cell, 3, 4, num_layers=2)
    x, lengths = doubled(17, 3, 3), [17, 0, 6]
    found = []
    for checkpoint in (False, True):
        model.zero_grad()
        (part,) = rnnbench.truncated_bptt(
            model, x, mode="full", checkpoint=checkpoint, lengths=lengths
        )
        part.mean(part.output.square()).backward()
        found.append([part.output, *parts(part.state), *(w.grad for w in model.parameters())])
    assert_equal(*found)
    step = nn.GRUCell(3, 4).double()
    assert_equal([checkpointed(step, x)[1]], [checkpointed(step, x, every=17)[1]])


def test_wrong_arguments_are_refused():
    x = torch.zeros(5, 1, 3)
    with pytest.raises(InputError, match="must have one direction to be cut into pieces"):
        checkpointed(nn.GRU(3, 4, bidirectional=True), x)
    with pytest.raises(InputError, match="every must be an int of at least 1; got 0"):
        checkpointed(nn.GRU(3, 4), x, every=0)


def packed(module):
    return pack_padded_sequence(
        doubled(3, 20, 3) if module.batch_first else doubled(20, 3, 3), [7, 20, 11],
        module.batch_first, enforce_sorted=False,
    )  # fmt: skip


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("form", ["dense", "packed", "unbatched"])
@pytest.mark.parametrize("given", [False, True])
def test_a_module_with_checkpoints_is_the_module_without(cell, batch_first, form, given):
    plain = getattr(rnnbench, cell)(3, 4, 2, batch_first=batch_first, backend="numba").double()
    sparing = getattr(rnnbench, cell)(
        3, 4, 2, batch_first=batch_first, backend="numba", checkpoint=True
    ).double()
    sparing.load_state_dict(plain.state_dict())
    x = {"dense": doubled(3, 20, 3), "packed": packed(plain), "unbatched": doubled(20, 3)}[form]
    state = None
    if given:
        B = {"dense": 20 if not batch_first else 3, "packed": 3, "unbatched": 1}[form]
        state = state_of(plain, B)
        if form == "unbatched":
            state = tuple(p[:, 0] for p in state) if cell == "LSTM" else state[:, 0]
    found = []
    for module in (plain, sparing):
        y, final = module(x, state)
        y = y.data if isinstance(y, PackedSequence) else y
        results = [y, *parts(final)]
        loss = sum(result.square().sum() for result in results)
        found.append([*results, *torch.autograd.grad(loss, list(module.parameters()))])
    assert_equal(found[1], found[0])


def test_a_module_with_checkpoints_keeps_less():
    x = torch.randn(T, B, H)
    plain = rnnbench.LSTM(H, H, backend="numba")
    sparing = rnnbench.LSTM(H, H, backend="numba", checkpoint=True)
    _, all_of_it = saved_bytes(lambda: plain(x))
    _, kept = saved_bytes(lambda: sparing(x))
    assert kept < all_of_it / 3


def test_checkpoint_must_be_a_bool_and_one_direction():
    with pytest.raises(InputError, match="checkpoint must be a bool; got 12"):
        rnnbench.GRU(3, 4, checkpoint=12)
    with pytest.raises(InputError, match="checkpoint must be False for a bidirectional"):
        rnnbench.GRU(3, 4, bidirectional=True, checkpoint=True)
