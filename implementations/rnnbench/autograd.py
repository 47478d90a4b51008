"""The stack of a hand-derived backend as a function that autograd differentiates.

Three nodes, all with the backend's own first derivatives:

- `_Stack`: the usual one. It keeps what the backward pass needs, in autograd's own store.
- `_Gradients`: the gradients that `_Stack` gives when they will be differentiated again.
- `_Transformed` and its `_TransformedGradients`: for `torch.func` (``grad``, ``vjp``, ``vmap``,
  ``jacrev``). They keep the inputs alone and run forward again for the backward pass; what `vmap`
  maps over runs one after the other, since kernels know no such axis.

A pass derived by hand has no derivative itself. That of the gradients is torch's: of the gradients
that torch's step-by-step kernels give for the same numbers (`_second_derivatives`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

FORWARD_MODE = (
    "forward-mode derivatives are not derived by hand; the backend 'native' has torch's own"
)


LEGACY_BATCHING = (
    "is_grads_batched hands over tensors of torch's old vmap, which kernels derived by hand cannot "
    "read; torch.func.vjp with torch.vmap, or torch.func.jacrev, does the same"
)


@dataclass(frozen=True)
class _Call:
    """What a node must know besides its tensors: masks, then the sources x, state and weights."""

    recurrence: Recurrence
    spec: Spec
    layout: Layout
    masks: int

    def split(
        self, tensors: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...] | None, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Masks (None if there are none), x, state and weights."""
        masks, (x, *rest) = tensors[: self.masks], tensors[self.masks :]
        n = 2 if self.spec.has_cell_state else 1
        return tuple(masks) or None, x, tuple(rest[:n]), tuple(rest[n:])

    def forward(
        self, tensors: Sequence[Tensor], *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tape]:
        masks, x, state, weights = self.split(tensors)
        return stack.forward(
            self.recurrence, self.spec, self.layout, x, state, weights, masks, keep=keep
        )

    def backward(
        self,
        tensors: Sequence[Tensor],
        tape: Tape,
        upstream: Sequence[Tensor | None],
        *,
        needs_dx: bool,
    ) -> list[Tensor | None]:
        """Gradients of all sources; a None in ``upstream`` is a gradient of zero."""
        masks, _, state, weights = self.split(tensors)
        dy, *dfinal = upstream
        if dy is None:
            dy = weights[0].new_zeros(self.layout.N, self.spec.output_size)
        dstate = [
            torch.zeros_like(part) if d is None else d
            for d, part in zip(dfinal, state, strict=True)
        ]
        dx, dinitial, dweights = stack.backward(
            self.recurrence, self.spec, self.layout, tape, weights, masks, dy, dstate,
            needs_dx=needs_dx,
        )  # fmt: skip
        return [dx, *dinitial, *dweights]


