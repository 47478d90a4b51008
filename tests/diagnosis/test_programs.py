"""Programs as people post them: what is said of each, and of how many."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
import torch
from diagnosis.programs.table import programs, verdict
from torch import nn

import rnnbench
from rnnbench import InputError, Spec

FULL = os.environ.get("RNNBENCH_PROFILE") == "full"
ALL = programs()
CHOSEN = ALL if FULL else ALL[::4]
GOOD = {"right", "caused", "unknown"}


@pytest.mark.parametrize("program", CHOSEN, ids=lambda program: program[0])
def test_each_program_gets_its_answer(program):
    _, candidate, options, causes = program
    word, found = verdict(candidate, options, causes)
    assert word in GOOD, found


def test_there_are_more_than_sixty_programs_in_many_kinds():
    assert len(ALL) >= 100
    assert len({name for name, *_ in ALL}) == len(ALL)
    kinds = Counter("wrong" if causes else "right" for *_, causes in ALL)
    assert min(kinds.values()) >= 30


def named(name):
    return next((c, o) for n, c, o, _ in ALL if n == name)


def test_a_function_written_out_for_three_steps_is_asked_these_alone():
    candidate, options = named("unrolled_three")
    right = rnnbench.diagnose(candidate, **options)
    assert right.passed
    assert "it takes sequences of 3 steps only: asked these alone" in right.notes
    candidate, options = named("unrolled_gradient_three")
    wrong = rnnbench.diagnose(candidate, **options)
    assert wrong.cause == "jacobians_not_chained"


def test_own_numbers_come_first_and_stand_alone():
    """Right causes for x given, though other lengths do not give the same."""

    def two_ways(x, state, weights):
        h, ys = state[0][0], []
        bias = weights["bias_ih_l0"] + (weights["bias_hh_l0"] if len(x) != 6 else 0.0)
        for x_t in x * (1.001 if len(x) != 6 else 1.0):
            h = torch.tanh(x_t @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T + bias)
            ys.append(h)
        return torch.stack(ys), h[None]

    found = rnnbench.diagnose(two_ways, spec=Spec("rnn_tanh", 1, 2), x=[[0.5]] * 6)
    assert found.cause == "bias_hh_missing"
    assert any("the cause gives the numbers of sequences of 6 steps" in n for n in found.notes)


def test_what_was_inferred_and_taken_out_is_said():
    candidate, options = named("TutorialRNN")
    said = " ".join(rnnbench.diagnose(candidate, **options).notes)
    assert "inferred: rnn_tanh, I=3, H=5" in said
    assert "weight_ih_l0 = i2h.weight[:, :3], weight_hh_l0 = i2h.weight[:, 3:]" in said
    assert "asked by its recurrent part: h2o (5 → 7)" in said


def test_gates_under_exchanged_names_are_right_and_said_in_the_headline():
    candidate, options = named("LSTMGatesExchanged")
    found = rnnbench.diagnose(candidate, **options)
    assert found.passed
    assert "right, with gates under exchanged names (what it calls i is f, f is i)" in str(found)


def test_a_guessed_layout_is_said_and_no_length_claimed():
    candidate, options = named("LSTMFusedForgetOne")
    found = rnnbench.diagnose(candidate, **options)
    assert found.guessed
    assert any("the layout is a guess" in note for note in found.notes)
    assert "A sequence of one step shows it" not in str(found)


def test_a_mistake_in_one_layer_alone_is_found_there():
    candidate, options = named("TwoCellsExchanged")
    found = rnnbench.diagnose(candidate, **options)
    assert found.cause == "h_and_c_swapped_each_step"
    assert "the cause is in layer 2 alone" in found.notes


def test_numbers_without_a_cause_are_described():
    candidate, options = named("gradient_third")
    said = " ".join(rnnbench.diagnose(candidate, **options).notes)
    assert "differ from what is right by a constant factor, 0.2703" in said


def test_a_head_and_the_weights_are_put_back():
    candidate, options = named("EmbeddingLM")
    before = {name: value.clone() for name, value in candidate.state_dict().items()}
    modules = dict(candidate.named_modules())
    assert rnnbench.diagnose(candidate, **options).passed
    assert dict(candidate.named_modules()) == modules
    assert candidate.rnn.dropout == 0.2
    after = candidate.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_slice_that_is_not_there_is_refused_by_name():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.gates = nn.Linear(8, 20)

    with pytest.raises(InputError, match=r"mapping.* must .* got 'gates.W\[:, :3\]'"):
        rnnbench.diagnose(
            Fused(), spec=Spec("lstm", 3, 5), mapping={"weight_ih_l0": "gates.W[:, :3]"}
        )


def test_a_cause_that_a_run_shows_is_not_said_to_give_the_numbers():
    candidate, options = named("NanAtThree")
    said = str(rnnbench.diagnose(candidate, **options))
    assert "Cause: not_finite_from_one_step, as its run shows" in said
    assert "gives the same numbers" not in said


def test_without_any_gradient_only_the_forward_pass_is_called_right():
    """A NumPy class has a backward pass of its own, which is not asked."""

    class Own:
        def __init__(self, inputs=3, hidden=4):
            rng = np.random.default_rng(0)
            self.Wx, self.Wh = rng.normal(size=(hidden, inputs)), rng.normal(size=(hidden, hidden))
            self.b = rng.normal(size=hidden)

        def forward(self, xs):
            h, ys = np.zeros((xs.shape[1], len(self.b))), []
            for x in xs:
                h = np.tanh(x @ self.Wx.T + h @ self.Wh.T + self.b)
                ys.append(h)
            return np.stack(ys), h

        def backward(self, upstream):
            return upstream * 2

    said = str(rnnbench.diagnose(Own()))
    assert "is right in its forward pass, the only one that was compared" in said
    assert "its method backward is not asked" in said
