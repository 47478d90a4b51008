"""Modules whose weights are computed: asked as a copy that holds them, or refused in a sentence."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import rnnbench
from rnnbench import InputError, Spec

NOTE = "are set as plain ones: what the module does with them is compared"


class Step(nn.Module):
    """A tanh RNN of two linear layers, one with its weight normalised; mixed up if it is wrong."""

    def __init__(self, wrong=False):
        super().__init__()
        self.i2h = nn.Linear(3, 4)
        self.h2h = parametrizations.weight_norm(nn.Linear(4, 4))
        self.wrong = wrong

    def forward(self, x, h0):
        h, ys = h0[0], []
        for x_t in x:
            W = self.h2h.weight
            h = torch.tanh(self.i2h(x_t) + h @ (W if self.wrong else W.T) + self.h2h.bias)
            ys.append(h)
        return torch.stack(ys), h[None]


MADE = {
    "weight_norm of torch's LSTM": lambda: parametrizations.weight_norm(
        nn.LSTM(3, 4, 2, bidirectional=True), "weight_hh_l1_reverse"
    ),
    "orthogonal of a cell": lambda: parametrizations.orthogonal(nn.GRUCell(3, 4), "weight_hh"),
    "spectral_norm twice": lambda: parametrizations.spectral_norm(
        parametrizations.spectral_norm(nn.GRU(3, 4), "weight_ih_l0"), "weight_hh_l0"
    ),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_parametrised_weights_are_probed_and_the_module_stays_as_it_was(make):
    net = make()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(2, 3)
    net.eval()
    y = net(x)[0]
    found = rnnbench.diagnose(net)
    assert found.passed, found
    assert any(NOTE in note for note in found.notes)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(net(x)[0], y)
    assert any(map(parametrize.is_parametrized, net.modules()))


@pytest.mark.parametrize("wrong", [False, True])
def test_what_a_module_does_with_computed_weights_is_judged(wrong):
    net = Step(wrong)
    found = rnnbench.diagnose(net, spec=Spec("rnn_tanh", 3, 4))
    assert (found.candidate, found.cause) == ("Step", "transposed_w_hh" if wrong else None)
    assert found.passed is not wrong
    assert "parametrised weights (h2h.weight)" in found.notes[0]
    assert parametrize.is_parametrized(net.h2h, "weight")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_computed_by_the_older_hooks_are_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"weight_hh is computed anew.*remove_weight_norm"):
        rnnbench.diagnose(nn.utils.weight_norm(nn.GRUCell(3, 4), "weight_hh"))


def test_a_module_that_cannot_be_copied_is_refused_with_the_way_out():
    net = Step()
    net.lock = threading.Lock()
    with pytest.raises(InputError, match=r"h2h.weight is parametrised.*remove_parametrizations"):
        rnnbench.diagnose(net, spec=Spec("rnn_tanh", 3, 4))
