"""Scripts as people write them to compare their own program with torch's: right ones, and the same
with one line changed.
"""

from __future__ import annotations

from dataclasses import dataclass

BY_HAND = """\
import torch
torch.manual_seed({seed})
net = torch.nn.{kind}(3, 4, batch_first=True)
x = torch.randn(2, 5, 3)
out, last = net(x)
w = {{name: p.detach() for name, p in net.named_parameters()}}
h, c = torch.zeros(2, 4), torch.zeros(2, 4)
steps = []
for t in range(x.size(1)):
    a = x[:, t] @ w["weight_ih_l0"].T + w["bias_ih_l0"]
    u = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
{cell}
    steps.append(h)
mine = torch.stack(steps, dim=1)
"""
RNN = "    h = torch.tanh(a + u)"
LSTM = """\
    i, f, g, o = (a + u).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)"""
GRU = """\
    (a_r, a_z, a_n), (u_r, u_z, u_n) = a.chunk(3, dim=1), u.chunk(3, dim=1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    h = (1 - z) * n + z * h"""
CLOSE = "print(torch.allclose(mine, out, atol=1e-6))\n"
DIFFERENCE = 'print("difference", (out - mine).abs().max().item())\n'
BOTH = "print(mine)\nprint(out)\n"
ASSERTED = "assert torch.allclose(mine, out, atol=1e-6)\n"
TESTED = "torch.testing.assert_close(mine, out)\n"


def by_hand(kind: str, cell: str, comparison: str, seed: int = 0) -> str:
    return BY_HAND.format(kind=kind, cell=cell, seed=seed) + comparison


MODULE = """\
import torch
from torch import nn
torch.manual_seed(0)

class Mine(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.x2h = nn.Linear(size, 3 * hidden)
        self.h2h = nn.Linear(hidden, 3 * hidden)

    def forward(self, xs):
        h, ys = torch.zeros(xs.shape[1], self.h2h.in_features), []
        for x in xs:
            r, z, n = self.x2h(x).chunk(3, 1)
            hr, hz, hn = self.h2h(h).chunk(3, 1)
            r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
            n = torch.tanh(n + r * hn)
            h = (1 - z) * n + z * h
            ys.append(h)
        return torch.stack(ys), h

reference = nn.GRU(3, 5)
mine = Mine(3, 5)
with torch.no_grad():
    mine.x2h.weight.copy_(reference.weight_ih_l0)
    mine.x2h.bias.copy_(reference.bias_ih_l0)
    mine.h2h.weight.copy_(reference.weight_hh_l0)
    mine.h2h.bias.copy_(reference.bias_hh_l0)
x = torch.randn(6, 2, 3)
wanted, _ = reference(x)
got, _ = mine(x)
print("wanted", wanted.shape, "got", got.shape)
"""

NUMPY = """\
import numpy as np
import torch
rnn = torch.nn.RNN(3, 4)
x = torch.randn(5, 1, 3)
out, _ = rnn(x)
W, U = rnn.weight_ih_l0.detach().numpy(), rnn.weight_hh_l0.detach().numpy()
b = (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().numpy()
h, hs = np.zeros(4), []
for x_t in x[:, 0].numpy():
    h = np.tanh(W @ x_t + U @ h + b)
    hs.append(h)
np.testing.assert_allclose(np.array(hs), out[:, 0].detach().numpy(), rtol=1e-4)
"""

STACKED = """\
import torch
torch.manual_seed(1)
net = torch.nn.RNN(3, 4, num_layers=2, bidirectional=True, bias=False)
W = dict(net.named_parameters())
x = torch.randn(4, 2, 3)
wanted, h_n = net(x)

def direction(xs, end):
    h, ys = torch.zeros(xs.shape[1], 4), []
    for x_t in xs:
        h = torch.tanh(x_t @ W["weight_ih" + end].T + h @ W["weight_hh" + end].T)
        ys.append(h)
    return torch.stack(ys)

below = x
for layer in ("_l0", "_l1"):
    forward = direction(below, layer)
    backward = direction(below.flip(0), layer + "_reverse").flip(0)
    below = torch.cat([forward, backward], dim=-1)
print(below)
print(wanted)
"""

