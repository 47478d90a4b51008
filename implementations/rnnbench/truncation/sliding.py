r"""Exact truncated BPTT over a sliding window: all windows' gradients in one stored pass.

With the weights fixed over the pass, let s_t be the states of all layers after step t, F the step,
s_t = F(s_{t−1}, x_t; θ), and ℓ_t a loss of the top layer's output y_t at one of W steps. The window
of ℓ_t are the K steps t−K+1 … t: the states of *every layer* are cut at its start, s_{t−K} is a
constant. Its gradient, and the sum over all windows, is

    ∂ℓ_t/∂θ = Σ_{a=0}^{K−1} δ_t(a) ∂F_{t−a}/∂θ      δ_t(0) = ∂ℓ_t/∂s_t
                                                     δ_t(a) = δ_t(a−1) ∂s_{t−a+1}/∂s_{t−a}
    Σ_t ∂ℓ_t/∂θ = Σ_s (Σ_{a<K} δ_{s+a}(a)) ∂F_s/∂θ

which is brute force, each window run by itself with autograd from the detached s_{t−K}, without
running it: the window's forward pass is part of the stored one, as the weights are the same. The
Jacobians belong to steps, not to windows. So all δ_t(a) of one age a are the rows of one matrix,
which goes K times through (W·B × H)·(H × H) products, and, since a step of BPTT is linear, the rows
that stand at step s can be added up before they meet ∂F_s/∂θ: a product over T·B rows per weight,
as in full BPTT. Several layers go down at the same age, top first:

    dh_l(a) = what came from dh_l(a−1) through W_hh  +  α_{l+1}(a) W_ih,l+1     (⊙ dropout's mask)

The K steps back are run by `KERNELS` on the CPU in float32 and float64, vector kernels compiled at
their first use, and elsewhere by `steps_back`, the plain version that they are tested against;
`Part.kernel` says which it was.

Cost: one forward pass and K times the recurrent half of one backward pass. Memory: the outputs of
all layers from forward to backward; then about 2·G + 2 numbers a unit and step, twice that while
they are made, and `TILE_BYTES` for the windows, which are taken in tiles.

A short window, t < K−1, starts from the initial state. No gradient goes to the initial state: it
lies before every window.

Source of the idea that windows share their forward pass: Williams and Peng, "An efficient
gradient-based algorithm for on-line training of recurrent network trajectories", 1990 (BPTT(h),
which costs h steps back at every step, one window at a time). Known shortcomings: no second
derivatives; one direction only, as a reverse state at t has seen the steps after t; the module's
weights are run, not its ``forward``, so that hooks on it are not called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnbench import interface
from rnnbench.bptt.linearised import Kernel, Layer, Sums
from rnnbench.bptt.recurrence import LayerWeights, sum_of_outer
from rnnbench.bptt.stack import draw_masks, weights_of
from rnnbench.errors import UnsupportedError
from rnnbench.spec import CELLS, Spec
from rnnbench.spec_of import spec_and_weights
from rnnbench.truncation.jacobian import linearise, push
from rnnbench.truncation.runner import Runner
from rnnbench.truncation.state import State, choose_rows, segments

TILE_BYTES = 2**20
"""Memory of one tile of windows, in bytes, roughly: it should stay in a core's cache."""


