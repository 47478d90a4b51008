"""What must hold of any recurrent network, whatever computes it: each backend against itself."""

from __future__ import annotations

import pytest
import torch
from contract.modules import assert_same, make
from hypothesis import given, settings
from hypothesis import strategies as st
from support import sizes, skip_what_jax_compiles, trains
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

import rnnbench

examples = settings(max_examples=12, deadline=None, derandomize=True)
steps = st.integers(1, 12)
batches = st.integers(1, 4)
layers = st.integers(1, 3)
flags = st.booleans()


def network(backend, kind, **options):
    """A network of known weights; they are frozen for a backend without gradients."""
    skip_what_jax_compiles(backend, "each example is another shape to compile")
    torch.manual_seed(0)
    hidden, _ = sizes(backend, 4)
    module = make(rnnbench, kind, 3, hidden, backend=backend, **options)
    return module.requires_grad_(trains(backend))


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


@examples
@given(T=steps, L=layers, both=flags)
def test_unbatched_is_a_batch_of_one(backend, kind, T, L, both):
    module = network(backend, kind, num_layers=L, bidirectional=both)
    x = torch.randn(T, 3)
    y, state = module(x)
    batched, batched_state = module(x[:, None])
    assert_same(y, batched[:, 0])
    assert_same(parts(state), [part[:, 0] for part in parts(batched_state)])


@examples
@given(T=steps, B=batches, L=layers, both=flags)
def test_batch_first_is_the_transposed_call(backend, kind, T, B, L, both):
    options = {"num_layers": L, "bidirectional": both}
    x = torch.randn(T, B, 3)
    y, state = network(backend, kind, **options)(x)
    turned, turned_state = network(backend, kind, batch_first=True, **options)(x.transpose(0, 1))
    assert_same(turned.transpose(0, 1), y)
    assert_same(parts(turned_state), parts(state))


@examples
@given(lengths=st.lists(steps, min_size=1, max_size=4), L=layers, both=flags)
def test_packed_is_one_sequence_at_a_time(backend, kind, lengths, L, both):
    module = network(backend, kind, num_layers=L, bidirectional=both)
    sequences = [torch.randn(n, 3) for n in lengths]
    packed, state = module(pack_sequence(sequences, enforce_sorted=False))
    for b, (sequence, y) in enumerate(zip(sequences, unpack_sequence(packed), strict=True)):
        alone, alone_state = module(sequence)
        assert_same(y, alone)
        assert_same([part[:, b] for part in parts(state)], parts(alone_state))


@examples
@given(T=steps, B=batches, bias=flags)
def test_bidirectional_is_two_single_directions(backend, kind, T, B, bias):
    module = network(backend, kind, bidirectional=True, bias=bias)
    own = module.state_dict()
    x = torch.randn(T, B, 3)
    y, state = module(x)
    for direction, suffix in enumerate(("", "_reverse")):
        single = network(backend, kind, bias=bias)
        single.load_state_dict({n: own[n + suffix] for n in single.state_dict()})
        alone, alone_state = single(x.flip(0) if direction else x)
        columns = y.chunk(2, dim=2)[direction]
        assert_same(columns, alone.flip(0) if direction else alone)
        assert_same([p[direction] for p in parts(state)], [p[0] for p in parts(alone_state)])


@examples
@given(T=steps, B=batches, L=st.integers(2, 3), both=flags)
def test_a_stack_is_its_layers_in_a_row(backend, kind, T, B, L, both):
    module = network(backend, kind, num_layers=L, bidirectional=both)
    own = module.state_dict()
    x = torch.randn(T, B, 3)
    y, state = module(x)
    D = 1 + both
    for k in range(L):
        torch.manual_seed(0)
        layer = make(
            rnnbench, kind, x.shape[2], module.hidden_size, bidirectional=both, backend=backend
        )
        layer.requires_grad_(trains(backend))
        layer.load_state_dict({n: own[n.replace("_l0", f"_l{k}")] for n in layer.state_dict()})
        x, layer_state = layer(x)
        assert_same([p[D * k : D * k + D] for p in parts(state)], parts(layer_state))
    assert_same(y, x)


@examples
@given(T=st.integers(2, 12), cut=st.integers(1, 11), B=batches, L=layers)
def test_the_state_carries_a_sequence_on(backend, kind, T, cut, B, L):
    cut = min(cut, T - 1)
    module = network(backend, kind, num_layers=L)
    x = torch.randn(T, B, 3)
    y, state = module(x)
    first, middle = module(x[:cut])
    second, last = module(x[cut:], middle)
    assert_same(torch.cat([first, second]), y)
    assert_same(parts(last), parts(state))


def held(call):
    """Result of a call and the bytes that torch's allocator still holds for it afterwards."""
    with torch.profiler.profile(profile_memory=True) as recording:
        result = call()
    return result, sum(event.self_cpu_memory_usage for event in recording.events())


def test_memory_is_kept_for_gradients_and_only_for_them(backend, kind):
    """Without gradients a call leaves its results alone; with them the gates of all steps, which
    the backward pass gives back.
    """
    if backend in ("compile", "jax"):
        pytest.skip("allocates past the profiler; test_autograd counts what it saves")
    if not trains(backend):
        pytest.skip("has no gradients to keep anything for")
    module = network(backend, kind, num_layers=2)
    T, B = 50, 16
    x = torch.randn(T, B, 3)
    results = 4 * B * 4 * (T + 4)  # output and final states, float32
    with torch.no_grad():
        module(x)  # compiling, pools and the like are not a call's own
        _, inference = held(lambda: module(x))
    (y, _), training = held(lambda: module(x))
    _, given_back = held(lambda: y.sum().backward())
    assert inference < 1.5 * results
    assert training > 1.5 * inference
    assert training + given_back < 2 * results