TIME_OUTSIDE = """\
import torch
from torch import nn

class Stacked(nn.Module):
    def __init__(self, layers, hidden):
        super().__init__()
        self.layers, self.hidden = layers, hidden
        self.into = [[None] * layers, [None] * layers]
        self.across = [[None] * layers, [None] * layers]

    def forward(self, xs):
        T, B, _ = xs.shape
        states = torch.zeros(2, self.layers, B, self.hidden)
        ys = torch.zeros(T, B, 2 * self.hidden)
        for t in range(T):
            reads = [xs[t], xs[T - 1 - t]]
            for layer in range(self.layers):
                new = []
                for d in (0, 1):
                    a = reads[d] @ self.into[d][layer].T
                    new.append(torch.tanh(a + states[d, layer] @ self.across[d][layer].T))
                    states[d, layer] = new[d]
                reads = [torch.cat(new, dim=1)] * 2
            ys[t, :, :self.hidden], ys[T - 1 - t, :, self.hidden:] = new
        return ys

if __name__ == "__main__":
    reference = nn.RNN(5, 6, num_layers=2, bidirectional=True, bias=False)
    own = Stacked(2, 6)
    for layer in range(2):
        for d, end in enumerate(("", "_reverse")):
            own.into[d][layer] = reference._parameters[f"weight_ih_l{layer}{end}"].data
            own.across[d][layer] = reference._parameters[f"weight_hh_l{layer}{end}"].data
    x = torch.randn(3, 3, 5)
    theirs, _ = reference(x)
    ours = own(x)
    print(theirs)
    print(ours)
"""

TERMS = """\
import torch
net = torch.nn.RNN(input_size=1, hidden_size=2, batch_first=True)
x = torch.tensor([[0.3], [-0.7], [0.5]])
_, wanted = net(x)
W, U, b, c = (p.detach() for p in net.parameters())
start = torch.zeros(1, {columns})
h1 = torch.tanh(x[0] @ W.T + b + start @ U.T + c)
h2 = torch.tanh(x[1] @ W.T + b + h1 @ U.T + c)
h3 = torch.tanh(x[2] @ W.T + b + h2 @ U.T + c)
assert torch.allclose(h3, wanted, atol=1e-6)
wanted.sum().backward()
right = copy.deepcopy(net.weight_ih_l0.grad)
s1, s2, s3 = (1 - h ** 2 for h in (h1, h2, h3))
from_3 = s3 * x[2]
from_2 = (s3 @ U) * s2 * x[1]
from_1 = {first}
total = from_1 + from_2 + from_3
assert torch.allclose(total.T, right, atol=1e-6)
"""
UNCHAINED = "(s3 @ U) * (s2 @ U) * s1 * x[0]"
CHAINED = "(((s3 @ U) * s2) @ U) * s1 * x[0]"

BPTT = """\
import torch
torch.manual_seed(2)
T, H = 4, 3
rnn = torch.nn.RNN(2, H)
x = torch.randn(T, 2)
y, _ = rnn(x)
y.sum().backward()
W, U = rnn.weight_ih_l0.detach(), rnn.weight_hh_l0.detach()
hs = [torch.zeros(H)]
for t in range(T):
    hs.append(torch.tanh(W @ x[t] + rnn.bias_ih_l0 + U @ hs[-1] + rnn.bias_hh_l0).detach())
dW, back = torch.zeros_like(W), torch.zeros(H)
for t in reversed(range(T)):
    dz = (torch.ones(H) + back) * (1 - hs[t + 1] ** 2)
    dW += torch.outer(dz, x[t])
    back = U.T @ dz
print("by hand", dW)
print("autograd", rnn.weight_ih_l0.grad)
"""

OF_CELLS = """\
import torch
from torch import nn
cell = nn.LSTMCell(2, 3)

class Mine(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.W, self.U = nn.Parameter(cell.weight_ih.clone()), nn.Parameter(cell.weight_hh.clone())
        self.b = nn.Parameter(cell.bias_ih + cell.bias_hh)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (x @ self.W.T + h @ self.U.T + self.b).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

mine = Mine(cell)
x = torch.randn(4, 2, 2)
a = b = (torch.zeros(2, 3), torch.zeros(2, 3))
for x_t in x:
    a, b = cell(x_t, a), mine(x_t, b)
    print((a[0] - b[0]).abs().max())
"""

GRADIENTS = """\
import torch
from torch import nn
torch.manual_seed(0)
reference = nn.RNN(3, 4)

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        for name, p in reference.named_parameters():
            setattr(self, name, nn.Parameter(p.detach().clone()))

    def forward(self, xs):
        h, ys = torch.zeros(xs.shape[1], 4), []
        for x in xs:
            a = x @ self.weight_ih_l0.T + self.bias_ih_l0
            h = torch.tanh(a + h @ self.weight_hh_l0.T + self.bias_hh_l0)
            ys.append(h)
        return torch.stack(ys)

mine, x = Mine(), torch.randn(5, 2, 3)
reference(x)[0].pow(2).sum().backward()
mine(x).pow(2).sum().backward()
for (name, p), q in zip(reference.named_parameters(), mine.parameters()):
    print(name, torch.allclose(p.grad, q.grad, atol=1e-5))
"""

