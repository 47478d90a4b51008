"""Layers, directions and dropout around one recurrence: both passes, without autograd.

The order is *layer outside, direction inside*: layer l+1 in either direction needs the output of
both directions of layer l at every step, and the reverse direction's output at step t exists only
once it has run over the whole sequence.

Backward through the stack, with y_l the output of layer l (directions side by side), m_l the
dropout mask behind it and x_{l+1} = m_l ⊙ y_l:

    dy_l = m_l ⊙ Σ_d dx_{l+1,d}          (both directions of the next layer read the same input)
    dy_{l,d} = columns d·P … (d+1)·P of dy_l
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbench.bptt.recurrence import (
    BackwardInputs,
    LayerPass,
    LayerResult,
    LayerWeights,
    Layout,
    Recurrence,
)
from rnnbench.spec import Spec


def weights_of(spec: Spec, weights: Sequence[Any], k: int) -> LayerWeights:
    """Return those of layer k // D in direction k mod D."""
    n = spec.parameters_per_layer
    start = n * k
    bias_ih, bias_hh = weights[start + 2 : start + 4] if spec.bias else (None, None)
    hr = weights[start + n - 1] if spec.proj_size else None
    return LayerWeights(weights[start], weights[start + 1], bias_ih, bias_hh, hr)


@dataclass(frozen=True)
class Network:
    """A recurrence, the network of its layers, and the rows that they work on."""

    recurrence: Recurrence
    spec: Spec
    layout: Layout


class Tape(NamedTuple):
    """Each layer's input, and what each layer's recurrence saved in each direction."""

    layer_inputs: list[Tensor]
    saved: list[tuple[Tensor, ...]]


def forward(
    network: Network,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    *,
    keep: bool,
) -> tuple[Tensor, tuple[Tensor, ...], Tape]:
    """Run all layers; return the last one's rows (N, D·P), the final state and the tape.

    The state of a single layer in one direction is (B, size), that of more (L·D, B, size).
    """
    recurrence, spec, layout = network.recurrence, network.spec, network.layout
    final_h, final_c, tape = [], [], Tape([], [])
    for layer in range(spec.layers):
        if layer > 0 and masks is not None:
            x = x * masks[layer - 1]
        if keep:
            tape.layer_inputs.append(x)
        starts = [
            (
                LayerPass(spec, layout, x, weights_of(spec, weights, k), reverse),
                state[0][k],
                state[1][k] if spec.has_cell_state else None,
            )
            for k, reverse in _directions(spec, layer)
        ]
        results: Sequence[LayerResult]
        if len(starts) == 1:
            results = [recurrence.forward(*starts[0], keep=keep)]
            x = results[0].y
        else:
            x, results = recurrence.both_directions(starts, keep=keep)
        for result in results:
            final_h.append(result.h_n)
            if result.c_n is not None:
                final_c.append(result.c_n)
            if keep:
                tape.saved.append(result.saved)
    final = [
        part[0] if len(part) == 1 else torch.stack(part) for part in (final_h, final_c) if part
    ]
    if keep:  # the user may change the results in place before the backward pass
        last = tape.saved[-spec.directions :]
        held = {_memory(part) for saved in last for part in saved}
        x, *final = [recurrence.copy(own) if _memory(own) in held else own for own in (x, *final)]
    return x, tuple(final), tape


def _directions(spec: Spec, layer: int) -> list[tuple[int, bool]]:
    """Return each direction's place among the states and weights, and whether it is reverse."""
    return [(layer * spec.directions + d, d == 1) for d in range(spec.directions)]


def _memory(tensor: Tensor) -> int:
    """Return what the tensor and all of its views have in common: their storage's address."""
    return tensor.untyped_storage().data_ptr()


def backward(
    network: Network,
    tape: Tape,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    dy: Tensor,
    dstate: Sequence[Tensor],
    *,
    needs_dx: bool,
    spent: bool,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Return the gradients of x, of the initial state and of every weight.

    spent: whether nobody uses the tape after this.
    """
    recurrence, spec, layout = network.recurrence, network.spec, network.layout
    columns = spec.state_size
    dh0: list[Tensor] = []
    dc0: list[Tensor] = []
    dweights: list[list[Tensor]] = []
    dx: Tensor | None = None
    for layer in reversed(range(spec.layers)):
        calls, x = [], tape.layer_inputs[layer]
        for k, reverse in reversed(_directions(spec, layer)):
            own = LayerPass(spec, layout, x, weights_of(spec, weights, k), reverse)
            given = BackwardInputs(
                tape.saved[k],
                dy[:, reverse * columns : (reverse + 1) * columns],
                dstate[0][k],
                dstate[1][k] if spec.has_cell_state else None,
                needs_dx or layer > 0,
                spent,
            )
            calls.append(partial(recurrence.backward, own, given))
        dx = None
        for gradients in recurrence.directions(own, calls):
            if gradients.dx is not None:
                dx = gradients.dx if dx is None else dx.add_(gradients.dx)
            dh0.append(gradients.dh0)
            if gradients.dc0 is not None:
                dc0.append(gradients.dc0)
            dweights.append([w for w in gradients.weights if w is not None])
        if layer > 0 and dx is not None:
            dy = dx if masks is None else dx * masks[layer - 1]
    initial = [_stacked(part[::-1]) for part in (dh0, dc0) if part]
    return dx, initial, [w for group in reversed(dweights) for w in group]


def _stacked(states: list[Tensor]) -> Tensor:
    """Return the states as one tensor (L·D, B, size)."""
    return states[0].unsqueeze(0) if len(states) == 1 else torch.stack(states)


def draw_masks(spec: Spec, x: Tensor, p: float) -> tuple[Tensor, ...]:
    """Draw L−1 dropout masks for rows x (N, I): 0 with probability p, else 1/(1−p).

    Drawn as torch's own dropout on the CPU draws them, so that one seed gives one mask for all.
    """
    if p == 1.0:
        return tuple(x.new_zeros(len(x), spec.output_size) for _ in range(spec.layers - 1))
    return tuple(
        x.new_empty(len(x), spec.output_size).bernoulli_(1 - p).div_(1 - p)
        for _ in range(spec.layers - 1)
    )
