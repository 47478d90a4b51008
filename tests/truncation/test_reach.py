"""`reach` tells each program, Q2's attempts and our own modes, how far back its losses reach."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn
from truncation import attempts
from truncation.brute import assert_equal, doubled, network

import rnnbench
from rnnbench import InputError
from rnnbench.truncation import modes, reach, reaching

N, K = 14, 4
LOSSES = range(K - 1, N)


def counted(kind):
    """A cell of that kind, and a list that grows with each call of it."""
    torch.manual_seed(0)
    cell, calls = kind(3, 5).double(), []
    cell.register_forward_hook(lambda *_: calls.append(1))
    return cell, calls


def measured(attempt, kind=nn.GRUCell):
    cell, calls = counted(kind)
    found = reach(lambda x: attempt(cell, x, K), doubled(N, 2, 3))
    assert [loss.step for loss in found.losses] == list(LOSSES)
    return found, len(calls)


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize(
    ("attempt", "kind_of_reach", "lengths", "said"),
    [
        (attempts.one_graph, "full", [t + 1 for t in LOSSES], "nothing is cut off"),
        (attempts.detach_every_step, "window", [1] * len(LOSSES), "reaches back 1 step, its own"),
        (attempts.deque_of_states, "full", [t + 1 for t in LOSSES], "nothing is cut off"),
        (attempts.run_again, "window", [K] * len(LOSSES), "reaches back 4 steps, its own"),
        (attempts.detach_every_k, "chunks", [t % K + 1 for t in LOSSES], "a loss sees 1 to 4"),
    ],
)
def test_each_attempt_is_told_how_far_it_reaches(attempt, kind_of_reach, lengths, said, kind):
    found, _ = measured(attempt, kind)
    assert found.lengths == lengths
    assert found.kind == kind_of_reach
    assert said in str(found)


ALL = list(range(N))


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize(
    ("cut", "kind_of_reach", "steps", "lengths", "said"),
    [
        (lambda t: False, "full", [N - 1], [N], "1 loss; full BPTT: nothing is cut off"),
        (
            lambda t: True, "window", list(LOSSES), [1] * len(LOSSES),
            "1 loss over 11 steps, taken apart; a sliding window: every loss reaches back 1 step,",
        ),
        (
            lambda t: t % K == 0, "chunks", ALL, [t % K + 1 for t in ALL],
            "1 loss over 14 steps, taken apart; chunks of 4 steps: a loss sees 1 to 4,",
        ),
        (
            lambda t: t == 6, "mixed", ALL, [t + 1 if t < 6 else t - 5 for t in ALL],
            "no one rule: losses reach back 1 to 8 steps",
        ),
    ],
)  # fmt: skip
def test_a_sum_of_losses_is_taken_apart(cut, kind_of_reach, steps, lengths, said, kind):
    cell, _ = counted(kind)
    found = reach(lambda x: attempts.total(cell, x, K, cut), doubled(N, 2, 3))
    assert [term[-1] for term in found.terms] == steps
    assert found.lengths == lengths
    assert found.kind == kind_of_reach
    assert said in str(found)


def test_a_sum_in_each_chunk_is_no_sliding_window():
    model = network("gru", 3, 4)

    def program(x):
        for part in rnnbench.truncated_bptt(model, x, mode="chunks", k=K):
            yield part.mean(part.output.square())

    found = reach(program, doubled(N, 2, 3))
    assert (found.kind, found.lengths) == ("chunks", [4, 4, 4, 2])
    assert "4 losses; chunks of 4 steps" in str(found)


@pytest.mark.parametrize("times", [1, 2])
def test_what_cannot_be_taken_apart_is_not_called_full(times):
    """Without a second derivative: the windows' own backward pass, and ReLUs with a sum."""
    gru, relu = network("gru", 3, 4), network("rnn_relu", 3, 8)

    def windows(x):
        for _ in range(times):
            (part,) = rnnbench.truncated_bptt(gru, x, mode="sliding", k=K)
            yield part.mean(part.output)

    for program in (windows, lambda x: [relu(x)[0].sum()] * times):
        found = reach(program, doubled(N, 2, 3))
        assert found.kind == "unknown"
        assert "14 steps are reached, but whether by a sum of losses" in str(found)


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
def test_the_loss_of_a_step_stays_whole_where_its_derivative_vanishes(kind):
    """In float32 it does so within these steps; the second derivative is not to do so before."""
    torch.manual_seed(0)
    cell, steps = kind(3, 8), 260 if kind is nn.GRUCell else 150
    with torch.no_grad():
        cell.weight_hh.mul_(0.6)
    x = torch.randn(steps, 2, 3)

    def program(x):
        h = attempts.start(cell, x)
        for t, x_t in enumerate(x):
            h = cell(x_t, h)
            if t % 25 == 24:
                yield attempts.loss_of(h)

    found = reach(program, x)
    assert found.losses[-1].first > 0
    assert [len(loss.terms) for loss in found.losses] == [1] * len(found.losses)


