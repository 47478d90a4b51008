"""The stack of a hand-derived backend as a function that autograd differentiates.

Three nodes, all with the backend's own first derivatives:

- `_Stack`: the usual one. It keeps what the backward pass needs, in autograd's own store.
- `_Gradients`: the gradients that `_Stack` gives when they will be differentiated again.
- `_Transformed` and its `_TransformedGradients`: for `torch.func` (``grad``, ``vjp``, ``vmap``,
  ``jacrev``). They keep the inputs alone and run forward again for the backward pass; what `vmap`
  maps over runs one after the other, since kernels know no such axis. So do batched upstream
  gradients (``is_grads_batched``).

A pass derived by hand has no derivative itself. That of the gradients is torch's: of the gradients
that torch's step-by-step kernels give for the same numbers (`rnnbench.bptt.second_order`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnbench.bptt import second_order, stack, torch_private
from rnnbench.bptt.call import Call, Wanted
from rnnbench.bptt.recurrence import Layout, Recurrence
from rnnbench.bptt.stack import Tape
from rnnbench.errors import InputError, UnsupportedError
from rnnbench.interface import Inputs, Repeated
from rnnbench.spec import Spec

FORWARD_MODE = (
    "forward-mode derivatives are not derived by hand; the backend 'native' has torch's own"
)


def _each_of_batch(
    upstream: Sequence[Tensor | None], own: Callable[[Sequence[Tensor | None]], list[Tensor | None]]
) -> list[Tensor | None]:
    """Call ``own`` for each entry of the axis of ``is_grads_batched``; stack the results.

    It hands over tensors of torch's old vmap, which has no hook for an autograd function. At most
    one level of it is open at a time.
    """
    level = 1
    physical = [
        torch_private.remove_batch_dim(up, level, 0, 0)
        if up is not None and _is_legacy_batched(up)
        else up
        for up in upstream
    ]
    n = next(
        len(p)
        for p, up in zip(physical, upstream, strict=True)
        if p is not None and _is_legacy_batched(up)
    )
    results = [
        own(
            [
                p[k] if p is not None and _is_legacy_batched(up) else p
                for p, up in zip(physical, upstream, strict=True)
            ]
        )
        for k in range(n)
    ]
    return [
        None
        if any(part is None for part in parts)
        else torch_private.add_batch_dim(torch.stack(parts), 0, level)
        for parts in zip(*results, strict=True)
    ]


def _is_legacy_batched(tensor: Tensor | None) -> bool:
    return tensor is not None and torch_private.is_legacy_batched(tensor)


def _present(upstream: Sequence[Tensor | None]) -> list[Tensor]:
    return [up for up in upstream if up is not None]


def _as_saved(
    found: Sequence[Tensor], kinds: Sequence[tuple[torch.Size, torch.dtype]]
) -> Sequence[Tensor]:
    """Check what was saved: hooks may return something else, and kernels would read beyond it."""
    for tensor, (shape, dtype) in zip(found, kinds, strict=True):
        if tensor.shape != shape or tensor.dtype != dtype:
            raise InputError(
                f"a saved tensor must come back as it was, {tuple(shape)} in {dtype}; got "
                f"{tuple(tensor.shape)} in {tensor.dtype}"
            )
    return found


class _Stack(torch.autograd.Function):
    """The stack as one node of the autograd graph; its backward pass is `stack.backward`."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        y, final, tape = call.forward(tensors, keep=True)
        ctx.call = call
        ctx.set_materialize_grads(False)
        flat = [tensor for saved in tape.saved for tensor in saved]
        # The first layer's input is x itself, which stands among the tensors.
        groups = (tensors, tape.layer_inputs[1:], flat)
        ctx.group_sizes = [len(group) for group in groups]
        ctx.saved_per_layer = [len(saved) for saved in tape.saved]
        # all of it through autograd's own store: a tensor changed in place before the backward
        # pass is then detected, and the memory is freed after it
        everything = [tensor for group in groups for tensor in group]
        ctx.kinds = [(tensor.shape, tensor.dtype) for tensor in everything]
        ctx.save_for_backward(*everything)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        call: Call = ctx.call
        saved = iter(_as_saved(ctx.saved_tensors, ctx.kinds))
        tensors, inner, flat = ([next(saved) for _ in range(size)] for size in ctx.group_sizes)
        parts = iter(flat)
        tape = Tape(
            [tensors[call.masks], *inner],
            [tuple(next(parts) for _ in range(n)) for n in ctx.saved_per_layer],
        )
        wanted = Wanted.of(call, ctx, upstream)
        none = (None,) * (1 + call.masks)

        def own(upstream: Sequence[Tensor | None], spent: bool = False) -> list[Tensor | None]:
            return call.backward(tensors, tape, upstream, needs_dx=wanted.needed[0], spent=spent)

        if any(map(_is_legacy_batched, upstream)):
            return (*none, *_each_of_batch(upstream, own))
        if torch_private.transforms_active():  # upstream may be mapped over
            found = _apply(_TransformedGradients, (call, wanted), *tensors, *_present(upstream))
        elif torch.is_grad_enabled():
            found = _apply(_Gradients, (call, wanted, own), *tensors, *_present(upstream))
        else:
            return (*none, *own(upstream, not torch_private.keeps_graph()))
        return (*none, *wanted.all(found))


