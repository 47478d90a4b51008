r"""Torch loops with a backward pass derived by hand: the place to read how BPTT works.

No autograd is used inside. One layer in one direction, time loop inside; `rnnbench.bptt.stack`
holds the loop over layers and directions around it.

Forward, for the rows of step t (a sequence a row, so the textbook's W x is x Wᵀ here):

    a = x_t W_ihᵀ + b_ih        for all steps in one product, before the loop
    u = h_{t−1} W_hhᵀ + b_hh    step by step
    h_t (and c_t) from a, u, h_{t−1}, c_{t−1}: see `RNNCell`, `GRUCell`, `LSTMCell`

Backward (BPTT), t from the last step to the first. Let dh be ∂L/∂h_t: what the loss asks of the
output at t, plus what came back from step t+1. Each cell turns it into

    α = ∂L/∂a   and   μ = ∂L/∂u   (G·H columns; equal, but for the GRU's candidate gate)

and from there the recurrence is the same for all of them:

    dh_{t−1} = μ W_hh + (what of h_{t−1} reached h_t without W_hh)

Note that the *product so far*, dh, goes through W_hh and then through the next step's derivative;
multiplying the steps' Jacobians separately is the classic mistake. With α and μ of all steps kept,
the gradients of the weights are single products over all rows after the loop:

    dW_ih = αᵀ x    dW_hh = μᵀ h_prev    db_ih = Σ α    db_hh = Σ μ    dx = α W_ih
    dW_hr = dhᵀ (o ⊙ tanh c)             (LSTM with projection)

Sources: Werbos, "Backpropagation through time", 1990; Hochreiter and Schmidhuber 1997; Gers,
Schmidhuber and Cummins 2000; Cho et al. 2014; Sak, Senior and Beaufays 2014.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbench.bptt.autograd import run_stack
from rnnbench.bptt.recurrence import (
    BackwardInputs,
    LayerGradients,
    LayerPass,
    LayerResult,
    Recurrence,
    gradients_of_rows,
    sum_of_outer,
)
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.spec import Spec

State = Any  # c as a (b, H) tensor, or W_hr; None for a cell that has none
Kept = tuple[Tensor, ...]


class Step(NamedTuple):
    """Results of one step forward; ``kept`` is for its backward step."""

    h: Tensor  # (b, P or H)
    c: State
    kept: Kept


class StepGradients(NamedTuple):
    """Results of one step of BPTT."""

    alpha: Tensor  # ∂L/∂a, (b, G·H)
    mu: Tensor  # ∂L/∂u, (b, G·H)
    bypass: Tensor | None  # part of dh_{t−1} that does not go through W_hh, (b, H)
    dc: Tensor | None  # ∂L/∂c_{t−1}, (b, H)


class Cell(ABC):
    """One time step, forward and backward; a, u are (b, G·H), h (b, P or H), hr W_hr or None."""

    @abstractmethod
    def forward(self, a: Tensor, u: Tensor, h: Tensor, c: State, hr: State) -> Step:
        """Run the step."""

    @abstractmethod
    def backward(self, kept: Kept, dh: Tensor, dc: State, hr: State) -> StepGradients:
        """Differentiate, from ∂L/∂h_t and the part of ∂L/∂c_t that came from step t+1."""


class RNNCell(Cell):
    """h_t = φ(a + u), with φ tanh or relu; φ' is 1 − h² or [h > 0], so h_t is all to be kept."""

    def __init__(self, nonlinearity: str) -> None:
        self.tanh = nonlinearity == "tanh"

    def forward(self, a: Tensor, u: Tensor, h: Tensor, c: State, hr: State) -> Step:
        new = torch.tanh(a + u) if self.tanh else torch.relu(a + u)
        return Step(new, None, (new,))

    def backward(self, kept: Kept, dh: Tensor, dc: State, hr: State) -> StepGradients:
        (h,) = kept
        delta = dh * (1 - h * h) if self.tanh else torch.where(h <= 0, 0, dh)
        return StepGradients(delta, delta, None, None)


class GRUCell(Cell):
    """r, z = σ(a + u); n = tanh(a_n + r ⊙ u_n); h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}.

    α_n = dh ⊙ (1 − z) ⊙ (1 − n²)          μ_n = α_n ⊙ r   (u_n sits behind the reset gate)
    α_z = dh ⊙ (h_{t−1} − n) ⊙ z ⊙ (1 − z)  μ_z = α_z
    α_r = α_n ⊙ u_n ⊙ r ⊙ (1 − r)           μ_r = α_r       bypass = dh ⊙ z
    """

    def forward(self, a: Tensor, u: Tensor, h: Tensor, c: State, hr: State) -> Step:
        a_r, a_z, a_n = a.chunk(3, dim=1)
        u_r, u_z, u_n = u.chunk(3, dim=1)
        r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        return Step(n + z * (h - n), None, (r, z, n, u_n, h))

    def backward(self, kept: Kept, dh: Tensor, dc: State, hr: State) -> StepGradients:
        r, z, n, u_n, h = kept
        alpha_n = dh * (1 - z) * (1 - n * n)
        alpha_z = dh * (h - n) * z * (1 - z)
        alpha_r = alpha_n * u_n * r * (1 - r)
        alpha = torch.cat([alpha_r, alpha_z, alpha_n], dim=1)
        mu = torch.cat([alpha_r, alpha_z, alpha_n * r], dim=1)
        return StepGradients(alpha, mu, dh * z, None)


