"""Mistakes around the cells: layers, directions, and which state belongs to which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    dense,
    lstm,
    mistake,
    several_layers,
    several_sequences,
    several_steps,
    state_given,
    two_directions,
)
from rnnbench.mistakes.network import At, State
from rnnbench.spec import Case


def _grid(at: At) -> list[tuple[int, int]]:
    return [(k, d) for k in range(at.spec.layers) for d in range(at.spec.directions)]


def _picked(state: State, rows: Iterable[int]) -> State:
    index = torch.tensor(list(rows))
    return tuple(part[index] for part in state)


def _stacked_twice(case: Case) -> bool:
    return case.spec.layers * case.spec.directions > 1


@mistake(
    at="sequence",
    touches="output h_n grad_weight_ih",
    needs=(several_layers, two_directions, several_steps),
)
def time_loop_outside(sequence: Tensor, at: At) -> Tensor:
    """The time loop stands outside the layer loop, so the second layer reads the reverse state of
    the same iteration, which belongs to another time.

    where  re-implementations that step all layers and both directions at once
    wrong  layer 2, iteration t: x = [h_t^forward, h_{T−1−t}^reverse]
    right  layer 2, time t: x = [h_t^forward, h_t^reverse], known once layer 1 is done
    """
    if at.layer == 0:
        return sequence
    in_time = at.turned(sequence) if at.direction else sequence
    forward, reverse = in_time.chunk(2, dim=2)
    iteration = reverse.flip(0) if at.lengths is None else _flipped_to_length(reverse, at)
    return torch.cat([forward, iteration], dim=2)


def _flipped_to_length(x: Tensor, at: At) -> Tensor:
    columns = [torch.cat([x[:n, b].flip(0), x[n:, b]]) for b, n in enumerate(at.lengths or ())]
    return torch.stack(columns, dim=1)


@mistake(at="turned_back", touches="output", needs=(two_directions, several_steps))
def reverse_not_turned_back(y: Tensor, at: At) -> Tensor:
    """The reverse direction's output is left in the order in which it was computed.

    where  reverse loops that append to a list, flip on the way in but not on the way out
    wrong  y_t^reverse = h of iteration t
    right  y_t^reverse = h of iteration T−1−t
    """
    return at.turned(y) if at.direction else y


@mistake(at="order", touches="output h_n", needs=(two_directions, several_steps))
def reverse_reads_forward(order: Tensor, at: At) -> Tensor:
    """The second direction reads the sequence forward, like the first.

    where  bidirectional networks built of two forward ones
    wrong  h_t^reverse = cell(x_t, h_{t−1}^reverse)
    right  h_t^reverse = cell(x_t, h_{t+1}^reverse)
    """
    return torch.arange(at.T)[:, None].expand_as(order)


@mistake(at="output", touches="output", needs=(two_directions,))
def directions_swapped(y: Tensor, at: At) -> Tensor:
    """The two directions change places in the output.

    where  concatenation in the wrong order
    wrong  y_t = [h_t^reverse, h_t^forward]
    right  y_t = [h_t^forward, h_t^reverse]
    """
    return torch.cat(y.chunk(2, dim=2)[::-1], dim=2)


def _several_features(case: Case) -> bool:
    return case.spec.state_size > 1


@mistake(at="output", touches="output", needs=(two_directions, _several_features))
def directions_interleaved(y: Tensor, at: At) -> Tensor:
    """The two directions are interleaved feature by feature.

    where  stack on the last axis and reshape, instead of concatenation
    wrong  y_t = (f_1, r_1, f_2, r_2, …)
    right  y_t = (f_1, f_2, …, r_1, r_2, …)
    """
    return torch.stack(y.chunk(2, dim=2), dim=3).flatten(2)


@mistake(at="output", touches="output", needs=(two_directions,))
def directions_summed(y: Tensor, at: At) -> Tensor:
    """The two directions are added where they should be side by side.

    where  Keras with merge_mode="sum"
    wrong  y_t = h_t^forward + h_t^reverse
    right  y_t = [h_t^forward, h_t^reverse]
    """
    forward, reverse = y.chunk(2, dim=2)
    return forward + reverse


def _input_fits_all(case: Case) -> bool:
    return case.spec.input_size == case.spec.output_size


@mistake(at="sequence", touches="output h_n grad_x", needs=(several_layers, _input_fits_all))
def layers_not_stacked(sequence: Tensor, at: At) -> Tensor:
    """Every layer reads the network's input again instead of the output of the layer below.

    where  loops over layers whose input variable is not reassigned; shapes fit where I = D·H
    wrong  layer l: a = W_ih x_t
    right  layer l: a = W_ih y_t of layer l−1
    """
    return at.turned(at.input)


@mistake(at="x", touches="output h_n grad_x", needs=(dense, several_steps, several_sequences))
def batch_first_by_view(x: Tensor, at: At) -> Tensor:
    """The batch-first input is brought to time-first with view instead of transpose: sequences
    mix.

    where  batch_first handled by hand
    wrong  x = x.view(T, B, I)
    right  x = x.transpose(0, 1)
    """
    return x.transpose(0, 1).reshape(x.shape)


@mistake(at="initial", touches="output grad_h0", needs=(state_given,))
def h0_ignored(state: State, at: At) -> State:
    """The given h0 is ignored: every run begins with zeros.

    where  forward methods that create their own zero state, h0 optional and forgotten
    wrong  h_{−1} = 0
    right  h_{−1} = h0
    """
    return torch.zeros_like(state[0]), *state[1:]


@mistake(at="initial", touches="output c_n grad_c0", needs=(lstm, state_given))
def c0_ignored(state: State, at: At) -> State:
    """The given c0 is ignored: the cell state begins with zeros.

    where  code generalised from RNN or GRU, where the state is h alone
    wrong  c_{−1} = 0
    right  c_{−1} = c0
    """
    return state[0], torch.zeros_like(state[1])


@mistake(at="initial", touches="output grad_h0", needs=(several_layers, state_given))
def h0_of_first_layer_for_all(state: State, at: At) -> State:
    """All layers begin with the initial state of the first.

    where  h0[0] written where h0[layer] is meant
    wrong  layer l: h_{−1} = h0[d]
    right  layer l: h_{−1} = h0[l·D + d]
    """
    return _picked(state, (d for _, d in _grid(at)))


@mistake(at="initial", touches="output grad_h0", needs=(two_directions, state_given))
def h0_indexed_by_layer(state: State, at: At) -> State:
    """The initial state is indexed by the layer alone, so both directions begin with the same one.

    where  bidirectional code grown out of one direction: h0[layer]
    wrong  h_{−1} = h0[l]
    right  h_{−1} = h0[l·D + d]
    """
    return _picked(state, (k for k, _ in _grid(at)))


@mistake(at="start", touches="output h_n", needs=(_stacked_twice,))
def state_runs_on_between_layers(start: State, at: At) -> State:
    """The state variable runs on: a layer or direction begins with what the one before left in it.

    where  h set once before the loop over layers and directions
    wrong  h_{−1} of (l, d) = h_n of the layer or direction before
    right  h_{−1} of (l, d) = h0[l·D + d]
    """
    return at.previous or start


@mistake(
    at="initial final",
    touches="output h_n grad_h0",
    needs=(several_layers, two_directions, state_given),
)
def states_directions_first(state: State, at: At) -> State:
    """States are kept as (directions, layers), torch's are (layers, directions).

    where  state allocated as (D, L, B, H) and reshaped to (L·D, B, H)
    wrong  h0[d·L + l], h_n[d·L + l]
    right  h0[l·D + d], h_n[l·D + d]
    """
    rows = [d * at.spec.layers + k for k, d in _grid(at)]
    if at.place == "final":
        rows = sorted(range(len(rows)), key=lambda j: rows[j])
    return _picked(state, rows)


@mistake(at="final", touches="h_n c_n", needs=(several_layers, two_directions))
def h_n_directions_first(state: State, at: At) -> State:
    """The final state is ordered by direction first, then by layer.

    where  final states collected per direction and concatenated
    wrong  h_n[d·L + l]
    right  h_n[l·D + d]
    """
    L, D = at.spec.layers, at.spec.directions
    return _picked(state, (k * D + d for d in range(D) for k in range(L)))


@mistake(at="final", touches="h_n c_n", needs=(two_directions,))
def h_n_forward_in_both(state: State, at: At) -> State:
    """One direction's final state is lost: the forward one stands in both rows.

    where  h_n filled in by layer alone
    wrong  h_n[l·D + 1] = h_n^forward of layer l
    right  h_n[l·D + 1] = h_n^reverse of layer l
    """
    return _picked(state, (k * at.spec.directions for k, _ in _grid(at)))


@mistake(at="last", touches="h_n", needs=(two_directions, several_steps))
def h_n_of_reverse_at_last_step(state: State, at: At) -> State:
    """The reverse direction's final state is taken at the last time step, where it has only begun.

    where  output[-1] taken for h_n of both directions
    wrong  h_n^reverse = y_{T−1}^reverse
    right  h_n^reverse = y_0^reverse
    """
    return (at.outputs[0], *state[1:]) if at.direction else state


@mistake(at="final", touches="h_n c_n", needs=(several_layers,))
def h_n_of_last_layer_only(state: State, at: At) -> State:
    """Only the last layer's final state is returned.

    where  code that keeps h of the layer that ran last
    wrong  h_n of shape (D, B, H)
    right  h_n of shape (L·D, B, H)
    """
    return tuple(part[-at.spec.directions :] for part in state)


@mistake(at="layer_output", touches="output", needs=(several_layers,))
def residual_between_layers(value: State, at: At) -> State:
    """A layer's input is added to its output, where their shapes are equal.

    where  residual stacks compared with plain ones
    wrong  y_l = y_{l−1} + layer(y_{l−1})
    right  y_l = layer(y_{l−1})
    """
    y, below = value
    return (y + below if y.shape == below.shape else y), below


@mistake(at="sequence", touches="output h_n", needs=(several_layers, several_steps))
def layer_reads_last_state(sequence: Tensor, at: At) -> Tensor:
    """The second layer reads the last state of the first at every step.

    where  h_n handed to the next layer in place of the output
    wrong  layer 2: x_t = h_T of layer 1
    right  layer 2: x_t = h_t of layer 1
    """
    return sequence[-1:].expand_as(sequence) if at.layer else sequence


def _no_state(case: Case) -> bool:
    return not case.initial_state


@mistake(at="x initial output", touches="output", needs=(dense, several_steps, _no_state))
def time_loop_over_batch(value: Any, at: At) -> Any:
    """The loop runs over the batch: each sequence is taken for a time step, and each time step for
    a sequence.

    where  batch_first=True and for x_t in x; x of (T, B, I) in a network that is batch first
    wrong  h_b = cell(x_b, h_{b−1}), x_b a whole sequence
    right  h_t = cell(x_t, h_{t−1}), x_t one step of all sequences
    """
    if at.place == "initial":
        return tuple(part.new_zeros(len(part), at.B, part.shape[2]) for part in value)
    if at.place == "x":
        at.T, at.B = at.B, at.T
    return value.transpose(0, 1)
