"""Changes that several mistakes make: to weights of one kind, and to gradients on the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Factors = tuple[Tensor, ...]
Activation = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor], Tensor]
Gradients = tuple[Tensor | None, ...]


def changed(
    weights: Weights, kinds: str | tuple[str, ...], change: Callable[[Tensor], Tensor]
) -> Weights:
    """Return the weights with all of some kinds changed, in every layer and direction.

    kinds: beginnings of names, such as ``"weight_hh"`` or ``("weight", "bias")``.
    """
    return {n: change(w) if n.startswith(kinds) else w for n, w in weights.items()}


def blocks_transposed(weight: Tensor) -> Tensor:
    """Return a weight (G·H, H) with each gate's square block transposed."""
    H = weight.shape[1]
    return weight.reshape(-1, H, H).transpose(1, 2).reshape(-1, H)


class _WithBackward(torch.autograd.Function):
    """Given values forward, any map of their gradients backward."""

    @staticmethod
    def forward(
        ctx: Any, change: Callable[..., Gradients], values: Sequence[Tensor], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.change = change
        ctx.set_materialize_grads(False)
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return (None, None, *ctx.change(*gradients))


def with_backward(
    change: Callable[..., Gradients], *inputs: Tensor, value: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the inputs, or the one value computed from them, with another backward pass.

    change maps the gradients of what is returned to those of the inputs; either may have None,
    which stands for a gradient that no path reaches.
    """
    values = inputs if value is None else (value.detach(),)
    passed: tuple[Tensor, ...] = _WithBackward.apply(change, values, *inputs)  # type: ignore[no-untyped-call]
    return passed


def each(change: Callable[[Tensor], Tensor]) -> Callable[..., Gradients]:
    """Return a map of gradients that changes each by itself and leaves None as it is."""
    return lambda *gradients: tuple(None if g is None else change(g) for g in gradients)


def differentiated(
    f: Callable[..., Tensor], df: Callable[[Tensor, Tensor], Tensor]
) -> Callable[..., Tensor]:
    """Return the function y = f(z, …) whose derivative by z is taken to be df(z, y)."""

    def run(z: Tensor, *others: Tensor) -> Tensor:
        inner = z.detach()
        y = f(inner, *others).detach()
        return with_backward(each(lambda g: g * df(inner, y)), z, value=y)[0]

    return run