@dataclass(frozen=True)
class _Wanted:
    """Which sources' gradients are asked for, and which outputs have an upstream gradient."""

    needed: tuple[bool, ...]
    given: tuple[bool, ...]

    @classmethod
    def of(cls, call: _Call, ctx: Any, upstream: Sequence[Tensor | None]) -> _Wanted:
        return cls(ctx.needs_input_grad[1 + call.masks :], tuple(up is not None for up in upstream))

    def upstream(self, present: Sequence[Tensor]) -> list[Tensor | None]:
        """One for each output, from those that are there."""
        rest = iter(present)
        return [next(rest) if there else None for there in self.given]

    def select(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        return tuple(g for g, need in zip(gradients, self.needed, strict=True) if need)

    def all(self, selected: Sequence[Tensor | None]) -> list[Tensor | None]:
        """One for each source, None for those not asked for."""
        rest = iter(selected)
        return [next(rest) if need else None for need in self.needed]


def _refuse_legacy_batching(upstream: Sequence[Tensor | None]) -> None:
    if any(torch._C._functorch.is_legacy_batchedtensor(up) for up in upstream if up is not None):
        raise UnsupportedError(LEGACY_BATCHING)


def _present(upstream: Sequence[Tensor | None]) -> list[Tensor]:
    return [up for up in upstream if up is not None]


class _Stack(torch.autograd.Function):
    """The stack as one node of the autograd graph; its backward pass is `stack.backward`."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
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
        ctx.save_for_backward(*(tensor for group in groups for tensor in group))
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        call: _Call = ctx.call
        _refuse_legacy_batching(upstream)
        saved = iter(ctx.saved_tensors)
        tensors, inner, flat = ([next(saved) for _ in range(size)] for size in ctx.group_sizes)
        parts = iter(flat)
        tape = Tape(
            [tensors[call.masks], *inner],
            [tuple(next(parts) for _ in range(n)) for n in ctx.saved_per_layer],
        )
        wanted = _Wanted.of(call, ctx, upstream)
        none = (None,) * (1 + call.masks)

        def own(upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
            return call.backward(tensors, tape, upstream, needs_dx=wanted.needed[0])

        if torch._C._are_functorch_transforms_active():  # upstream may be mapped over
            found = _apply(_TransformedGradients, (call, wanted), *tensors, *_present(upstream))
        elif torch.is_grad_enabled():
            found = _apply(_Gradients, (call, wanted, own), *tensors, *_present(upstream))
        else:
            return (*none, *own(upstream))
        return (*none, *wanted.all(found))


class _Gradients(torch.autograd.Function):
    """The gradients that `_Stack.backward` returns, as a node that has a derivative itself."""

    @staticmethod
    def forward(
        ctx: Any,
        static: tuple[_Call, _Wanted, Callable[[Sequence[Tensor | None]], list[Tensor | None]]],
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
        return (None, *_second_derivatives(call, wanted, ctx.saved_tensors, above))


def _apply(function: Any, *arguments: Any) -> tuple[Tensor, ...]:
    """`Function.apply`, which torch leaves untyped."""
    return function.apply(*arguments)  # type: ignore[no-any-return]


def _one_by_one(
    function: Any, info: Any, in_dims: tuple[Any, ...], static: Any, tensors: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """`vmap` of a node: a call for each entry of the mapped axis, their results stacked."""
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


class _Transformed(torch.autograd.Function):
    """The stack under the transforms of `torch.func`."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        y, final, _ = call.forward(tensors, keep=False)
        return (y, *final)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.call, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        call: _Call = ctx.call
        wanted = _Wanted.of(call, ctx, upstream)
        found = _apply(
            _TransformedGradients, (call, wanted), *ctx.saved_tensors, *_present(upstream)
        )
        return (*(None,) * (1 + call.masks), *wanted.all(found))

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: _Call, *tensors: Tensor) -> Any:
        return _one_by_one(_Transformed, info, in_dims, call, tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise UnsupportedError(FORWARD_MODE)


class _TransformedGradients(torch.autograd.Function):
    """Gradients of `_Transformed`, from its inputs alone."""

    @staticmethod
    def forward(static: tuple[_Call, _Wanted], *tensors: Tensor) -> tuple[Tensor | None, ...]:
        call, wanted = static
        end = call.masks + len(wanted.needed)
        _, _, tape = call.forward(tensors[:end], keep=True)
        upstream = wanted.upstream(tensors[end:])
        return wanted.select(
            call.backward(tensors[:end], tape, upstream, needs_dx=wanted.needed[0])
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.static, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        call, wanted = ctx.static
        return (None, *_transformed_second_derivatives(call, wanted, ctx.saved_tensors, above))

    @staticmethod
    def vmap(info: Any, in_dims: Any, static: Any, *tensors: Tensor) -> Any:
        return _one_by_one(_TransformedGradients, info, in_dims, static, tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise UnsupportedError(FORWARD_MODE)


def _by_torch(
    call: _Call, wanted: _Wanted, masks: Sequence[Tensor], sources: Sequence[Tensor], *, rows: bool
) -> list[Tensor]:
    """Those outputs that have an upstream gradient, by torch's own kernels.

    rows: as packed rows, dense or not, which always take the step-by-step kernels; otherwise
    (T, B, I), of which a float32 LSTM goes to oneDNN
    """
    _, x, state, weights = call.split((*masks, *sources))
    if rows:
        inputs = Inputs(x, state, weights, torch.tensor(call.layout.batch_sizes))
    else:
        inputs = Inputs(x.reshape(call.layout.T, call.layout.B, -1), state, weights)
        masks = [mask.reshape(call.layout.T, call.layout.B, -1) for mask in masks]
    y, final = get_backend("native").run(call.spec, inputs._replace(masks=tuple(masks) or None))
    y = y.reshape(call.layout.N, -1)
    return [o for o, there in zip((y, *final), wanted.given, strict=True) if there]


def _second_derivatives(
    call: _Call,
    wanted: _Wanted,
    tensors: Sequence[Tensor],
    above: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Derivatives of the wanted gradients by masks (None), sources and upstream gradients.

    above: upstream gradients of the gradients themselves, in the order of the needed sources.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: these derivatives are partial. x must not be reached through dy, which the
        # loss may have made from an output that was made from x.
        aliases = [tensor.view_as(tensor) for tensor in tensors[call.masks :]]
        sources, present = aliases[: len(wanted.needed)], aliases[len(wanted.needed) :]
        outputs = _by_torch(call, wanted, tensors[: call.masks], sources, rows=True)
        gradients = torch.autograd.grad(
            outputs,
            [source for source, need in zip(sources, wanted.needed, strict=True) if need],
            present,
            create_graph=True,
            allow_unused=True,
        )
        pairs = [
            (gradient, up)
            for gradient, up in zip(gradients, above, strict=True)
            if up is not None and gradient is not None
        ]
        found = iter(
            torch.autograd.grad(
                [gradient for gradient, _ in pairs],
                [alias for alias in aliases if alias.requires_grad],
                [up for _, up in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
    below = [next(found) if alias.requires_grad else None for alias in aliases]
    return [*(None,) * call.masks, *below]


def _transformed_second_derivatives(
    call: _Call, wanted: _Wanted, tensors: Sequence[Tensor], above: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """`_second_derivatives` in terms of `torch.func`, so that it nests.

    Torch's packed kernels do not run under these transforms.
    """
    if not call.layout.dense:
        raise UnsupportedError(
            "second derivatives of packed sequences under torch.func do not exist in torch either; "
            "torch.autograd.grad with create_graph has them"
        )

    def gradients(*arguments: Tensor) -> tuple[Tensor | None, ...]:
        sources, present = arguments[: len(wanted.needed)], arguments[len(wanted.needed) :]
        masks = tensors[: call.masks]

        def outputs(*sources: Tensor) -> list[Tensor]:
            return _by_torch(call, wanted, masks, sources, rows=False)

        pull: Callable[..., tuple[Tensor, ...]] = torch.func.vjp(outputs, *sources)[1]
        found = wanted.select(pull(list(present)))
        return tuple(g for g, up in zip(found, above, strict=True) if up is not None)

    pull: Callable[..., tuple[Tensor, ...]] = torch.func.vjp(gradients, *tensors[call.masks :])[1]
    return [*(None,) * call.masks, *pull(tuple(up for up in above if up is not None))]


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
        raise UnsupportedError(FORWARD_MODE)
    layout = Layout.of(inputs)
    rows = inputs.x.reshape(layout.N, spec.input_size)
    masks = inputs.masks
    if masks is not None:
        masks = tuple(mask.reshape(layout.N, spec.output_size) for mask in masks)
    elif inputs.dropout > 0:
        masks = stack.draw_masks(spec, rows, inputs.dropout)
    call = _Call(recurrence, spec, layout, len(masks or ()))
    tensors = (*(masks or ()), rows, *inputs.state, *inputs.weights)
    if torch._C._are_functorch_transforms_active():
        y, *final = _apply(_Transformed, call, *tensors)
    elif torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y, *final = _apply(_Stack, call, *tensors)
    else:
        y, last, _ = call.forward(tensors, keep=False)
        final = list(last)
    return y.reshape(*inputs.x.shape[:-1], spec.output_size), tuple(final)
