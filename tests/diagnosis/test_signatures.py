"""Which parameter is the state, and which tensors are no weights or cannot be set."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnnbench
from rnnbench import InputError, Spec
from rnnbench.mistakes import candidate


class Wrapped(nn.Module):
    """An LSTM of torch's, under another signature."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 4)


class ThenLengths(Wrapped):
    def forward(self, x, hx=None, lengths=None):
        assert lengths is None
        return self.lstm(x, hx)


class ThenVerbose(Wrapped):
    def forward(self, x, hx=None, verbose=False):
        assert verbose is False
        return self.lstm(x, hx)


class LengthsBefore(Wrapped):
    def forward(self, x, lengths=None, hx=None):
        assert lengths is None
        return self.lstm(x, hx)


class StateByKeyword(Wrapped):
    def forward(self, x, *, initial_state=None):
        return self.lstm(x, initial_state)


class InTwoParts(Wrapped):
    def forward(self, x, h0, c0):
        y, (h, c) = self.lstm(x, (h0, c0))
        return y, h, c


class InTwoUnusualParts(Wrapped):
    def forward(self, x, a, b):
        return self.lstm(x, (a, b))


class OneUnusual(Wrapped):
    def forward(self, x, start_from):
        return self.lstm(x, start_from)


@pytest.mark.parametrize(
    "net",
    [
        ThenLengths, ThenVerbose, LengthsBefore, StateByKeyword, InTwoParts, InTwoUnusualParts,
        OneUnusual,
    ],
)  # fmt: skip
def test_the_state_goes_to_the_parameter_that_is_the_state(net):
    found = rnnbench.diagnose(net())
    assert found.passed, found
    assert {"grad_h0", "grad_c0"} <= {q.quantity for q in found.quantities}


class Packing(Wrapped):
    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = self.lstm(packed)
        return nn.utils.rnn.pad_packed_sequence(y)[0], state


class Masked(Wrapped):
    def forward(self, inputs, mask=None):
        assert mask is None
        return self.lstm(inputs)


@pytest.mark.parametrize("net", [Packing, Masked])
def test_a_second_parameter_that_is_no_state_is_not_handed_one(net):
    found = rnnbench.diagnose(net())
    assert found.passed, found
    assert any("takes no initial state" in note for note in found.notes)


class Unclear(Wrapped):
    def forward(self, x, extra=None):
        return self.lstm(x, extra)


class NeedsMask(Wrapped):
    def forward(self, x, hx, mask):
        return self.lstm(x, hx)


def tied():
    net = nn.RNN(5, 4)
    net.bias_hh_l0 = net.bias_ih_l0
    return net


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Unclear, "cannot tell whether the parameter 'extra' is the initial state: call it hx"),
        (NeedsMask, "it requires 'mask' as well"),
        (lambda: torch.jit.script(nn.LSTM(5, 4)), "torch.jit"),
        (tied, "bias_ih_l0 and bias_hh_l0 in two tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_told_or_set_is_refused_in_a_sentence(net, words):
    with pytest.raises(InputError, match=words):
        rnnbench.diagnose(net())


def test_a_head_is_taken_out_and_said():
    class WithHead(Wrapped):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.lstm(x)[0])

    found = rnnbench.diagnose(WithHead())
    assert found.passed
    assert any("asked by its recurrent part: fc (4 → 2)" in note for note in found.notes)


class Gates(nn.Module):
    """A GRU held gate by gate."""

    def __init__(self):
        super().__init__()
        for gate in "rzn":
            setattr(self, f"W{gate}", nn.Linear(5, 4))
            setattr(self, f"U{gate}", nn.Linear(4, 4))

    def forward(self, x, h):
        ys, h = [], h[0]
        for x_t in x:
            r = torch.sigmoid(self.Wr(x_t) + self.Ur(h))
            z = torch.sigmoid(self.Wz(x_t) + self.Uz(h))
            n = torch.tanh(self.Wn(x_t) + r * self.Un(h))
            h = (1 - z) * n + z * h
            ys.append(h)
        return torch.stack(ys), h[None]


def test_gates_are_told_by_their_names_or_by_a_mapping():
    spec = Spec("gru", 5, 4)
    assert rnnbench.diagnose(Gates()).passed
    mapping = {
        f"{kind}_{end}_l0": [f"{letter}{gate}.{kind}" for gate in "rzn"]
        for kind in ("weight", "bias")
        for end, letter in (("ih", "W"), ("hh", "U"))
    }
    assert rnnbench.diagnose(Gates(), spec=spec, mapping=mapping).passed


def test_where_no_tensor_fits_there_is_no_example_but_a_way_out():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.k = nn.Parameter(torch.randn(11, 16))

        def forward(self, x, hx):
            return candidate(Spec("lstm", 5, 4))(x, hx, {})

    with pytest.raises(InputError, match="None of these has the shape"):
        rnnbench.diagnose(Joined(), spec=Spec("lstm", 5, 4))
