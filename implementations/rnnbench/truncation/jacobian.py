r"""The derivative of one step of a cell, at every step of a stored sequence.

A step of BPTT is linear in what comes back: with m_t the step's output before a projection (h_t
where there is none), dm = ∂L/∂m_t and dc = ∂L/∂c_t, every cell's

    α = ∂L/∂(x_t W_ihᵀ + b_ih)     μ = ∂L/∂(h_{t−1} W_hhᵀ + b_hh)

are products of dm or dc with factors that depend on the step alone, not on the loss. They are taken
once per step here, for all windows that pass over it (notation of `rnnbench.backends.manual`):

    RNN    α = μ = dm ⊙ φ',  φ' = 1 − h² or [h > 0]
    GRU    α_n = dm ⊙ (1−z)(1−n²),  α_z = dm ⊙ (h_{t−1}−n) z(1−z),  α_r = α_n ⊙ u_n r(1−r)
           μ_r = α_r,  μ_z = α_z,  μ_n = α_n ⊙ r,   and dm ⊙ z goes straight to h_{t−1}
    LSTM   dc ← dc + dm ⊙ o(1−tanh²c_t),   and dc ⊙ f goes straight to c_{t−1}
           α = μ:  dc ⊙ g i(1−i),  dc ⊙ c_{t−1} f(1−f),  dc ⊙ i(1−g²),  dm ⊙ tanh c_t o(1−o)

The gates are taken from the stored outputs, for all steps in one product; only c_t is a loop, and
an elementwise one.

Sources: Werbos 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbench.bptt.linearised import Jacobian
from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.spec import Spec


def push(factors: Tensor, dm: Tensor, dc: Tensor | None) -> Tensor:
    """Return α or μ, (…, G·H), from its factors (…, G, H), dm (…, H) and, of an LSTM, dc (…, H)."""
    if dc is None:
        return (factors * dm.unsqueeze(-2)).flatten(-2)
    result = torch.empty_like(factors, memory_format=torch.contiguous_format)
    torch.mul(factors[..., :3, :], dc.unsqueeze(-2), out=result[..., :3, :])
    torch.mul(factors[..., 3, :], dm, out=result[..., 3, :])
    return result.flatten(-2)


def linearise(
    spec: Spec,
    weights: LayerWeights,
    x: Tensor,
    h_before: Tensor,
    h: Tensor,
    c0: Tensor | None,
) -> tuple[Jacobian, Tensor | None]:
    """Return the factors of one layer, and m (T, B, H) where there is a projection.

    x (T, B, I), h_before and h (T, B, P or H): the state before and after each step; c0 (B, H).
    """
    if spec.cell == "rnn_tanh":
        slope = h.square().neg_().add_(1).unsqueeze(-2)
        return Jacobian(slope, slope), None
    if spec.cell == "rnn_relu":
        slope = (h > 0).to(h.dtype).unsqueeze(-2)
        return Jacobian(slope, slope), None
    a = torch.nn.functional.linear(x, weights.ih, weights.bias_ih)
    u = torch.nn.functional.linear(h_before, weights.hh, weights.bias_hh)
    if spec.cell == "gru":
        return _gru(a, u, h_before), None
    assert c0 is not None
    jacobian, m = _lstm((a + u).view(*a.shape[:-1], 4, spec.hidden_size), c0)
    return jacobian, None if weights.hr is None else m


def _gru(a: Tensor, u: Tensor, h_before: Tensor) -> Jacobian:
    a_r, a_z, a_n = a.chunk(3, dim=-1)
    u_r, u_z, u_n = u.chunk(3, dim=-1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    to_n = (1 - z) * (1 - n * n)
    to_r = to_n * u_n * r * (1 - r)
    to_z = (h_before - n) * z * (1 - z)
    return Jacobian(
        torch.stack([to_r, to_z, to_n], dim=-2), torch.stack([to_r, to_z, to_n * r], dim=-2), z
    )


def _lstm(gates: Tensor, c0: Tensor) -> tuple[Jacobian, Tensor]:
    i, f, o = (torch.sigmoid(gates[..., k, :]) for k in (0, 1, 3))
    g = torch.tanh(gates[..., 2, :])
    c = torch.empty_like(i)
    before, written = c0, i * g
    for t in range(len(c)):
        before = torch.addcmul(written[t], f[t], before, out=c[t])
    c_before = torch.cat([c0[None], c[:-1]])
    tanh_c = torch.tanh(c)
    to_gates = torch.stack(
        [g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o)], dim=-2
    )
    return Jacobian(to_gates, to_gates, to_c=o * (1 - tanh_c * tanh_c), past_c=f), o * tanh_c
