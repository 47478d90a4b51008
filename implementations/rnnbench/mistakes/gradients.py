"""Mistakes of the backward pass alone: output and final state are right, gradients are not.

Where `detach` cannot say it, a small `torch.autograd.Function` is right forward and wrong backward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from rnnbench.mistakes.network import At, State

Weights = Mapping[str, Tensor]


class _WithBackward(torch.autograd.Function):
    """The identity, with any map of the gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, change: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.change = change
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return (None, *ctx.change(*gradients))


def with_backward(change: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, whose gradients g become change(*g)."""
    passed: tuple[Tensor, ...] = _WithBackward.apply(change, *tensors)  # type: ignore[no-untyped-call]
    return passed


def _scaled(tensors: State, factor: float) -> State:
    def change(*gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if g is None else g * factor for g in gradients)

    return with_backward(change, *tensors)


def _scaled_weights(weights: Weights, factor: float) -> Weights:
    return dict(zip(weights, _scaled(tuple(weights.values()), factor), strict=True))


def _without(weights: Weights, *kinds: str) -> Weights:
    """Weights of which some pass no gradient."""
    return {n: w.detach() if n.startswith(kinds) else w for n, w in weights.items()}


@mistake(
    "No gradient reaches h0.",
    where="h0 detached or made a constant, hand-written backward passes that return None for it",
    wrong="∂L/∂h0 = 0",
    right="∂L/∂h0 = dh_0",
    at="initial",
    touches="grad_h0",
    needs=(state_given,),
)
def gradient_of_h0_dropped(state: State, at: At) -> State:
    return state[0].detach(), *state[1:]


@mistake(
    "The state is detached after every step: each loss reaches back over its own step only.",
    where="h = h.detach() inside the time loop, as an attempt at truncated BPTT (Q2)",
    wrong="dh_{t−1} = ∂L/∂y_{t−1}",
    right="dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t + …",
    at="carried",
    touches="grad_h0 grad_x grad_weight_ih",
    needs=(several_steps,),
)
def state_detached_each_step(state: State, at: At) -> State:
    return tuple(part.detach() for part in state) if at.step else state


def _detached_every(k: int) -> Mistake:
    """The state detached where it enters the steps k, 2k, … of the loop."""

    def act(state: State, at: At) -> State:
        cut = at.step and at.step % k == 0
        return tuple(part.detach() for part in state) if cut else state

    act.__name__ = f"state_detached_every_{k}_steps"
    return mistake(
        f"The state is detached every {k} steps: losses behind a cut do not reach the steps "
        "before it, and how far back a loss reaches depends on where it stands.",
        where=f"if t % {k} == 0: h = h.detach(), as an attempt at truncated BPTT (Q2)",
        wrong=f"dh_{{t−1}} = ∂L/∂y_{{t−1}} for t = {k}, {2 * k}, …",
        right="dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t + …",
        at="carried",
        touches="grad_h0 grad_x grad_weight_ih",
        needs=(longer_than(k),),
    )(act)


state_detached_every_2_steps = _detached_every(2)
state_detached_every_3_steps = _detached_every(3)
state_detached_every_4_steps = _detached_every(4)


@mistake(
    "The cell state is detached after every step: dc does not go back through the forget gate.",
    where="hand-written backward passes that carry dh and forget dc",
    wrong="dc_{t−1} = dh_{t−1} ⊙ o ⊙ (1 − tanh² c_{t−1})",
    right="dc_{t−1} = dh_{t−1} ⊙ o ⊙ (1 − tanh² c_{t−1}) + dc_t ⊙ f_t",
    at="carried",
    touches="grad_c0 grad_weight_ih",
    needs=(lstm, several_steps),
)
def cell_state_detached_each_step(state: State, at: At) -> State:
    return (state[0], state[1].detach()) if at.step else state


@mistake(
    "The gradients of the weights are twice what they should be.",
    where="zero_grad forgotten, two backward calls over one graph (a kept state in k1 < k2)",
    wrong=".grad = 2 Σ_t …",
    right=".grad = Σ_t …",
    at="weights",
    touches="grad_weight_ih grad_weight_hh grad_weight_hr grad_bias_ih grad_bias_hh",
)
def gradient_accumulated_twice(weights: Weights, at: At) -> Weights:
    return _scaled_weights(weights, 2.0)


@mistake(
    "The loss is averaged over the time steps where it should be summed.",
    where="loss functions with reduction='mean', compared with a sum",
    wrong="L = (1/T) Σ_t L_t",
    right="L = Σ_t L_t",
    at="output final",
    touches="grad_x grad_h0 grad_c0 grad_weight_ih grad_weight_hh",
    needs=(several_steps,),
)
def gradient_averaged_over_time(value: Any, at: At) -> Any:
    if at.place == "output":
        return _scaled((value,), 1 / at.T)[0]
    return _scaled(value, 1 / at.T)


@mistake(
    "The gradients of the weights are averaged over the batch where they should be summed.",
    where="hand-written backward passes that divide by B",
    wrong="dW = (1/B) Σ_b …",
    right="dW = Σ_b …",
    at="weights",
    touches="grad_weight_ih grad_weight_hh grad_weight_hr grad_bias_ih grad_bias_hh",
    needs=(several_sequences,),
)
def gradient_averaged_over_batch(weights: Weights, at: At) -> Weights:
    return _scaled_weights(weights, 1 / at.B)


def _clipped(*gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    norm = sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
    return tuple(None if g is None else g / max(norm, 1.0) for g in gradients)


@mistake(
    "The gradients of the weights are clipped to a common norm of 1, where it is above.",
    where="clip_grad_norm_(parameters, 1) left in while gradients are compared",
    wrong="dW / max(1, ‖(dW, …)‖)",
    right="dW",
    at="weights",
    touches="grad_weight_ih grad_weight_hh grad_weight_hr grad_bias_ih grad_bias_hh",
)
def gradient_clipped(weights: Weights, at: At) -> Weights:
    return dict(zip(weights, with_backward(_clipped, *weights.values()), strict=True))


@mistake(
    "The gradient of the recurrent weight is transposed, gate by gate.",
    where="outer products taken the wrong way round in hand-written backward passes",
    wrong="dW_hh = Σ_t h_{t−1} μ_tᵀ",
    right="dW_hh = Σ_t μ_t h_{t−1}ᵀ",
    at="weights",
    touches="grad_weight_hh",
    needs=(square,),
)
def weight_hh_gradient_transposed(weights: Weights, at: At) -> Weights:
    H = at.spec.hidden_size

    def turned(g: Tensor | None) -> tuple[Tensor | None]:
        return (None if g is None else g.reshape(-1, H, H).transpose(1, 2).reshape(-1, H),)

    return {
        n: with_backward(turned, w)[0] if n.startswith("weight_hh") else w
        for n, w in weights.items()
    }


@mistake(
    "The first step's share of dW_hh, which belongs to h0, is left out.",
    where="backward loops that stop one step early, h0 taken for zero",
    wrong="dW_hh = Σ_{t≥1} μ_t h_{t−1}ᵀ",
    right="dW_hh = μ_0 h0ᵀ + Σ_{t≥1} μ_t h_{t−1}ᵀ",
    at="step_weights",
    touches="grad_weight_hh",
    needs=(state_given,),
)
def weight_hh_gradient_without_h0(weights: Weights, at: At) -> Weights:
    return weights if at.step else _without(weights, "weight_hh")


@mistake(
    "The gradients of the weights are overwritten at each step of the backward loop.",
    where="dW = … written where dW += … is meant",
    wrong="dW = the share of step 0",
    right="dW = Σ_t share of step t",
    at="step_weights",
    touches="grad_weight_ih grad_weight_hh grad_bias_ih grad_bias_hh",
    needs=(several_steps,),
)
def weight_gradient_overwritten(weights: Weights, at: At) -> Weights:
    return _without(weights, "weight", "bias") if at.step else weights


@mistake(
    "The gradients of the biases are those of the last step alone.",
    where="hand-written backward passes that sum over the batch but not over time",
    wrong="db = α_T",
    right="db = Σ_t α_t",
    at="step_weights",
    touches="grad_bias_ih grad_bias_hh",
    needs=(bias, several_steps),
)
def bias_gradient_of_last_step(weights: Weights, at: At) -> Weights:
    return weights if at.step == at.T - 1 else _without(weights, "bias")


@mistake(
    "The gradient of a layer's input comes from the forward direction alone.",
    where="dx assigned by each direction where it must be added",
    wrong="dx = W_ihᵀ α",
    right="dx = W_ihᵀ α + W_ih^reverseᵀ α^reverse",
    at="sequence",
    touches="grad_x",
    needs=(two_directions,),
)
def input_gradient_of_one_direction(sequence: Tensor, at: At) -> Tensor:
    return sequence.detach() if at.direction else sequence


@mistake(
    "The gradient stops between the layers: only the last one learns.",
    where="x = output.detach() or .data between layers, activations stored as NumPy arrays",
    wrong="dy_l = 0 for l < L",
    right="dy_l = Σ_d dx_{l+1,d}",
    at="sequence",
    touches="grad_x",
    needs=(several_layers,),
)
def gradient_stops_between_layers(sequence: Tensor, at: At) -> Tensor:
    return sequence.detach() if at.layer else sequence


@mistake(
    "The gradient of the final state is ignored: only the output's is used.",
    where="autograd.Function whose backward overlooks dh_n and dc_n",
    wrong="dh_T = ∂L/∂y_T",
    right="dh_T = ∂L/∂y_T + ∂L/∂h_n",
    at="final",
    touches="grad_x grad_weight_ih grad_weight_hh",
)
def gradient_of_final_state_ignored(state: State, at: At) -> State:
    return tuple(part.detach() for part in state)


@mistake(
    "Only the loss at the last step is followed back.",
    where="hand-written backward passes that begin at T and add nothing on the way",
    wrong="dh_{t−1} = W_hhᵀ μ_t",
    right="dh_{t−1} = ∂L/∂y_{t−1} + W_hhᵀ μ_t",
    at="output",
    touches="grad_x grad_weight_ih",
    needs=(dense, several_steps),
)
def gradient_of_last_output_only(y: Tensor, at: At) -> Tensor:
    return torch.cat([y[:-1].detach(), y[-1:]])
