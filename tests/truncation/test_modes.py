"""What each mode cuts, what all of them have in common, and what people get wrong around them."""

from __future__ import annotations

import doctest
import itertools
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from truncation.brute import (
    assert_equal,
    doubled,
    network,
    one_by_one,
    parts,
)
from truncation.calls import CHUNKED, EVERY_MODE, gradients, problem

import rnnbench
from rnnbench import InputError
from rnnbench.truncation import modes

examples = settings(max_examples=25, deadline=None, derandomize=True)


def by_definition(model, x, dy, state, cut_of):
    """Each loss by itself, from the stored state after step ``cut_of(t)`` (−1: the initial one)."""
    total = None
    for t in range(len(x)):
        k = t - cut_of(t)
        if k > 0:  # else the loss is cut off from the network
            found = one_by_one(model, x, state, dy[t : t + 1], [t], k)[1:]
            total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
    return total


def test_example_of_the_docstring():
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(modes.truncated_bptt, "truncated_bptt", globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
    assert example.examples


@examples
@given(T=st.integers(1, 12), k=st.integers(1, 14))
def test_chunks_are_cut_at_their_beginning(cell, T, k):
    model, x, dy, state = problem(cell, T)
    got, output = gradients(model, x, dy, state, mode="chunks", k=k)
    assert_equal(got, by_definition(model, x, dy, state, lambda t: t // k * k - 1))
    assert_equal([output], [model(x, state)[0].detach()])  # whatever k is


@examples
@given(T=st.integers(1, 12), k1=st.integers(1, 6), k2=st.integers(1, 14))
def test_k1_k2_counts_each_loss_once(cell, T, k1, k2):
    model, x, dy, state = problem(cell, T)
    got, output = gradients(model, x, dy, state, mode="k1_k2", k1=k1, k2=k2)

    def cut(t):
        return max(0, min(T, (t // k1 + 1) * k1) - k2) - 1

    assert_equal(got, by_definition(model, x, dy, state, cut))
    assert_equal([output], [model(x, state)[0].detach()])


@examples
@given(T=st.integers(1, 10), k1=st.integers(1, 12), more=st.integers(0, 3))
def test_k2_of_the_whole_sequence_is_full_bptt(cell, T, k1, more):
    model, x, dy, state = problem(cell, T)
    expected, _ = gradients(model, x, dy, state, mode="full")
    got, _ = gradients(model, x, dy, state, mode="k1_k2", k1=k1, k2=T + more)
    assert_equal(got, expected)
    assert_equal(gradients(model, x, dy, state, mode="sliding", k=T + more)[0], expected)
    assert_equal(gradients(model, x, dy, state, mode="chunks", k=T + more)[0], expected)


@examples
@given(T=st.integers(1, 10))
def test_windows_of_one_step_are_the_detached_program(cell, T):
    """`detach()` at every step, written as people write it."""
    model, x, dy, state = problem(cell, T)
    loss, now = 0.0, state
    for x_t, dy_t in zip(x, dy, strict=True):
        y, now = model(x_t[None], now)
        now = tuple(part.detach() for part in now) if cell == "lstm" else now.detach()
        loss = loss + (y[0] * dy_t).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    for mode in ({"mode": "sliding", "k": 1}, {"mode": "chunks", "k": 1},
                 {"mode": "k1_k2", "k1": 1, "k2": 1}):  # fmt: skip
        assert_equal(gradients(model, x, dy, state, **mode)[0], expected)


@examples
@given(T=st.integers(1, 10), k=st.integers(1, 12))
def test_sliding_is_k1_of_one(cell, T, k):
    model, x, dy, state = problem(cell, T)
    expected, _ = gradients(model, x, dy, state, mode="k1_k2", k1=1, k2=k)
    assert_equal(gradients(model, x, dy, state, mode="sliding", k=k)[0], expected)


def well_known_recipe(model, x, dy, k1, k2):
    """k1 < k2 as it is often written: states are kept as leaves, and every k1 steps the gradient
    is handed from leaf to leaf through their ``.grad``, k2 − 1 times.
    """
    states = [(None, torch.zeros(1, x.shape[1], model.hidden_size, dtype=x.dtype))]
    for t, x_t in enumerate(x):
        leaf = states[-1][1].detach().requires_grad_()
        y, new = model(x_t[None], leaf)
        states.append((leaf, new))
        states = states[-k2 - 1 :]
        (y[0] * dy[t]).sum().backward(retain_graph=True)
        if (t + 1) % k1 == 0:
            for i in range(k2 - 1):
                if i + 2 > len(states) or states[-i - 2][0] is None:
                    break
                states[-i - 2][1].backward(states[-i - 1][0].grad, retain_graph=True)
    return [weight.grad for weight in model.parameters()]


def test_the_well_known_recipe_counts_twice_and_k1_k2_does_not():
    T, k1, k2 = 12, 2, 5
    model, x, dy, _ = problem("rnn_tanh", T, layers=1)
    state = torch.zeros(1, 2, 4, dtype=torch.float64)
    expected = by_definition(model, x, dy, state, lambda t: max(0, (t // k1 + 1) * k1 - k2) - 1)
    got, _ = gradients(model, x, dy, state, mode="k1_k2", k1=k1, k2=k2)
    assert_equal(got, expected)
    theirs = well_known_recipe(model, x, dy, k1, k2)
    worst = max(float((a - b).norm() / b.norm()) for a, b in zip(theirs, expected, strict=True))
    assert worst > 0.05
    model.zero_grad()
    assert_equal(  # where k1 = T it has nothing to count twice, and is right: it is that recipe
        well_known_recipe(model, x[:k2], dy[:k2], k2, k2),
        gradients(model, x[:k2], dy[:k2], state, mode="full")[0],
    )


@pytest.mark.parametrize("every", [1, 2])
def test_artbp_is_unbiased(cell, every, monkeypatch):
    """Σ over all ways to cut of their probability times their gradient is the full gradient."""
    T = 7
    model, x, dy, state = problem(cell, T)
    expected, output = gradients(model, x, dy, state, mode="full")
    places = (T - 1) // every
    total, certain = [torch.zeros_like(w) for w in expected], 0.0
    for cuts in itertools.product([False, True], repeat=places):
        way = iter(cuts)
        chance = 1.0

        def decide(p, generator, way=way):
            nonlocal chance
            cut = next(way)
            chance *= p if cut else 1 - p
            return cut

        monkeypatch.setattr(modes, "_cut_here", decide)
        found, own = gradients(model, x, dy, state, mode="artbp", k=4, every=every)
        assert_equal([own], [output])
        total = [a + chance * b for a, b in zip(total, found, strict=True)]
        certain += chance
    assert abs(certain - 1) < 1e-12
    assert_equal(total, expected)


def test_artbp_over_seeds_approaches_full_bptt_and_its_chunks_the_mean_length():
    model, x, dy, state = problem("gru", 12, layers=1)
    expected, _ = gradients(model, x, dy, state, mode="full")
    draws = []
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        found, _ = gradients(model, x, dy, state, mode="artbp", k=5, generator=generator)
        draws.append(torch.cat([g.flatten() for g in found]))
    draws = torch.stack(draws)
    error = draws.mean(0) - torch.cat([g.flatten() for g in expected])
    spread = draws.std(0) / len(draws) ** 0.5
    assert float((error / spread).abs().max()) < 5
    biased, _ = gradients(model, x, dy, state, mode="chunks", k=5)
    bias = torch.cat([g.flatten() for g in biased]) - torch.cat([g.flatten() for g in expected])
    assert float((bias / spread).abs().max()) > 10  # and truncation's bias would be seen


@pytest.mark.parametrize("every", [1, 3])
def test_artbp_chunks_have_the_mean_length_asked_for(every):
    def model(x, state):
        return x, state

    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(40_000, 1)
    found = rnnbench.truncated_bptt(model, x, mode="artbp", k=9, every=every, generator=generator)
    lengths = [len(part.steps) for part in found]
    assert abs(sum(lengths) / len(lengths) - 9) < 0.6


class Pair(NamedTuple):
    fast: torch.Tensor
    slow: dict


class Nested(nn.Module):
    """A cell whose state is a named tuple of a tensor and a dict of a list."""

    def __init__(self):
        super().__init__()
        self.cell, self.mix = nn.GRUCell(3, 4), nn.Linear(4, 4)

    def forward(self, x, state):
        fast = self.cell(x, state.fast)
        slow = 0.9 * state.slow["memory"][0] + torch.tanh(self.mix(fast))
        return fast + slow, Pair(fast, {"memory": [slow]})


@pytest.mark.parametrize("mode", CHUNKED)
def test_states_may_be_nested(mode):
    torch.manual_seed(0)
    model, x, dy = Nested().double(), doubled(9, 2, 3), doubled(9, 2, 4)
    state = Pair(doubled(2, 4), {"memory": [doubled(2, 4)]})
    with torch.no_grad():
        now, expected = state, []
        for x_t in x:
            y, now = model(x_t, now)
            expected.append(y)
    options = CHUNKED[mode] | {"per_step": True}
    got, output = gradients(model, x, dy, state, mode=mode, **options)
    assert_equal([output], [torch.stack(expected)])
    assert all(float(g.abs().sum()) > 0 for g in got)
    *_, last = rnnbench.truncated_bptt(model, x, state, mode=mode, **options)
    assert isinstance(last.state, Pair)
    assert_equal([last.state.fast, *last.state.slow["memory"]], [now.fast, *now.slow["memory"]])
    assert not last.state.fast.requires_grad


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_a_stream_in_batches_is_the_stream(mode, cell):
    """The state that a part hands on is that after its last step, and carries no graph."""
    model, x, _, state = problem(cell, 11)
    whole, now = model(x, state)[0].detach(), state
    outputs = []
    for piece in x.split(4):
        for part in rnnbench.truncated_bptt(model, piece, now, mode=mode, **EVERY_MODE[mode]):
            outputs.append(part.output.detach())
        now = part.state
        assert not any(p.requires_grad for p in parts(now))
    assert_equal([torch.cat(outputs)], [whole])
    assert_equal(parts(now), [p.detach() for p in parts(model(x, state)[1])])


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_mixed_lengths_are_each_sequence_by_itself(mode, cell, monkeypatch):
    """Outputs, states, losses and gradients; a sequence of no steps keeps its state."""
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: False)
    model, x, dy, state = problem(cell, 9, B=4)
    lengths = [9, 4, 0, 7]
    options = {"mode": mode} | EVERY_MODE[mode]
    weights = list(model.parameters())
    got, mean = [torch.zeros_like(w) for w in weights], 0.0
    for part in rnnbench.truncated_bptt(model, x, state, lengths=lengths, **options):
        assert not part.output[~part.mask].any()
        loss = part.mean((part.output * dy[part.slice]).sum(2), over="sequence")
        mean += float(loss.detach())
        got = [a + b for a, b in zip(got, torch.autograd.grad(loss, weights), strict=True)]
    final = parts(part.state)
    assert_equal([p[:, 2] for p in final], [p[:, 2] for p in parts(state)])
    total, losses = [torch.zeros_like(w) for w in weights], 0.0
    for b, n in enumerate(lengths):
        if n == 0:
            continue
        alone = tuple(p[:, b : b + 1] for p in parts(state))
        alone = alone if cell == "lstm" else alone[0]
        y, after = model(x[:n, b : b + 1], alone)
        losses += float((y * dy[:n, b : b + 1]).sum().detach())
        assert_equal([p[:, b] for p in final], [p[:, 0].detach() for p in parts(after)])
        found, _ = gradients(model, x[:n, b : b + 1], dy[:n, b : b + 1], alone, **options)
        total = [a + c for a, c in zip(total, found, strict=True)]
    assert abs(mean - losses / sum(lengths)) < 1e-12
    if mode != "k1_k2":  # alone, a sequence's last part ends, and is cut, where it does
        assert_equal(got, [g / sum(lengths) for g in total])


@pytest.mark.parametrize(
    "options",
    [*({"mode": mode} | EVERY_MODE[mode] for mode in EVERY_MODE),
     {"mode": "full", "checkpoint": True}],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["time first", "batch first", "cell"])
def test_what_stands_in_the_padding_changes_nothing(options, layout, cell, monkeypatch):
    """NaN and infinity too: not the outputs, nor the gradients of the weights and of x."""
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: False)
    model = network(cell, 3, 4, num_layers=2, batch_first=layout == "batch first")
    if layout == "cell":
        kind = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}.get(cell, nn.RNNCell)
        model = kind(3, 4).double()
    x, lengths = doubled(9, 3, 3), torch.tensor([4, 9, 0])
    padding = torch.arange(9)[:, None] >= lengths
    found = []
    for filling in (0.0, float("nan"), float("inf")):
        filled = torch.where(padding[..., None], filling, x)
        leaf = (filled.transpose(0, 1) if layout == "batch first" else filled).requires_grad_()
        model.zero_grad()
        outputs = []
        for part in rnnbench.truncated_bptt(model, leaf, lengths=lengths, **options):
            part.mean(part.output.square(), over="sequence").backward()
            outputs.append(part.output.detach().sum())
        found.append([*outputs, leaf.grad, *(w.grad.clone() for w in model.parameters())])
    assert all(torch.isfinite(tensor).all() for tensor in found[0])
    assert_equal(found[1], found[0])
    assert_equal(found[2], found[0])


def test_padding_in_one_row_of_scalars_is_taken_out():
    x = torch.tensor([1.0, 2.0, float("nan")])
    parts_ = rnnbench.truncated_bptt(
        lambda x, state: (3 * x, state), x, torch.zeros(1, 1), mode="chunks", k=2, lengths=[2]
    )
    assert [part.output.tolist() for part in parts_] == [[3.0, 6.0], [0.0]]


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_reset_rows_begin_from_zero(mode, cell):
    model, x, _, state = problem(cell, 5, B=3)
    reset = torch.tensor([False, True, False])
    options = {"mode": mode} | EVERY_MODE[mode]
    found = [part.output.detach() for part in rnnbench.truncated_bptt(
        model, x, state, reset=reset, **options)]  # fmt: skip
    expected = model(x, state)[0].detach()
    expected[:, 1] = model(x[:, 1:2])[0][:, 0].detach()
    assert_equal([torch.cat(found)], [expected])


@pytest.mark.parametrize("mode", CHUNKED)
def test_an_initial_state_can_be_learned(mode, monkeypatch):
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: True)
    model, x, dy, state = problem("gru", 6)
    reached = {"chunks": 3, "k1_k2": 4, "full": 6, "artbp": 1}[mode]  # losses that reach s_{-1}
    state = state.requires_grad_()
    expected = torch.autograd.grad((model(x, state)[0] * dy)[:reached].sum(), state)
    given = 2 * (state / 2)  # not a leaf: the graph that made it is gone through too
    for part in rnnbench.truncated_bptt(
        model, x, given, mode=mode, learn_state=True, **CHUNKED[mode]
    ):
        (part.output * dy[part.slice]).sum().backward(retain_graph=True)
    assert_equal([state.grad], expected)
    for part in rnnbench.truncated_bptt(model, x, given, mode=mode, **CHUNKED[mode]):
        part.output.sum().backward()
    assert_equal([state.grad], expected)  # without learn_state it gets nothing


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_batch_first_is_the_transposed_call(mode, monkeypatch):
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: False)
    model, x, _, state = problem("lstm", 7)
    turned = network("lstm", 3, 4, num_layers=2, batch_first=True)
    options = {"mode": mode, "lengths": [7, 5]} | EVERY_MODE[mode]
    ours = rnnbench.truncated_bptt(turned, x.transpose(0, 1), state, **options)
    for got, part in zip(ours, rnnbench.truncated_bptt(model, x, state, **options), strict=True):
        assert_equal([got.output.transpose(0, 1), *got.state], [part.output, *part.state])
        assert torch.equal(got.mask.T, part.mask)
        losses = part.output.square()
        assert_equal([got.mean(losses.transpose(0, 1))], [part.mean(losses)])


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_the_loop_trains(mode):
    """An optimiser step after each part, clipped: the loss of a task within reach falls."""
    torch.manual_seed(0)
    rnn, head = nn.GRU(2, 16), nn.Linear(16, 2)
    weights = [*rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.03)
    x = torch.randn(30, 8, 2)
    target = torch.cat([torch.zeros(1, 8, 2), x[:-1]])  # what was seen a step ago

    def loss_of_all():
        with torch.no_grad():
            return float((head(rnn(x)[0]) - target).square().mean())

    before = loss_of_all()
    for _ in range(25):
        for part in rnnbench.truncated_bptt(rnn, x, mode=mode, **EVERY_MODE[mode]):
            loss = part.mean((head(part.output) - target[part.slice]) ** 2)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
    assert loss_of_all() < 0.8 * before


def test_parts_share_the_mean_of_the_sequence():
    """A short last part and the padding weigh what their steps weigh."""
    model, x, _, _ = problem("gru", 10)
    lengths = [10, 4]
    expected = torch.cat([model(x)[0][:10, 0], model(x)[0][:4, 1]]).mean()
    found = rnnbench.truncated_bptt(model, x, mode="chunks", k=4, lengths=lengths)
    parts_ = list(found)
    assert [part.count for part in parts_] == [8, 4, 2]
    assert_equal([sum(part.mean(part.output, over="sequence") for part in parts_)], [expected])
    assert_equal([parts_[1].mean(part_losses(parts_[1]))], [part_losses(parts_[1])[:, 0].mean()])


def part_losses(part):
    return part.output.sum(2)


@pytest.mark.parametrize(
    ("losses", "options", "sentence"),
    [
        (torch.tensor(1.0), {}, r"one for each of 4 steps and 2 rows; got shape \(\)"),
        (torch.zeros(3, 2), {}, "one for each of 4 steps and 2 rows"),
        (torch.zeros(2, 4), {}, r"4 steps and 2 rows; got shape \(2, 4\)"),
        (torch.zeros(8), {}, r"4 steps and 2 rows; got shape \(8,\)"),
        ([1.0, 2.0], {}, "losses must be a torch.Tensor; got list"),
        (torch.zeros(4, 2), {"over": "batch"}, "over must be 'part' or 'sequence'; got 'batch'"),
    ],
)
def test_a_loss_that_is_no_loss_of_each_step_is_refused(losses, options, sentence):
    model, x, _, _ = problem("gru", 4)
    for lengths in (None, [4, 2]):
        (part,) = rnnbench.truncated_bptt(model, x, mode="full", lengths=lengths)
        with pytest.raises(InputError, match=sentence):
            part.mean(losses, **options)


@pytest.mark.parametrize(("batch_first", "shape"), [(False, (4, 1)), (True, (1, 4)), (None, (4,))])
def test_the_mean_takes_the_losses_of_every_layout(batch_first, shape):
    """Time first, batch first and unbatched, of one row and with more dimensions."""
    model = network("gru", 3, 5, batch_first=bool(batch_first))
    (part,) = rnnbench.truncated_bptt(model, doubled(*shape, 3), mode="full")
    for losses in (doubled(*shape), doubled(*shape, 5)):
        assert_equal([part.mean(losses)], [losses.mean()])
