"""Programs that go by the number of the step, keep a state, draw numbers or return none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnnbench
from rnnbench import Spec
from rnnbench.mistakes import candidate

SPEC = Spec("rnn_tanh", 5, 4)


def stepping(enter):
    """A tanh RNN whose state enters step t as ``enter(t, h)``."""

    def run(x, state, weights):
        h, ys = state[0][0], []
        for t, x_t in enumerate(x):
            a = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
            h = torch.tanh(a + enter(t, h) @ weights["weight_hh_l0"].T + weights["bias_hh_l0"])
            ys.append(h)
        return torch.stack(ys), h[None]

    return run


@pytest.mark.parametrize(("every", "t"), [(2, 3), (3, 2), (4, 3)])
def test_a_detach_every_k_steps_has_its_step_and_no_contributions(every, t):
    """The detach at the largest multiple m of k hides from step m − 1 what comes after it."""
    wrong = stepping(lambda t, h: h.detach() if t % every == 0 else h)
    found = rnnbench.diagnose(wrong, spec=SPEC)
    place = found.first_divergence
    assert (place.quantity, place.layer, place.time_step) == ("grad_weight_ih_l0", 0, t)
    assert (found.contributions, found.contributions_exact) == ([], False)
    assert any("does not do the same at every step" in note for note in found.notes)
    named = {f"state_detached_every_{every}_steps", "gradient_of_h0_dropped"}
    assert set(found.cause.split("+")) == named  # as h0 is detached too, at t = 0


def test_a_state_dropped_at_one_step_is_placed_there_and_nothing_clean_is_drawn_over_it():
    found = rnnbench.diagnose(stepping(lambda t, h: 0 * h if t == 3 else h), spec=SPEC)
    assert (found.first_divergence.quantity, found.first_divergence.time_step) == ("output", 3)
    assert [share > 1 for share in found.heat.forward[0]] == [False, False, False, True, True]
    assert found.heat.backward == ()
    assert type(found).from_dict(found.to_dict()) == found
    assert "Backward" not in found.to_html()


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
def test_contributions_of_what_is_alike_at_every_step_stay_exact(cell):
    spec = Spec(cell, 3, 4)
    found = rnnbench.diagnose(candidate(spec, "state_detached_each_step"), spec=spec)
    assert found.contributions_exact
    assert [c.departs for c in found.contributions] == [False, True, True, True, True]


class Keeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.h = nn.RNN(5, 4), None

    def forward(self, x):
        kept = self.h if self.h is not None and self.h.shape[1] == x.shape[1] else None
        y, h = self.rnn(x, kept)
        self.h = h.detach()
        return y


class Noisy(nn.RNN):
    def forward(self, x, h=None):
        y, h = super().forward(x, h)
        return y + 1e-3 * torch.randn_like(y), h


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.drop = nn.RNN(5, 4), nn.Dropout(0.3)

    def forward(self, x, h=None):
        y, h = self.rnn(x, h)
        return self.drop(y), h


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Keeping, "left over from a call"),
        (lambda: Noisy(5, 4), "dropout is active or noise"),
        (Dropping, "dropout is active or noise"),
    ],
)
def test_equal_calls_that_differ_are_said_in_a_sentence_without_a_cause(net, words):
    found = rnnbench.diagnose(net())
    assert (found.status, found.cause, found.first_divergence) == ("departs", None, None)
    assert words in found.unsteady
    assert words in str(found)
    assert words in found.to_html()
    assert type(found).from_dict(found.to_dict()) == found


def test_dropout_that_is_switched_off_is_right():
    assert rnnbench.diagnose(Dropping().eval()).passed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("hello", "returned a str"),
        (None, "returned None"),
        ([[[1.0]]], "returned a list"),
        ({"output": torch.zeros(1)}, "returned a dict"),
        (3.0, "returned a float"),
    ],
)
def test_what_is_no_tensor_is_named_and_gets_no_cause(answer, words):
    found = rnnbench.diagnose(lambda x, state, weights: answer, spec=SPEC)
    assert (found.status, found.cause) == ("departs", None)
    assert words in str(found)
    assert words in found.to_html()


def test_a_gradient_that_is_no_tensor_gets_no_cause():
    found = rnnbench.diagnose(
        lambda x, state, weights: {"weight_ih_l0": "hi"}, spec=SPEC, kind="gradient"
    )
    assert (found.status, found.cause) == ("departs", None)
    assert "returned a str where grad_weight_ih_l0 belongs" in str(found)


def test_a_gradient_in_the_shape_of_the_transpose_is_a_wrong_shape_without_a_cause():
    found = rnnbench.diagnose(
        lambda x, state, weights: {"weight_ih_l0": torch.zeros(5, 4)}, spec=SPEC, kind="gradient"
    )
    assert (found.status, found.cause) == ("departs", None)
    assert "(5, 4) instead of (4, 5)" in str(found)