def test_a_loss_taken_apart_leaves_the_random_numbers_alone():
    cell, _ = counted(nn.GRUCell)
    x = doubled(N, 2, 3)
    torch.manual_seed(1)
    expected = torch.rand(())
    torch.manual_seed(1)
    reach(lambda x: attempts.total(cell, x, K, lambda t: True), x)
    assert torch.equal(torch.rand(()), expected)


def test_running_again_is_right_for_k_times_the_work_and_sliding_for_one_pass():
    """Attempt 4 has the gradient that was asked for, and so has "sliding", from one call."""
    _, work = measured(attempts.run_again)
    assert work == K * len(LOSSES)
    cell, _ = counted(nn.GRUCell)
    x = doubled(N, 2, 3)
    for _loss in attempts.run_again(cell, x, K):
        pass
    expected = [weight.grad.clone() for weight in cell.parameters()]
    cell.zero_grad()
    (part,) = rnnbench.truncated_bptt(cell, x, mode="sliding", k=K, start=K - 1)
    part.output.square().sum().backward()
    assert_equal([weight.grad for weight in cell.parameters()], expected)


@pytest.mark.parametrize(
    ("options", "kind", "lengths"),
    [
        ({"mode": "full"}, "full", [t + 1 for t in range(N)]),
        ({"mode": "full", "checkpoint": True}, "full", [t + 1 for t in range(N)]),
        ({"mode": "chunks", "k": K}, "chunks", [t % K + 1 for t in range(N)]),
        ({"mode": "sliding", "k": K}, "window", [min(t + 1, K) for t in range(N)]),
        ({"mode": "sliding", "k": K, "start": 3, "stride": 2}, "window", [K] * 6),
        ({"mode": "k1_k2", "k1": 1, "k2": K}, "window", [min(t + 1, K) for t in range(N)]),
        ({"mode": "k1_k2", "k1": 2, "k2": K}, "mixed", [1, 2] + [3, 4] * 6),
        ({"mode": "k1_k2", "k1": 7, "k2": 3}, "mixed", [0, 0, 0, 0, 1, 2, 3] * 2),
        ({"mode": "artbp", "k": K, "every": 2}, "mixed", [t + 1 for t in range(N)]),
    ],
)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])  # a dead ReLU reaches nothing
def test_the_modes_reach_as_documented(options, kind, lengths, cell, monkeypatch):
    ways = iter([False, True, True, False, False, True])
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: next(ways))
    if options["mode"] == "artbp":  # cuts after 4, 6 and 12 steps
        lengths = [1, 2, 3, 4, 1, 2, 1, 2, 3, 4, 5, 6, 1, 2]
    model = network(cell, 3, 4, num_layers=2)

    def program(x):
        for part in rnnbench.truncated_bptt(model, x, **options):
            yield from part.output.sum((1, 2))

    found = reach(program, doubled(N, 2, 3))
    assert found.lengths == lengths
    assert found.kind == kind


def test_example_of_the_docstring():
    result = doctest.testmod(reaching, extraglobs={"rnnbench": rnnbench})
    assert result.attempted
    assert not result.failed


def test_norms_are_the_derivatives_and_vanish_with_the_lag():
    torch.manual_seed(0)
    cell = nn.RNNCell(3, 4).double()
    x = doubled(6, 1, 3)
    found = reach(lambda x: attempts.one_graph(cell, x, 6), x, axis=0)
    leaf = x.clone().requires_grad_()
    h = attempts.start(cell, leaf)
    for x_t in leaf:
        h = cell(x_t, h)
    (gradient,) = torch.autograd.grad(attempts.loss_of(h), leaf)
    assert_equal([found.losses[0].norms], [gradient.abs().sum((1, 2))])


def test_what_reaches_nothing_is_said():
    head = nn.Linear(3, 1)
    found = reach(lambda x: [head(x_t.detach()).sum() for x_t in x], torch.randn(5, 3))
    assert (found.kind, found.lengths) == ("none", [0] * 5)
    assert "nothing is reached" in str(found)
    assert "5 losses reach no step" in str(found)


@pytest.mark.parametrize(
    ("program", "x", "sentence"),
    [
        (lambda x: [x], torch.zeros(3, 2), r"must yield scalar losses, .* got \(3, 2\)"),
        (lambda x: [1.0], torch.zeros(3, 2), "must yield scalar losses, .* got float"),
        (lambda x: [], torch.zeros(3, 2), "at least one loss"),
        (lambda x: [x.sum()], torch.zeros(3, 2).long(), "floating-point tensor; got torch.int64"),
        (lambda x: None, torch.zeros(3, 2), "program must yield its losses, .* returned NoneType"),
        (lambda x: x.sum(), torch.zeros(3, 2), "program must yield its losses, .* returned Tensor"),
        (3, torch.zeros(3, 2), "program must be callable with x; got int"),
    ],
)
def test_wrong_programs_are_refused(program, x, sentence):
    with pytest.raises(InputError, match=sentence):
        reach(program, x)


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        (-1, "axis must be an int of at least 0; got -1"),
        (2, "axis must be a dimension of x; got 2"),
    ],
)
def test_wrong_axes_are_refused(axis, sentence):
    with pytest.raises(InputError, match=sentence):
        reach(lambda x: [x.sum()], torch.zeros(3, 2), axis=axis)
