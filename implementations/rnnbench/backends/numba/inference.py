"""Repeated inference of a module by one thread: all layers and directions, from addresses alone.

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
from rnnbench.backends.numba.memory import HUGE, empty
from rnnbench.backends.numba.ordering import Integers, row_order
from rnnbench.backends.numba.plan import Plan, chunk_steps, part_count, scratch, team_size
from rnnbench.backends.numba.records import Forward, Record, as_record
from rnnbench.bptt.call import as_its_own
from rnnbench.bptt.recurrence import Layout
from rnnbench.bptt.stack import weights_of
from rnnbench.interface import Inputs, Repeated
from rnnbench.spec import Spec


class _Direction(NamedTuple):
    """One layer in one direction.

    weights   picks the addresses of W_ih, W_hh, b_ih, b_hh and W_hr from a list that ends with 0
    scratch   how the memory is divided that all directions use in turn
    h, c, y   byte offsets of its part of h0 and h_n, of c0 and c_n, and of its side of the output
    """

    plan: Plan
    steps: Integers
    scratch: Record
    weights: Any
    h: int
    c: int
    y: int


class Inference:
    """`Repeated` of a case without a graph, where one thread does all of it."""

    def __init__(self, spec: Spec, layout: Layout, x: Tensor, long_way: Repeated) -> None:
        """Work out all that later calls share.

        long_way: takes the calls that this one cannot do.
        """
        self.long_way = long_way
        self.copies, self.has_c = not x.is_contiguous(), spec.has_cell_state
        self.states = tuple(spec.state_shapes(layout.B).values())
        T, B, S, size = layout.T, layout.B, spec.state_size, x.element_size()
        self.shape, self.y_row = (T, B, spec.output_size), spec.output_size
        self.is_huge = layout.N * spec.output_size * size >= HUGE
        self.layers: list[list[_Direction]] = []
        self.numbers = 0
        for layer in range(spec.layers):
            plan, own = Plan.of(spec, spec.layer_input_size(layer)), []
            chunk = chunk_steps(plan, layout)
            numbers, divided = scratch(plan, layout, chunk=chunk, rows=B, keep=False)
            self.numbers = max(self.numbers, numbers)
            for reverse in (False, True)[: spec.directions]:
                k = layer * spec.directions + reverse
                steps = row_order(layout, reverse=reverse).steps
                weights = itemgetter(*_places_of_weights(spec, k))
                h, c = k * B * S * size, k * B * spec.hidden_size * size
                own.append(_Direction(plan, steps, divided, weights, h, c, reverse * S * size))
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
        room = empty(x, self.numbers)
        at_room = room.data_ptr()
        for layer in self.layers:
            y = empty(x, *self.shape)
            at_x, at_y = below.data_ptr(), y.data_ptr()
            for plan, steps, divided, own_weights, h, c, side in layer:
                w_ih, w_hh, b_ih, b_hh, w_hr = own_weights(at_weights)
                c_before, c_after = (c0 + c, c_n + c) if self.has_c else (0, 0)
                addresses = Forward(
                    at_x, h0 + h, c_before, w_ih, w_hh, b_ih, b_hh, w_hr, 0, 0, at_y + side,
                    self.y_row, h_n + h, c_after,
                )  # fmt: skip
                passes.forward(
                    plan.like, steps, plan.record, divided, as_record(addresses), plan.alone,
                    at_room,
                )  # fmt: skip
            below = y
        return as_its_own(below, self.shape) if self.is_huge else below, final


def _places_of_weights(spec: Spec, k: int) -> list[int]:
    """Return the places of W_ih, W_hh, b_ih, b_hh and W_hr among all weights, −1 for an absent one.

    Those of layer k // D in direction k mod D.
    """
    own = weights_of(spec, range(len(spec.parameters)), k)
    return [-1 if n is None else int(n) for n in own]


def repeated(spec: Spec, inputs: Inputs, long_way: Repeated) -> Repeated:
    """Return the shorter way for later calls like that one, or ``long_way`` if there is none."""
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