class _Gradients(torch.autograd.Function):
    """The gradients that `_Stack.backward` returns, as a node that has a derivative itself."""

    @staticmethod
    def forward(
        ctx: Any,
        static: tuple[Call, Wanted, Callable[[Sequence[Tensor | None]], list[Tensor | None]]],
        *tensors: Tensor,
    ) -> tuple[Tensor | None, ...]:
        call, wanted, own = static
        ctx.static = (call, wanted)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        present = tensors[call.masks + len(wanted.needed) :]
        return wanted.select(own(wanted.upstream(present)))

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        call, wanted = ctx.static
        return (None, *second_order.by_graph(call, wanted, ctx.saved_tensors, above))


def _apply(function: Any, *arguments: Any) -> tuple[Tensor, ...]:
    """Call `Function.apply`, which torch leaves untyped."""
    return function.apply(*arguments)  # type: ignore[no-any-return]


def _one_by_one(
    function: Any, info: Any, in_dims: tuple[Any, ...], static: Any, tensors: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Map a node over an axis: a call for each of its entries, their results stacked."""
    results = [
        _apply(
            function,
            static,
            *(
                t if axis is None else t.select(axis, k)
                for t, axis in zip(tensors, in_dims[1:], strict=True)
            ),
        )
        for k in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


class _Transform(torch.autograd.Function):
    """A node under the transforms of `torch.func`, which keeps its inputs alone."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.static, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise UnsupportedError(FORWARD_MODE)


class _Transformed(_Transform):
    """The stack under the transforms of `torch.func`."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        y, final, _ = call.forward(tensors, keep=False)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        call: Call = ctx.static
        wanted = Wanted.of(call, ctx, upstream)
        found = _apply(
            _TransformedGradients, (call, wanted), *ctx.saved_tensors, *_present(upstream)
        )
        return (*(None,) * (1 + call.masks), *wanted.all(found))

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *tensors: Tensor) -> Any:
        return _one_by_one(_Transformed, info, in_dims, call, tensors)


class _TransformedGradients(_Transform):
    """Gradients of `_Transformed`, from its inputs alone."""

    @staticmethod
    def forward(static: tuple[Call, Wanted], *tensors: Tensor) -> tuple[Tensor | None, ...]:
        call, wanted = static
        end = call.masks + len(wanted.needed)
        _, _, tape = call.forward(tensors[:end], keep=True)
        upstream = wanted.upstream(tensors[end:])
        return wanted.select(
            call.backward(tensors[:end], tape, upstream, needs_dx=wanted.needed[0])
        )

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        call, wanted = ctx.static
        return (None, *second_order.by_functions(call, wanted, ctx.saved_tensors, above))

    @staticmethod
    def vmap(info: Any, in_dims: Any, static: Any, *tensors: Tensor) -> Any:
        return _one_by_one(_TransformedGradients, info, in_dims, static, tensors)


def _tangent(tensor: Tensor) -> Any:
    return forward_ad.unpack_dual(tensor).tangent  # type: ignore[no-untyped-call]


def _duals(inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the tensors that may carry tangents: none outside of forward-mode differentiation."""
    if not torch_private.forward_mode_active():
        return ()
    return (inputs.x, *inputs.state, *inputs.weights)


@torch_private.uncompiled
def run_stack(
    recurrence: Recurrence, spec: Spec, inputs: Inputs
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run the stack around a recurrence, as a hand-derived backend's `run`.

    Builds an autograd node only if a gradient can be asked for; otherwise nothing is kept. Raises
    UnsupportedError for forward-mode differentiation, which would lose its tangents in silence.
    """
    if any(_tangent(t) is not None for t in _duals(inputs)):
        raise UnsupportedError(FORWARD_MODE)
    layout = Layout.of(inputs)
    masks = inputs.masks
    if masks is not None:
        masks = tuple(mask.reshape(layout.N, spec.output_size) for mask in masks)
    elif inputs.dropout > 0:
        masks = stack.draw_masks(spec, inputs.x.reshape(layout.N, -1), inputs.dropout)
    call = Call(recurrence, spec, layout, len(masks or ()), tuple(inputs.x.shape[:-1]))
    return _run(call, masks or (), inputs.x, inputs.state, inputs.weights)


def repeated_stack(recurrence: Recurrence, spec: Spec, inputs: Inputs) -> Repeated:
    """Return `run_stack` without what stays the same, as a hand-derived backend's `repeated`."""
    layout = Layout.of(inputs)
    return partial(_run, Call(recurrence, spec, layout, 0, tuple(inputs.x.shape[:-1])), ())


def _run(
    call: Call,
    masks: Sequence[Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    tensors = (*masks, x.reshape(call.layout.N, x.shape[-1]), *state, *weights)
    if torch_private.transforms_active():
        y, *final = _apply(_Transformed, call, *tensors)
    elif torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y, *final = _apply(_Stack, call, *tensors)
    else:
        y, last, _ = call.forward(tensors, keep=False)
        return y, last
    return y, tuple(final)
