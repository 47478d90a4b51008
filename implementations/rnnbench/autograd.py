"""The stack of a hand-derived backend as a function that autograd differentiates.

`_Stack` is one node of the graph, its backward pass the hand-derived one of `rnnbench.stack`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnbench import stack
from rnnbench.errors import UnsupportedError
from rnnbench.interface import Inputs, get_backend
from rnnbench.recurrence import Layout, Recurrence
from rnnbench.spec import Spec
from rnnbench.stack import Tape


class _Stack(torch.autograd.Function):
    """The stack as one node of the autograd graph; its backward pass is `stack.backward`."""

    @staticmethod
    def forward(
        ctx: Any,
        recurrence: Recurrence,
        spec: Spec,
        layout: Layout,
        masks: tuple[Tensor, ...] | None,
        x: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        n = 2 if spec.has_cell_state else 1
        state, weights = tensors[:n], tensors[n:]
        y, final, tape = stack.forward(
            recurrence, spec, layout, x, state, weights, masks, keep=True
        )
        ctx.static = (recurrence, spec, layout)
        ctx.set_materialize_grads(False)
        flat = [tensor for saved in tape.saved for tensor in saved]
        groups = (state, weights, masks or (), tape.layer_inputs, flat)
        ctx.group_sizes = [len(group) for group in groups]
        ctx.saved_per_layer = [len(saved) for saved in tape.saved]
        # all of it through autograd's own store: a tensor changed in place before the backward
        # pass is then detected, and the memory is freed after it
        ctx.save_for_backward(*(tensor for group in groups for tensor in group))
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dfinal: Tensor | None) -> tuple[Any, ...]:
        recurrence, spec, layout = ctx.static
        tensors = iter(ctx.saved_tensors)
        groups = [[next(tensors) for _ in range(size)] for size in ctx.group_sizes]
        state, weights, masks, layer_inputs, flat = groups
        needed = ctx.needs_input_grad[4:]
        parts = iter(flat)
        tape = Tape(
            layer_inputs, [tuple(next(parts) for _ in range(n)) for n in ctx.saved_per_layer]
        )

        def own(upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
            dy, *dfinal = upstream
            if dy is None:
                dy = weights[0].new_zeros(layout.N, spec.output_size)
            dstate = [
                torch.zeros_like(part) if d is None else d
                for d, part in zip(dfinal, state, strict=True)
            ]
            dx, dinitial, dweights = stack.backward(
                recurrence, spec, layout, tape, weights, masks or None, dy, dstate,
                needs_dx=needed[0],
            )  # fmt: skip
            return [dx, *dinitial, *dweights]

        upstream = (dy, *dfinal)
        if not torch.is_grad_enabled():
            return (None, None, None, None, *own(upstream))
        sources = (layer_inputs[0], *state, *weights)
        gradients = iter(_Gradients.of(spec, layout, own, needed, sources, masks, upstream))
        return (None, None, None, None, *(next(gradients) if need else None for need in needed))


class _Gradients(torch.autograd.Function):
    """The gradients that `_Stack.backward` returns, as a node that has a derivative itself.

    They are the backend's own. Only their derivative, which a backward pass derived by hand does
    not have, is torch's: of the gradients that torch's step-by-step kernels give for the same
    numbers, which can be differentiated any number of times.
    """

    @staticmethod
    def of(
        spec: Spec,
        layout: Layout,
        own: Callable[[Sequence[Tensor | None]], list[Tensor | None]],
        needed: Sequence[bool],
        sources: Sequence[Tensor],
        masks: Sequence[Tensor],
        upstream: Sequence[Tensor | None],
    ) -> Sequence[Tensor]:
        """Gradients of those ``sources`` (x, state, weights) that are ``needed``."""
        given = [up is not None for up in upstream]
        static = (spec, layout, own, needed, given, len(masks))
        present = [up for up in upstream if up is not None]
        return _Gradients.apply(static, *masks, *sources, *present)  # type: ignore[no-untyped-call, no-any-return]

    @staticmethod
    def forward(ctx: Any, static: Any, *tensors: Tensor) -> tuple[Tensor | None, ...]:
        _, _, own, needed, given, n_masks = static
        present = iter(tensors[n_masks + len(needed) :])
        upstream = [next(present) if there else None for there in given]
        ctx.static = static
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(g for g, need in zip(own(upstream), needed, strict=True) if need)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        spec, layout, _, needed, given, n_masks = ctx.static
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Aliases: these derivatives are partial. x must not be reached through dy, which the
            # loss may have made from an output that was made from x.
            tensors = [tensor.view_as(tensor) for tensor in ctx.saved_tensors]
            masks, sources = tensors[:n_masks], tensors[n_masks : n_masks + len(needed)]
            present = tensors[n_masks + len(needed) :]
            gradients = _torch_gradients(spec, layout, sources, masks, present, given, needed)
            pairs = [
                (gradient, up)
                for gradient, up in zip(gradients, above, strict=True)
                if up is not None and gradient is not None
            ]
            found = iter(
                torch.autograd.grad(
                    [gradient for gradient, _ in pairs],
                    [t for t in (*sources, *present) if t.requires_grad],
                    [up for _, up in pairs],
                    create_graph=create_graph,
                    allow_unused=True,
                )
            )
        below = [next(found) if t.requires_grad else None for t in (*sources, *present)]
        return (None, *[None] * n_masks, *below)


def _torch_gradients(
    spec: Spec,
    layout: Layout,
    sources: Sequence[Tensor],
    masks: Sequence[Tensor],
    present: Sequence[Tensor],
    given: Sequence[bool],
    needed: Sequence[bool],
) -> Sequence[Tensor | None]:
    """Gradients of the needed sources by torch's own kernels, as a differentiable graph."""
    n = 2 if spec.has_cell_state else 1
    x, state, weights = sources[0], tuple(sources[1 : 1 + n]), tuple(sources[1 + n :])
    # packed rows, dense or not: they always take the step-by-step kernels
    inputs = Inputs(x, state, weights, torch.tensor(layout.batch_sizes), 0.0, tuple(masks) or None)
    y, final = get_backend("native").run(spec, inputs)
    outputs = [output for output, there in zip((y, *final), given, strict=True) if there]
    wanted = [source for source, need in zip(sources, needed, strict=True) if need]
    return torch.autograd.grad(outputs, wanted, present, create_graph=True, allow_unused=True)