class LSTMCell(Cell):
    """i, f, o = σ(a + u); g = tanh(a_g + u_g); c_t = f ⊙ c_{t−1} + i ⊙ g; m = o ⊙ tanh c_t;
    h_t = m W_hrᵀ with projection, else m.

    dm = dh W_hr (or dh);  dc ← dc + dm ⊙ o ⊙ (1 − tanh² c_t);  dc_{t−1} = dc ⊙ f
    α_i = dc ⊙ g ⊙ i ⊙ (1 − i)    α_f = dc ⊙ c_{t−1} ⊙ f ⊙ (1 − f)
    α_g = dc ⊙ i ⊙ (1 − g²)       α_o = dm ⊙ tanh c_t ⊙ o ⊙ (1 − o)       μ = α
    """

    def forward(self, a: Tensor, u: Tensor, h: Tensor, c: State, hr: State) -> Step:
        i, f, g, o = (a + u).chunk(4, dim=1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        new_c = f * c + i * g
        tanh_c = torch.tanh(new_c)
        m = o * tanh_c
        return Step(m if hr is None else m @ hr.T, new_c, (i, f, g, o, c, tanh_c))

    def backward(self, kept: Kept, dh: Tensor, dc: State, hr: State) -> StepGradients:
        i, f, g, o, c, tanh_c = kept
        dm = dh if hr is None else dh @ hr
        dc = dc + dm * o * (1 - tanh_c * tanh_c)
        alpha_i = dc * g * i * (1 - i)
        alpha_f = dc * c * f * (1 - f)
        alpha_g = dc * i * (1 - g * g)
        alpha_o = dm * tanh_c * o * (1 - o)
        alpha = torch.cat([alpha_i, alpha_f, alpha_g, alpha_o], dim=1)
        return StepGradients(alpha, alpha, None, dc * f)


CELLS: dict[str, Cell] = {
    "rnn_tanh": RNNCell("tanh"),
    "rnn_relu": RNNCell("relu"),
    "gru": GRUCell(),
    "lstm": LSTMCell(),
}


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


class ManualRecurrence(Recurrence):
    """The time loop, forward and backward."""

    def forward(
        self, layer: LayerPass, h0: Tensor, c0: Tensor | None, *, keep: bool
    ) -> LayerResult:
        spec, layout, x, weights, reverse = layer
        cell = CELLS[spec.cell]
        a = _affine(x, weights.ih, weights.bias_ih)
        h, c = h0.clone(), None if c0 is None else c0.clone()
        y = x.new_empty(layout.N, spec.state_size)
        previous = x.new_empty(layout.N, spec.state_size) if keep else None
        kept: list[Tensor] = []
        for rows in layout.steps(reverse=reverse):
            b = rows.stop - rows.start
            if previous is not None:
                previous[rows] = h[:b]
            u = _affine(h[:b], weights.hh, weights.bias_hh)
            old_c = None if c is None else c[:b].clone()
            new_h, new_c, step = cell.forward(a[rows], u, h[:b].clone(), old_c, weights.hr)
            h[:b], y[rows] = new_h, new_h
            if c is not None and new_c is not None:
                c[:b] = new_c
            if keep:
                kept += step
        saved = () if previous is None else (previous, *kept)
        return LayerResult(y, h, c, saved)

    def backward(self, layer: LayerPass, given: BackwardInputs) -> LayerGradients:
        spec, layout, x, weights, reverse = layer
        cell = CELLS[spec.cell]
        saved, dy, dh_n, dc_n, needs_dx, _ = given
        previous, kept = saved[0], saved[1:]
        per_step = len(kept) // layout.T
        dh, dc = dh_n.clone(), None if dc_n is None else dc_n.clone()
        alpha = x.new_empty(layout.N, spec.gates * spec.hidden_size)
        mu = torch.empty_like(alpha)
        d_output = x.new_empty(layout.N, spec.state_size)
        m = None if weights.hr is None else x.new_empty(layout.N, spec.hidden_size)
        for step, rows in reversed(list(enumerate(layout.steps(reverse=reverse)))):
            b = rows.stop - rows.start
            dh_t = dh[:b] + dy[rows]
            d_output[rows] = dh_t
            tape = kept[step * per_step : (step + 1) * per_step]
            d = cell.backward(tape, dh_t, None if dc is None else dc[:b], weights.hr)
            alpha[rows], mu[rows] = d.alpha, d.mu
            if m is not None:  # what the projection was applied to, o ⊙ tanh c
                m[rows] = tape[3] * tape[5]
            dh[:b] = d.mu @ weights.hh if d.bypass is None else d.mu @ weights.hh + d.bypass
            if dc is not None and d.dc is not None:
                dc[:b] = d.dc
        d_hr = None if m is None else sum_of_outer(d_output, m)
        return gradients_of_rows(layer, alpha, mu, previous, (dh, dc), d_hr, needs_dx=needs_dx)


class Manual(Backend):
    """Torch loops, any device and floating dtype that torch's own operators take."""

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        return None

    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        return run_stack(ManualRecurrence(), spec, inputs)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        return {"kernel": "torch loop, hand-derived BPTT", "device": str(inputs.x.device)}
