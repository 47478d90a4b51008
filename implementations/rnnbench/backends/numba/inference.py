"""A module's inference once more: all layers and directions by one thread, from addresses alone.

At small sizes Python takes as long as the kernels, and more behind large ones, which leave nothing
of it in the second-level cache: 110 of 500 µs for an RNN of 256 units. So whatever follows from
shapes and strides, which the caller has found to be as they were, is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbench.backends.numba import passes
from rnnbench.backends.numba.memory import HUGE, Room, empty, places
from rnnbench.backends.numba.plan import Forward, Plan, chunk_steps, part_count, team_size
from rnnbench.backends.numba.row_order import row_order
from rnnbench.bptt.call import as_its_own
from rnnbench.bptt.recurrence import Layout
from rnnbench.bptt.stack import weights_of
from rnnbench.interface import Inputs, Repeated
from rnnbench.spec import Spec


class _Direction(NamedTuple):
    """One layer in one direction.

    weights   the addresses of W_ih, W_hh, b_ih, b_hh and W_hr, of a list that ends with 0
    places    byte offsets of `Forward.numbers` in memory that all directions use in turn; None for
              an array without numbers
    h, c, y   byte offsets of its part of h0 and h_n, of c0 and c_n, and of its side of the output
    """

    plan: Plan
    head: tuple[Any, ...]
    weights: Any
    places: list[int | None]
    h: int
    c: int
    y: int


class Inference:
    """`Repeated` of a case without a graph, where one thread does all of it."""

    def __init__(self, spec: Spec, layout: Layout, x: Tensor, long_way: Repeated) -> None:
        """long_way: takes the calls that this one cannot do."""
        self.long_way = long_way
        self.copies, self.has_c = not x.is_contiguous(), spec.has_cell_state
        self.states = tuple(spec.state_shapes(layout.B).values())
        T, B, S, size = layout.T, layout.B, spec.state_size, x.element_size()
        self.shape, self.y_row = (T, B, spec.output_size), spec.output_size
        self.is_huge = layout.N * spec.output_size * size >= HUGE
        self.layers: list[list[_Direction]] = []
        self.numbers = 0
        for layer in range(spec.layers):
            inputs, own = spec.layer_input_size(layer), []
            plan = Plan.of(spec, inputs)
            for reverse in (False, True)[: spec.directions]:
                k = layer * spec.directions + reverse
                forward = Forward.of(
                    spec, layout, plan, inputs, row_order(layout, reverse=reverse).steps,
                    chunk=chunk_steps(plan, layout), rows=B, keep=False,
                )  # fmt: skip
                total, before = places(forward.numbers)
                self.numbers = max(self.numbers, total)
                own.append(
                    _Direction(
                        plan, forward.head, itemgetter(*_places_of_weights(spec, k)),
                        [None if n is None else n * size for n in before], k * B * S * size,
                        k * B * spec.hidden_size * size, reverse * S * size,
                    )
                )  # fmt: skip
            self.layers.append(own)

    def __call__(
        self, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        at_weights = [w.data_ptr() for w in weights]
        at_state = [part.data_ptr() for part in state]
        if not all(at_weights) or not all(at_state) or not x.data_ptr():
            return self.long_way(x, state, weights)
        below = x.contiguous() if self.copies else x
        final = tuple([x.new_empty(shape) for shape in self.states])
        at_weights.append(0)
        h0, c0 = at_state[0], at_state[-1]
        h_n, c_n = final[0].data_ptr(), final[-1].data_ptr()
        room = Room(x, self.numbers, weights=True)
        first = room.addresses[0]
        for layer in self.layers:
            y = empty(x, *self.shape)
            at_x, at_y = below.data_ptr(), y.data_ptr()
            for own in layer:
                plan = own.plan
                *packed, gates, c, m, p = [0 if n is None else first + n for n in own.places]
                passes.forward(
                    *own.head, at_x, h0 + own.h, c0 + own.c if self.has_c else 0,
                    *own.weights(at_weights), *packed, plan.at_zeros, gates, c, m, p, at_y + own.y,
                    self.y_row, h_n + own.h, c_n + own.c if self.has_c else 0, plan.alone,
                )  # fmt: skip
            below = y
        return as_its_own(below, self.shape) if self.is_huge else below, final


def _places_of_weights(spec: Spec, k: int) -> list[int]:
    """Where W_ih, W_hh, b_ih, b_hh and W_hr of layer k // D in direction k mod D are among all, −1
    for one that is not there."""
    own = weights_of(spec, range(len(spec.parameters)), k)
    return [-1 if n is None else int(n) for n in own]


def repeated(spec: Spec, inputs: Inputs, long_way: Repeated) -> Repeated:
    """The shorter way for later calls like that one, or ``long_way`` where there is none."""
    layout, tensors = Layout.of(inputs), (inputs.x, *inputs.state, *inputs.weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return long_way
    if any(tensor.is_neg() or tensor._is_zerotensor() for tensor in tensors):
        return long_way
    if not all(tensor.is_contiguous() for tensor in tensors[1:]):
        return long_way
    for inputs_of_layer in {spec.layer_input_size(layer) for layer in range(spec.layers)}:
        plan = Plan.of(spec, inputs_of_layer)
        most = max(layout.B, spec.directions)
        if part_count(spec, layout, inputs_of_layer, most) > 1:
            return long_way
        if team_size(spec, layout, plan, inputs_of_layer) > 1:
            return long_way
    return Inference(spec, layout, inputs.x, long_way)
