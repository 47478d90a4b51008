"""The published questions Q1 and Q3: the wrong programs, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diagnosis.wrong_programs import (
    LayersOutsideTime,
    TimeOutsideLayers,
    hand_made_gradient,
    hand_made_gradient_with_a_large_h0,
)

import rnnbench
from rnnbench import Spec
from rnnbench.mistakes import CATALOGUE

Q1 = {"spec": Spec("rnn_tanh", 1, 2), "kind": "gradient", "loss": "h_n"}
X, H0 = [[1.0], [2.0], [3.0]], torch.zeros(1, 2)
Q3 = Spec("rnn_tanh", 3, 4, 2, 2, bias=False)


@pytest.fixture
def weights():
    torch.manual_seed(1)
    return dict(torch.nn.RNN(1, 2).named_parameters())


def test_q1_names_the_contribution_of_the_first_step_and_the_chain(weights):
    found = rnnbench.diagnose(hand_made_gradient, **Q1, x=X, state=H0, weights=weights)
    place = found.first_divergence
    assert (place.quantity, place.layer, place.direction) == ("grad_weight_ih_l0", 0, 0)
    assert (place.time_step, place.steps) == (0, 3)
    assert found.cause == "jacobians_not_chained"
    departs = {c.time_step: c.departs for c in found.contributions}
    assert departs == {2: False, 1: False, 0: True}
    assert "step 1 of 3" in str(found)
    assert CATALOGUE["jacobians_not_chained"].right in str(found)


def test_q1_shows_what_each_step_adds_as_the_derivation_does(weights):
    """s_3 x_3, (s_3 W ⊙ s_2) x_2 and ((s_3 W ⊙ s_2) W ⊙ s_1) x_1, theirs and right."""
    found = rnnbench.diagnose(hand_made_gradient, **Q1, x=X, state=H0, weights=weights)
    w = {name: value.detach().double().numpy() for name, value in weights.items()}
    W, h, s = w["weight_hh_l0"], np.zeros(2), []
    for x in (1.0, 2.0, 3.0):
        z = w["weight_ih_l0"][:, 0] * x + w["bias_ih_l0"] + W @ h + w["bias_hh_l0"]
        h = np.tanh(z)
        s.append(1 - h**2)
    chained = ((s[2] @ W * s[1]) @ W) * s[0]
    attempt = (s[2] @ W) * (s[1] @ W) * s[0]
    by_step = {c.time_step: c for c in found.contributions}
    for t, right in ((2, s[2] * 3), (1, (s[2] @ W) * s[1] * 2), (0, chained)):
        np.testing.assert_allclose(by_step[t].right_numbers, right, rtol=1e-9)
    np.testing.assert_allclose(by_step[0].their_numbers, attempt, atol=1e-6)
    assert found.contributions_exact


def test_q1_wrong_size_of_h0_gets_one_sentence(weights):
    with pytest.raises(rnnbench.InputError, match=r"h0 must have shape \(1, 1, 2\).*\(1, 64\)"):
        rnnbench.diagnose(hand_made_gradient, **Q1, x=X, state=torch.zeros(1, 64))
    found = rnnbench.diagnose(hand_made_gradient_with_a_large_h0, **Q1)
    assert found.status == "raised"
    assert "a state of 64 columns meets weights for a hidden size of 2" in found.raised
    assert "h0 must have shape (1, B, 2)" in str(found)


def test_q1_is_right_once_the_product_so_far_is_carried():
    def chained(x, state, weights):
        W = weights["weight_hh_l0"]
        h, s = state[0][0], []
        for x_t in x:
            z = weights["weight_ih_l0"] @ x_t + weights["bias_ih_l0"]
            h = torch.tanh(z + W @ h + weights["bias_hh_l0"])
            s.append(1 - h**2)
        so_far, gradient = s[-1], s[-1] * x[-1]
        for t in reversed(range(len(x) - 1)):
            so_far = (so_far @ W) * s[t]
            gradient = gradient + so_far * x[t]
        return {"weight_ih_l0": gradient[:, None]}

    assert rnnbench.diagnose(chained, **Q1, x=X, state=H0).passed


def test_q3_names_the_half_the_first_step_and_the_loops():
    found = rnnbench.diagnose(TimeOutsideLayers(), spec=Q3)
    place = found.first_divergence
    assert (place.layer, place.direction, place.time_step) == (1, 1, 0)
    assert place.reads_below
    assert place.quantity == "output"
    assert found.cause == "time_loop_outside"
    assert found.layout == "states (D, L, B, H)"
    text = str(found)
    assert "layer 2, reverse half of its input, t = 0" in text
    assert "no parameters (weight_ih.0.0" in text


def test_q3_heat_spares_the_first_layer():
    heat = rnnbench.diagnose(TimeOutsideLayers(), spec=Q3).heat
    worst = dict(zip(heat.rows, (max(row) for row in heat.forward), strict=True))
    assert max(worst[0, 0], worst[0, 1]) <= 1 < min(worst[1, 0], worst[1, 1])


def test_q3_is_right_with_one_layer_and_with_the_layers_outside():
    one = Spec("rnn_tanh", 3, 4, 1, 2, bias=False)
    assert rnnbench.diagnose(TimeOutsideLayers(layers=1), spec=one).passed
    found = rnnbench.diagnose(LayersOutsideTime(), spec=Q3)
    assert found.passed
    assert any("no parameters" in note for note in found.notes)


def test_a_diagnosis_survives_json():
    found = rnnbench.diagnose(TimeOutsideLayers(), spec=Q3)
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = type(found).from_dict(json.loads(text))
    assert back == found
    assert str(back) == str(found)
