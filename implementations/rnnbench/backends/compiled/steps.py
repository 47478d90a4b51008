r"""One step of each cell for the compiler, forward and backward.

A step of BPTT is linear in dh = ∂L/∂h_t and dc = ∂L/∂c_t, and its coefficients are known as soon as
the step has run forward. So the forward chunk keeps the coefficients in place of the gates, and the
backward chunk only multiplies. With the gates, α, μ and dm of `rnnbench.parity.oracle`:

    RNN    D = φ' (relu keeps h itself)        α = μ = dh ⊙ D
    GRU    N = (1 − z) ⊙ (1 − n²)              α_n = dh ⊙ N
           M = N ⊙ r                           μ_n = dh ⊙ M
           Z = (h_{t−1} − n) ⊙ z ⊙ (1 − z)     α_z = μ_z = dh ⊙ Z
           R = N ⊙ u_n ⊙ r ⊙ (1 − r)           α_r = μ_r = dh ⊙ R     dh_{t−1} = μ W_hh + dh ⊙ z
    LSTM   K = o ⊙ (1 − tanh² c_t)             dc ← dc + dm ⊙ K       dc_{t−1} = dc ⊙ f
           O = tanh c_t ⊙ o ⊙ (1 − o)          α_o = dm ⊙ O
           I = g ⊙ i ⊙ (1 − i)                 α_i = dc ⊙ I
           F = c_{t−1} ⊙ f ⊙ (1 − f)           α_f = dc ⊙ F
           G = i ⊙ (1 − g²)                    α_g = dc ⊙ G           α = μ
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 8
"""Steps of a chunk. 16 save a tenth of the time of the smallest networks and compile 1.5 times as
long."""

Tensors = tuple[Tensor, ...]
Step = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
"""(rows of one step, state, weights) → (next state, rows to hand out); every row block is (b, ·).

Forward: rows (a,), state (h,) or (h, c), weights (W_hh,), (W_hh, b_hh) for the GRU, (W_hh, W_hr)
with a projection; hands out the new state, then the coefficients in the order in which the backward
step takes them after dy, and with a projection last what it was applied to.
Backward: rows (dy, *coefficients), state (dh,) or (dh, dc); hands out μ, then what else is needed.
"""


def _rnn_tanh(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h = torch.tanh(torch.addmm(rows[0], state[0], weights[0].t()))
    return (h,), (h, 1 - h * h)


def _rnn_relu(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h = torch.relu(torch.addmm(rows[0], state[0], weights[0].t()))
    return (h,), (h, h)


def _gru(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    (a,), (h,), (w_hh, bias_hh) = rows, state, weights
    a_r, a_z, a_n = a.chunk(3, dim=1)
    u_r, u_z, u_n = torch.addmm(bias_hh, h, w_hh.t()).chunk(3, dim=1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    new = n + z * (h - n)
    d_n = (1 - z) * (1 - n * n)
    return (new,), (new, d_n * u_n * r * (1 - r), (h - n) * z * (1 - z), d_n * r, d_n, z)


def _lstm(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h, c = state
    i, f, g, o = torch.addmm(rows[0], h, weights[0].t()).chunk(4, dim=1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    new_c = f * c + i * g
    tanh_c = torch.tanh(new_c)
    m = o * tanh_c
    d_gates = (g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o))
    kept = (*d_gates, o * (1 - tanh_c * tanh_c), f)
    if len(weights) == 1:
        return (m, new_c), (m, new_c, *kept)
    h = torch.mm(m, weights[1].t())
    return (h, new_c), (h, new_c, *kept, m)


def _rnn_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d = rows
    delta = (state[0] + dy) * d
    return (torch.mm(delta, weights[0]),), (delta,)


def _relu_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    """Select, not multiply by 0 or 1: an infinite gradient must vanish where the unit is off."""
    dy, h = rows
    delta = torch.where(h <= 0, 0, state[0] + dy)
    return (torch.mm(delta, weights[0]),), (delta,)


def _gru_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d_r, d_z, d_m, d_n, z = rows
    dh = state[0] + dy
    mu = torch.cat([dh * d_r, dh * d_z, dh * d_m], dim=1)
    return (torch.mm(mu, weights[0]) + dh * z,), (mu, dh * d_n)


def _lstm_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d_i, d_f, d_g, d_o, d_c, f = rows
    dh, dc = state[0] + dy, state[1]
    dm = dh if len(weights) == 1 else torch.mm(dh, weights[1])
    dc = dc + dm * d_c
    alpha = torch.cat([dc * d_i, dc * d_f, dc * d_g, dm * d_o], dim=1)
    emitted = (alpha,) if len(weights) == 1 else (alpha, dh)
    return (torch.mm(alpha, weights[0]), dc * f), emitted


FORWARD: dict[str, Step] = {
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
    "gru": _gru,
    "lstm": _lstm,
}
BACKWARD: dict[str, Step] = {
    "rnn_tanh": _rnn_back,
    "rnn_relu": _relu_back,
    "gru": _gru_back,
    "lstm": _lstm_back,
}
COEFFICIENTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 5, "lstm": 6}