def steps_back(spec: Spec, layers: Sequence[Layer], dy: Tensor, steps: range, k: int) -> list[Sums]:
    """Run all windows K steps back in plain torch: age by age, at each from the top layer down."""
    T, B = layers[0].jacobian.to_a.shape[:2]
    sums = [
        Sums(
            dy.new_zeros(T, B, spec.state_size),
            dy.new_zeros(T, B, spec.hidden_size) if spec.has_cell_state else None,
        )
        for _ in layers
    ]
    width = spec.layers * (spec.gates + 3) * spec.hidden_size
    tile = max(1, TILE_BYTES // (max(1, B) * width * dy.element_size()))
    for start in range(0, len(steps), tile):
        _tile_back(layers, dy[start : start + tile], steps[start : start + tile], k, sums)
    return sums


def _tile_back(
    layers: Sequence[Layer], dy: Tensor, steps: range, k: int, sums: Sequence[Sums]
) -> None:
    """Add one tile's K steps to the sums; dh[l] and dc[l] hold the windows still inside."""
    top = len(layers) - 1
    dh: list[Tensor | None] = [None] * top + [dy]
    dc: list[Tensor | None] = [None] * len(layers)
    for age in range(k):
        gone = len(range(steps.start, min(age, steps.stop), steps.step))
        if gone:  # windows that began before the sequence has done so
            steps = steps[gone:]
            dh = [None if part is None else part[gone:] for part in dh]
            dc = [None if part is None else part[gone:] for part in dc]
        if not steps:
            return
        rows = slice(steps.start - age, steps[-1] - age + 1, steps.step)
        for index in range(top, -1, -1):
            layer, total, d = layers[index], sums[index], dh[index]
            assert d is not None
            total.dh[rows] += d
            J = layer.jacobian.at(rows)
            dm = d if layer.weights.hr is None else d @ layer.weights.hr
            c = dc[index]
            if J.to_c is not None and J.past_c is not None and total.dc is not None:
                c = dm * J.to_c if c is None else torch.addcmul(c, dm, J.to_c)
                total.dc[rows] += c
                dc[index] = c * J.past_c
            if index:
                down = push(J.to_a, dm, c) @ layer.weights.ih
                if layer.mask is not None:
                    down *= layer.mask[rows]
                earlier = dh[index - 1]
                dh[index - 1] = down if earlier is None else down.add_(earlier)
            if age + 1 < k:
                back = push(J.to_u, dm, c) @ layer.weights.hh
                dh[index] = back if J.to_h is None else back.addcmul_(dm, J.to_h)


NUMBA = "numba"


def _on_vectors(
    spec: Spec, layers: Sequence[Layer], dy: Tensor, steps: range, k: int
) -> list[Sums]:
    """Run the numba backend's kernels, imported and compiled when they are first used."""
    from rnnbench.backends.numba import windows

    return windows.steps_back(spec, layers, dy, steps, k)


KERNELS: dict[tuple[str, str], Kernel] = {
    (cell, dtype): _on_vectors for cell in CELLS for dtype in ("float32", "float64")
}
"""(cell, dtype) → what runs the K steps on the CPU in place of `steps_back`, its reference."""


def kernel_for(spec: Spec, device: torch.device) -> tuple[str, Kernel]:
    """Return the name of what runs the windows' backward pass, and the function.

    "numba" where `KERNELS` has one, on the CPU; "torch", which is `steps_back`, for the other
    dtypes and devices.
    """
    found = KERNELS.get((spec.cell, spec.dtype)) if device.type == "cpu" else None
    return ("torch", steps_back) if found is None else (NUMBA, found)


@dataclass(frozen=True)
class Plan:
    """Arguments of one sliding pass, besides tensors that need a gradient.

    backend     what runs the forward pass
    kernel      what runs the windows' backward pass
    dropout     probability in force between the layers
    lengths     (B,) int64, or None
    steps       the steps that have a loss
    k           steps that each loss reaches back
    """

    spec: Spec
    backend: str
    kernel: Kernel
    state: tuple[Tensor, ...]
    dropout: float
    lengths: Tensor | None
    steps: range
    k: int


def _one_layer(spec: Spec, layer: int) -> Spec:
    return Spec(
        spec.cell, spec.layer_input_size(layer), spec.hidden_size, bias=spec.bias,
        dtype=spec.dtype, proj_size=spec.proj_size,
    )  # fmt: skip


def _run_layer(
    plan: Plan, layer: int, x: Tensor, weights: LayerWeights
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return output (T, B, P or H) and final state (1, B, ·) of a layer on the plan's backend."""
    spec = _one_layer(plan.spec, layer)
    given = tuple(w for w in weights if w is not None)
    state = tuple(part[layer : layer + 1] for part in plan.state)
    outputs = []
    for first, last in segments(plan.lengths, 0, len(x)):
        y, new = interface.run(plan.backend, spec, x[first:last], state, given)
        if plan.lengths is not None:
            new = choose_rows(plan.lengths > first, new, state, 1)
        outputs.append(y)
        state = new
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


class _Sliding(torch.autograd.Function):
    """The autograd node: stores the forward pass, and runs all windows back."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        spec = plan.spec
        masks: tuple[Tensor, ...] = ()
        if plan.dropout > 0 and spec.layers > 1:
            drawn = draw_masks(spec, x.flatten(0, 1), plan.dropout)
            masks = tuple(mask.view(*x.shape[:2], -1) for mask in drawn)
        outputs, finals, below = [], [], x
        for layer in range(spec.layers):
            if layer and masks:
                below = below * masks[layer - 1]
            below, final = _run_layer(plan, layer, below, weights_of(spec, weights, layer))
            outputs.append(below)
            finals.append(final)
        final = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
        whole = len(plan.steps) == len(x)
        y = below if whole else below[plan.steps.start :: plan.steps.step].clone()
        ctx.plan, ctx.counts = plan, (len(masks), spec.layers)
        ctx.mark_non_differentiable(*final)
        ctx.save_for_backward(x, *masks, *outputs, *plan.state, *weights)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise UnsupportedError("mode 'sliding' has no second derivatives (create_graph=True)")
        plan, (n_masks, n_layers) = ctx.plan, ctx.counts
        spec = plan.spec
        x, *rest = ctx.saved_tensors
        masks, rest = rest[:n_masks], rest[n_masks:]
        outputs, rest = rest[:n_layers], rest[n_layers:]
        state, weights = rest[: len(plan.state)], rest[len(plan.state) :]
        layers = _linearised(spec, x, masks, outputs, state, weights)
        sums = plan.kernel(spec, layers, dy.contiguous(), plan.steps, plan.k)
        dx, gradients = None, []
        for index, (layer, total) in enumerate(zip(layers, sums, strict=True)):
            alpha, own = _layer_gradients(layer, total)
            gradients += own
            if index == 0 and ctx.needs_input_grad[1]:
                dx = (alpha @ layer.weights.ih).view_as(x)
        return (None, dx, *gradients)


def _linearised(
    spec: Spec,
    x: Tensor,
    masks: Sequence[Tensor],
    outputs: Sequence[Tensor],
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> list[Layer]:
    """Return every layer with its derivative, from the outputs that the forward pass stored."""
    layers = []
    for index, y in enumerate(outputs):
        mask = masks[index - 1] if index and masks else None
        x = x if mask is None else x * mask
        own = weights_of(spec, weights, index)
        before = torch.cat([state[0][index][None], y[:-1]])
        c0 = state[1][index] if spec.has_cell_state else None
        jacobian, m = linearise(spec, own, x, before, y, c0)
        layers.append(Layer(jacobian, own, mask, x, before, m))
        x = y
    return layers


def _layer_gradients(layer: Layer, sums: Sums) -> tuple[Tensor, list[Tensor]]:
    """Return Σ_s α (T·B, G·H), and the gradients of the layer's weights in torch's order."""
    J, weights = layer.jacobian, layer.weights
    dm = sums.dh if weights.hr is None else sums.dh @ weights.hr
    alpha = push(J.to_a, dm, sums.dc).flatten(0, 1)
    same = J.to_a is J.to_u
    mu = alpha if same else push(J.to_u, dm, sums.dc).flatten(0, 1)
    block = 4 * math.isqrt(len(alpha)) + 1  # a fourth above the least error, in few products
    found = [
        sum_of_outer(alpha, layer.x.flatten(0, 1), block),
        sum_of_outer(mu, layer.h_before.flatten(0, 1), block),
    ]
    if weights.bias_ih is not None:
        found.append(alpha.sum(0))
        found.append(found[-1].clone() if same else mu.sum(0))
    if layer.m is not None:
        found.append(sum_of_outer(sums.dh.flatten(0, 1), layer.m.flatten(0, 1), block))
    return alpha, found


def supported(model: Any) -> tuple[Spec, tuple[Tensor, ...]]:
    """Return spec and weights of a model that sliding windows are derived for.

    Raises UnsupportedError for any other.
    """
    found = spec_and_weights(model)
    if found is None:
        raise UnsupportedError(
            "mode 'sliding' is derived by hand for RNN, GRU and LSTM of rnnbench and torch.nn and "
            f"for torch.nn's cells; got {type(model).__name__}. Mode 'k1_k2' with k1=1 and k2=k "
            "has the same gradient for any model, for k times the work"
        )
    if found[0].directions > 1:
        raise UnsupportedError(
            "mode 'sliding' is for one direction: a reverse state has seen the steps after a "
            "window; got a bidirectional module"
        )
    return found


def _backend_of(model: Any, spec: Spec, device: str, kernel: str) -> str:
    """Return the module's own backend, or "native" for torch's modules.

    For "auto" that of the windows' kernel, or the first that can. Measured, RNN, T=2048, B=1, H=64:
    0.8 ms on "numba", 17 ms on "native".
    """
    name: str = getattr(model, "backend", "native")
    if name != interface.AUTO:
        return name
    order = (*[kernel] * (kernel == NUMBA), *interface.AUTO_ORDER)
    conditions = interface.Conditions(device=device, phase="inference")
    return interface.first_supporting(spec, conditions, order)


def sliding(runner: Runner, state: State, k: int, steps: range) -> tuple[Tensor, State, str]:
    """Run the model and return output, final state and the name of the windows' kernel.

    The output is that of the given steps, laid out as the runner's; the state is detached.

    Raises UnsupportedError for a model that `supported` refuses, and InputError, in the words of
    `rnnbench.interface.check_inputs`, for an argument that does not fit the model.
    """
    spec, weights = supported(runner.model)
    inputs = runner.checked_inputs(spec, weights, runner.piece(range(runner.T)), state)
    x = inputs.x
    dropout = spec.dropout if getattr(runner.model, "training", False) else 0.0
    initial = tuple(part.detach() for part in inputs.state)
    name, kernel = kernel_for(spec, x.device)
    backend = _backend_of(runner.model, spec, x.device.type, name)
    plan = Plan(spec, backend, kernel, initial, dropout, runner.lengths, steps, k)
    with torch.autocast(x.device.type, enabled=False):
        y, *final = _Sliding.apply(plan, x, *weights)  # type: ignore[no-untyped-call]
    if isinstance(runner.model, nn.RNNCellBase):
        final = [part[0] for part in final]
    if not runner.batched:
        y, final = y[:, 0], [part.squeeze(-2) for part in final]
    y = y.transpose(0, 1) if runner.time else y
    return runner.padded(y, steps), tuple(final) if spec.has_cell_state else final[0], name
