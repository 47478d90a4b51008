"""Mistakes of the backward pass alone: output and final state are right, gradients are not.

Where `detach` cannot say it, a small `torch.autograd.Function` is right forward and wrong backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    bias,
    dense,
    longer_than,
    lstm,
    mistake,
    several_layers,
    several_sequences,
    several_steps,
    square,
    state_given,
    two_directions,
)
from rnnbench.mistakes.changes import (
    Gradients,
    Weights,
    blocks_transposed,
    changed,
    each,
    with_backward,
)
from rnnbench.mistakes.network import At, State

EVERY_WEIGHT = "grad_weight_ih grad_weight_hh grad_weight_hr grad_bias_ih grad_bias_hh"


def _scaled(weights: Weights, factor: float) -> Weights:
    """Return the weights with their gradients scaled."""
    return changed(weights, "", lambda w: with_backward(each(lambda g: g * factor), w)[0])


@mistake(at="initial", touches="grad_h0", needs=(state_given,))
def gradient_of_h0_dropped(state: State, at: At) -> State:
    """No gradient reaches h0.

    where  h0 detached or made a constant, hand-written backward passes that return None for it
    wrong  ∂L/∂h0 = 0
    right  ∂L/∂h0 = dh_0
    """
    return state[0].detach(), *state[1:]


@mistake(at="carried", touches="grad_h0 grad_x grad_weight_ih", needs=(several_steps,))
def state_detached_each_step(state: State, at: At) -> State:
    """The state is detached after every step: each loss reaches back over its own step only.

    where  h = h.detach() inside the time loop, as an attempt at truncated BPTT (Q2)
    wrong  dh_{t−1} = ∂L/∂y_{t−1}
    right  dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t + …
    """
    return tuple(part.detach() for part in state) if at.step else state


def _detached_every(k: int) -> Mistake:
    def act(state: State, at: At) -> State:
        cut = at.step and at.step % k == 0
        return tuple(part.detach() for part in state) if cut else state

    act.__name__ = f"state_detached_every_{k}_steps"
    act.__doc__ = f"""The state is detached every {k} steps: losses behind a cut do not reach the
    steps before it, and how far back a loss reaches depends on where it stands.

    where  if t % {k} == 0: h = h.detach(), as an attempt at truncated BPTT (Q2)
    wrong  dh_{{t−1}} = ∂L/∂y_{{t−1}} for t = {k}, {2 * k}, …
    right  dh_{{t−1}} = ∂L/∂y_{{t−1}} + W_hhᵀ μ_t + …
    """
    needs = (longer_than(k),)
    return mistake(at="carried", touches="grad_h0 grad_x grad_weight_ih", needs=needs)(act)


state_detached_every_2_steps = _detached_every(2)
state_detached_every_3_steps = _detached_every(3)
state_detached_every_4_steps = _detached_every(4)


@mistake(at="carried", touches="grad_c0 grad_weight_ih", needs=(lstm, several_steps))
def cell_state_detached_each_step(state: State, at: At) -> State:
    """The cell state is detached after every step: dc does not go back through the forget gate.

    where  hand-written backward passes that carry dh and forget dc
    wrong  dc_{t−1} = dh_{t−1} ⊙ o ⊙ (1 − tanh² c_{t−1})
    right  dc_{t−1} = dh_{t−1} ⊙ o ⊙ (1 − tanh² c_{t−1}) + dc_t ⊙ f_t
    """
    return (state[0], state[1].detach()) if at.step else state


@mistake(at="weights", touches=EVERY_WEIGHT)
def gradient_accumulated_twice(weights: Weights, at: At) -> Weights:
    """The gradients of the weights are twice what they should be.

    where  zero_grad forgotten, two backward calls over one graph (a kept state in k1 < k2)
    wrong  .grad = 2 Σ_t …
    right  .grad = Σ_t …
    """
    return _scaled(weights, 2.0)


@mistake(
    at="output final",
    touches="grad_x grad_h0 grad_c0 grad_weight_ih grad_weight_hh",
    needs=(several_steps,),
)
def gradient_averaged_over_time(value: Any, at: At) -> Any:
    """The loss is averaged over the time steps where it should be summed.

    where  loss functions with reduction='mean', compared with a sum
    wrong  L = (1/T) Σ_t L_t
    right  L = Σ_t L_t
    """
    parts = (value,) if at.place == "output" else value
    scaled = with_backward(each(lambda g: g * (1 / at.T)), *parts)
    return scaled[0] if at.place == "output" else scaled


@mistake(at="weights", touches=EVERY_WEIGHT, needs=(several_sequences,))
def gradient_averaged_over_batch(weights: Weights, at: At) -> Weights:
    """The gradients of the weights are averaged over the batch where they should be summed.

    where  hand-written backward passes that divide by B
    wrong  dW = (1/B) Σ_b …
    right  dW = Σ_b …
    """
    return _scaled(weights, 1 / at.B)


def _clipped(*gradients: Tensor | None) -> Gradients:
    norm = sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
    return tuple(None if g is None else g / max(norm, 1.0) for g in gradients)


@mistake(at="weights", touches=EVERY_WEIGHT)
def gradient_clipped(weights: Weights, at: At) -> Weights:
    """The gradients of the weights are clipped to a common norm of 1, where it is above.

    where  clip_grad_norm_(parameters, 1) left in while gradients are compared
    wrong  dW / max(1, ‖(dW, …)‖)
    right  dW
    """
    return dict(zip(weights, with_backward(_clipped, *weights.values()), strict=True))


@mistake(at="weights", touches="grad_weight_hh", needs=(square,))
def weight_hh_gradient_transposed(weights: Weights, at: At) -> Weights:
    """The gradient of the recurrent weight is transposed, gate by gate.

    where  outer products taken the wrong way round in hand-written backward passes
    wrong  dW_hh = Σ_t h_{t−1} μ_tᵀ
    right  dW_hh = Σ_t μ_t h_{t−1}ᵀ
    """
    turned = each(blocks_transposed)
    return changed(weights, "weight_hh", lambda w: with_backward(turned, w)[0])


@mistake(at="step_weights", touches="grad_weight_hh", needs=(state_given,))
def weight_hh_gradient_without_h0(weights: Weights, at: At) -> Weights:
    """The first step's share of dW_hh, which belongs to h0, is left out.

    where  backward loops that stop one step early, h0 taken for zero
    wrong  dW_hh = Σ_{t≥1} μ_t h_{t−1}ᵀ
    right  dW_hh = μ_0 h0ᵀ + Σ_{t≥1} μ_t h_{t−1}ᵀ
    """
    return weights if at.step else changed(weights, "weight_hh", Tensor.detach)


@mistake(
    at="step_weights",
    touches="grad_weight_ih grad_weight_hh grad_bias_ih grad_bias_hh",
    needs=(several_steps,),
)
def weight_gradient_overwritten(weights: Weights, at: At) -> Weights:
    """The gradients of the weights are overwritten at each step of the backward loop.

    where  dW = … written where dW += … is meant
    wrong  dW = the share of step 0
    right  dW = Σ_t share of step t
    """
    return changed(weights, ("weight", "bias"), Tensor.detach) if at.step else weights


@mistake(at="step_weights", touches="grad_bias_ih grad_bias_hh", needs=(bias, several_steps))
def bias_gradient_of_last_step(weights: Weights, at: At) -> Weights:
    """The gradients of the biases are those of the last step alone.

    where  hand-written backward passes that sum over the batch but not over time
    wrong  db = α_T
    right  db = Σ_t α_t
    """
    return weights if at.step == at.T - 1 else changed(weights, "bias", Tensor.detach)


@mistake(at="sequence", touches="grad_x", needs=(two_directions,))
def input_gradient_of_one_direction(sequence: Tensor, at: At) -> Tensor:
    """The gradient of a layer's input comes from the forward direction alone.

    where  dx assigned by each direction where it must be added
    wrong  dx = W_ihᵀ α
    right  dx = W_ihᵀ α + W_ih^reverseᵀ α^reverse
    """
    return sequence.detach() if at.direction else sequence


@mistake(at="sequence", touches="grad_x", needs=(several_layers,))
def gradient_stops_between_layers(sequence: Tensor, at: At) -> Tensor:
    """The gradient stops between the layers: only the last one learns.

    where  x = output.detach() or .data between layers, activations stored as NumPy arrays
    wrong  dy_l = 0 for l < L
    right  dy_l = Σ_d dx_{l+1,d}
    """
    return sequence.detach() if at.layer else sequence


@mistake(at="final", touches="grad_x grad_weight_ih grad_weight_hh")
def gradient_of_final_state_ignored(state: State, at: At) -> State:
    """The gradient of the final state is ignored: only the output's is used.

    where  autograd.Function whose backward overlooks dh_n and dc_n
    wrong  dh_T = ∂L/∂y_T
    right  dh_T = ∂L/∂y_T + ∂L/∂h_n
    """
    return tuple(part.detach() for part in state)


@mistake(at="output", touches="grad_x grad_weight_ih", needs=(dense, several_steps))
def gradient_of_last_output_only(y: Tensor, at: At) -> Tensor:
    """Only the loss at the last step is followed back.

    where  hand-written backward passes that begin at T and add nothing on the way
    wrong  dh_{t−1} = W_hhᵀ μ_t
    right  dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t
    """
    return torch.cat([y[:-1].detach(), y[-1:]])


@mistake(at="output", touches="grad_x grad_weight_ih", needs=())
def gradient_of_output_ignored(y: Tensor, at: At) -> Tensor:
    """The gradient of the output is ignored: only the final state's is used.

    where  hand-written backward passes that begin with dh_n and add nothing on the way
    wrong  dh_T = ∂L/∂h_n, dh_{t−1} = W_hhᵀ μ_t
    right  dh_T = ∂L/∂y_T + ∂L/∂h_n, dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t
    """
    return y.detach()


@mistake(
    at="step_weights",
    touches="grad_weight_ih grad_bias_ih grad_bias_hh",
    needs=(several_steps,),
)
def weight_gradient_of_last_step(weights: Weights, at: At) -> Weights:
    """The gradients of the weights are those of the last step alone.

    where  the sum over the steps left out, dW computed once before the backward loop
    wrong  dW = share of step T
    right  dW = Σ_t share of step t
    """
    last = at.step == at.T - 1
    return weights if last else changed(weights, ("weight", "bias"), Tensor.detach)


@mistake(at="product stepped", touches="grad_weight_hh", needs=(square,))
def weight_hh_gradient_with_new_state(value: Any, at: At) -> Any:
    """The gradient of the recurrent weight is taken with the new state.

    where  hand-written backward passes: hs[t] where hs[t − 1] is meant
    wrong  dW_hh = Σ_t μ_t h_tᵀ
    right  dW_hh = Σ_t μ_t h_{t−1}ᵀ
    """
    if at.place == "stepped":
        at.memory["new", at.step] = value[0].detach()
        return value
    product = value

    def wrong(h: Tensor, weight: Tensor) -> Tensor:
        memory, step, fixed = at.memory, at.step, weight.detach()

        def with_new(g: Tensor) -> Gradients:
            return g @ fixed, g.T @ memory["new", step]

        return with_backward(with_new, h, weight, value=product(h, weight))[0]

    return wrong