TRAINING = """\
import torch
from torch import nn
torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(1, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0])

net = Net()
optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
wave = torch.sin(torch.linspace(0, 6, 20))[None, :, None]
for epoch in range(4):
    optimiser.zero_grad()
    loss = ((net(wave[:, :-1]) - wave[:, 1:]) ** 2).mean()
    loss.backward()
    optimiser.step()
with torch.no_grad():
    print((net(wave[:, :-1]) - wave[:, 1:]).abs().max())
"""

CLASSIFIER = """\
import torch
from torch import nn

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.RNN(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        out, _ = self.rnn(x, torch.zeros(1, x.size(0), 6))
        return self.head(out[:, -1, :])

model = Classifier()
x = torch.randn(8, 5, 4)
print(model(x).shape)
"""


def changed(text: str, old: str, new: str) -> str:
    """Return a script with one piece of it changed; it must be there."""
    assert old in text
    return text.replace(old, new)


@dataclass(frozen=True)
class Wrong:
    """A script with a mistake: its text, the cause, layer, direction and step of the departure."""

    text: str
    cause: str
    place: tuple[int, int, int]


RIGHT = {
    "rnn allclose": by_hand("RNN", RNN, CLOSE),
    "lstm difference": by_hand("LSTM", LSTM, DIFFERENCE),
    "gru printed": by_hand("GRU", GRU, BOTH),
    "lstm asserted": by_hand("LSTM", LSTM, ASSERTED),
    "gru assert_close": by_hand("GRU", GRU, TESTED),
    "module": MODULE,
    "numpy": NUMPY,
    "stacked": STACKED,
    "bptt": BPTT,
    "bptt by parts": changed(
        BPTT, "    dW += torch.outer(dz, x[t])", "    part = torch.outer(dz, x[t])\n    dW += part"
    ),
    "cells": OF_CELLS,
    "gradients": GRADIENTS,
    "terms": "import copy\n" + TERMS.format(columns=2, first=CHAINED),
    "training": TRAINING,
    "classifier": CLASSIFIER,
}
WRONG = {
    "gates": Wrong(
        by_hand("LSTM", changed(LSTM, "i, f, g, o =", "i, f, o, g ="), CLOSE),
        "lstm_gates_ifog", (0, 0, 0),
    ),
    "untransposed": Wrong(
        changed(by_hand("RNN", RNN, DIFFERENCE), '["weight_hh_l0"].T', '["weight_hh_l0"]'),
        "transposed_w_hh", (0, 0, 1),
    ),
    "state kept in another name": Wrong(
        changed(by_hand("RNN", RNN, BOTH), "    h = torch", "    steps_h = torch").replace(
            "append(h)", "append(steps_h)"
        ),
        "state_not_carried", (0, 0, 1),
    ),
    "no tanh": Wrong(
        by_hand("LSTM", changed(LSTM, "* torch.tanh(c)", "* c"), ASSERTED),
        "lstm_no_output_tanh", (0, 0, 0),
    ),
    "reset first": Wrong(
        by_hand("GRU", changed(GRU, "r * u_n", "u_n"), TESTED),
        "gru_reset_gate_unused", (0, 0, 0),
    ),
    "update inverted": Wrong(
        changed(MODULE, "(1 - z) * n + z * h", "z * n + (1 - z) * h"), "gru_update_inverted",
        (0, 0, 0),
    ),
    "one bias": Wrong(
        changed(NUMPY, "(rnn.bias_ih_l0 + rnn.bias_hh_l0)", "rnn.bias_ih_l0"), "bias_hh_missing",
        (0, 0, 0),
    ),
    "not turned back": Wrong(
        changed(STACKED, '"_reverse").flip(0)', '"_reverse")'), "reverse_not_turned_back",
        (1, 1, 0),
    ),
    "time outside": Wrong(TIME_OUTSIDE, "time_loop_outside", (1, 1, 0)),
    "not transposed back": Wrong(
        changed(BPTT, "U.T @ dz", "U @ dz"), "backward_not_transposed", (0, 0, 2)
    ),
    "cell": Wrong(
        changed(OF_CELLS, "* c.tanh(), c", "* c, c"), "lstm_no_output_tanh", (0, 0, 0)
    ),
    "detached": Wrong(
        changed(GRADIENTS, "h @ self", "h.detach() @ self"), "state_detached_each_step", (0, 0, 3)
    ),
    "unchained": Wrong(
        "import copy\n" + TERMS.format(columns=2, first=UNCHAINED), "jacobians_not_chained",
        (0, 0, 0),
    ),
}  # fmt: skip