def _tangent(tensor: Tensor) -> Any:
    return forward_ad.unpack_dual(tensor).tangent  # type: ignore[no-untyped-call]


def _duals(inputs: Inputs) -> tuple[Tensor, ...]:
    """The tensors that may carry tangents: none outside of forward-mode differentiation."""
    inside = forward_ad._current_level >= 0
    return (inputs.x, *inputs.state, *inputs.weights) if inside else ()


def run_stack(
    recurrence: Recurrence, spec: Spec, inputs: Inputs
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a hand-derived backend's `run` is: the stack around its recurrence.

    Builds an autograd node only if a gradient can be asked for; otherwise nothing is kept. Raises
    UnsupportedError for forward-mode differentiation, which would lose its tangents in silence.
    """
    if any(_tangent(t) is not None for t in _duals(inputs)):
        raise UnsupportedError(
            "forward-mode derivatives are not derived by hand; the backend 'native' has torch's own"
        )
    layout = Layout.of(inputs)
    rows = inputs.x.reshape(layout.N, spec.input_size)
    masks = inputs.masks
    if masks is not None:
        masks = tuple(mask.reshape(layout.N, spec.output_size) for mask in masks)
    elif inputs.dropout > 0:
        masks = stack.draw_masks(spec, rows, inputs.dropout)
    tensors = (rows, *inputs.state, *inputs.weights)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y, *final = _Stack.apply(recurrence, spec, layout, masks, *tensors)  # type: ignore[no-untyped-call]
    else:
        y, final, _ = stack.forward(
            recurrence, spec, layout, rows, inputs.state, inputs.weights, masks, keep=False
        )
    return y.reshape(*inputs.x.shape[:-1], spec.output_size), tuple(final)
