"""Records that nodes of the autograd graph around a stack hold: the call, and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnnbench.bptt import stack
from rnnbench.bptt.stack import Network, Tape


@dataclass(frozen=True)
class Call(Network):
    """One call of a network, but for its tensors: masks, then the sources x, state and weights."""

    masks: int
    leading: tuple[int, ...]
    """Shape of the output but for its features: (T, B), or (N,) packed."""

    def split(
        self, tensors: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...] | None, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return masks (None if there are none), x, state and weights."""
        masks = self.masks
        first = masks + (3 if self.spec.has_cell_state else 2)
        state, weights = tuple(tensors[masks + 1 : first]), tuple(tensors[first:])
        return tuple(tensors[:masks]) or None, tensors[masks], state, weights

    def forward(
        self, tensors: Sequence[Tensor], *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tape]:
        """Return output, final state and tape.

        The results are no views, which could not be changed in place behind a function with several
        outputs.
        """
        masks, x, state, weights = self.split(tensors)
        rows, final, tape = stack.forward(self, x, state, weights, masks, keep=keep)
        y, *last = map(as_its_own, (rows, *final), self._shapes)
        return y, tuple(last), tape

    @cached_property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the output and of each part of the state."""
        states = self.spec.state_shapes(self.layout.B)
        return (*self.leading, self.spec.output_size), *states.values()

    def backward(
        self,
        tensors: Sequence[Tensor],
        tape: Tape,
        upstream: Sequence[Tensor | None],
        *,
        needs_dx: bool,
        spent: bool = False,
    ) -> list[Tensor | None]:
        """Return the gradients of all sources; a None in ``upstream`` is a gradient of zero.

        spent: whether nobody uses the tape after this.
        """
        masks, _, state, weights = self.split(tensors)
        dy, *dfinal = upstream
        if dy is None:
            dy = weights[0].new_zeros(self.layout.N, self.spec.output_size)
        dy = dy.reshape(self.layout.N, self.spec.output_size)
        dstate = [
            torch.zeros_like(part) if d is None else d
            for d, part in zip(dfinal, state, strict=True)
        ]
        dx, dinitial, dweights = stack.backward(
            self, tape, weights, masks, dy, dstate, needs_dx=needs_dx, spent=spent
        )
        return [dx, *dinitial, *dweights]


def as_its_own(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor's memory in another shape, as a tensor that is no view of another."""
    if not tensor._is_view() and tensor.is_contiguous():
        return tensor.resize_(*shape)
    own = tensor.reshape(shape).contiguous()
    return own.new_empty(0).set_(
        own.untyped_storage(), int(own.storage_offset()), own.shape, own.stride()
    )


@dataclass(frozen=True)
class Wanted:
    """The sources whose gradients are needed, and the outputs with a given upstream gradient."""

    needed: tuple[bool, ...]
    given: tuple[bool, ...]

    @classmethod
    def of(cls, call: Call, ctx: Any, upstream: Sequence[Tensor | None]) -> Wanted:
        return cls(ctx.needs_input_grad[1 + call.masks :], tuple(up is not None for up in upstream))

    def upstream(self, present: Sequence[Tensor]) -> list[Tensor | None]:
        """Return one for each output, from those that are there."""
        rest = iter(present)
        return [next(rest) if there else None for there in self.given]

    def select(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        return tuple(g for g, need in zip(gradients, self.needed, strict=True) if need)

    def all(self, selected: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return one for each source, None for those not asked for."""
        rest = iter(selected)
        return [next(rest) if need else None for need in self.needed]
