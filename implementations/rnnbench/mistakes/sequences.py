"""Mistakes with sequences of different lengths, and with dropout between the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    lstm,
    masked,
    mistake,
    padded,
    several_steps,
    two_directions,
    unsorted,
)
from rnnbench.mistakes.changes import Product, differentiated
from rnnbench.mistakes.network import At, State
from rnnbench.spec import Case


def _padding_changes_state(case: Case) -> bool:
    """With neither bias nor initial state, a zero input leaves the zero state where it is."""
    return case.spec.bias or case.initial_state


@mistake(at="lengths", touches="output h_n", needs=(padded,))
def lengths_ignored(lengths: Sequence[int] | None, at: At) -> None:
    """Lengths are ignored: the loop runs over the padding.

    where  padded batches fed without packing, lengths not handed on
    wrong  every sequence runs T steps
    right  sequence b runs lengths[b] steps and keeps its state
    """
    return None


@mistake(
    at="order active", touches="output h_n", needs=(padded, two_directions, _padding_changes_state)
)
def reverse_starts_in_padding(value: Any, at: At) -> Any:
    """The reverse direction begins in the padding, not at each sequence's own end.

    where  a padded batch flipped along time before a reverse direction
    wrong  reverse begins at T−1 with x = 0
    right  reverse begins at lengths[b] − 1
    """
    if not at.direction:
        return value
    if at.place == "active":
        return None
    return torch.arange(at.T - 1, -1, -1)[:, None].expand(at.T, at.B)


@mistake(at="last", touches="h_n", needs=(padded,))
def padded_last_step(state: State, at: At) -> State:
    """The last step of the padded output is taken for the final state: zeros for short sequences.

    where  output[:, -1] after pad_packed_sequence, on the way into a linear layer
    wrong  h_n[b] = y_{T−1}[b]
    right  h_n[b] = y_{lengths[b]−1}[b]
    """
    if at.direction or at.lengths is None:
        return state
    whole = torch.tensor(at.lengths)[:, None] == at.T
    return torch.where(whole, state[0], 0.0), *state[1:]


@mistake(at="frozen", touches="c_n", needs=(lstm, padded))
def cell_state_runs_on_in_padding(state: State, at: At) -> State:
    """h stops at a sequence's end, but c runs on in the padding.

    where  hand-made masks in the loop, applied to h alone
    wrong  c_t = f ⊙ c_{t−1} + i ⊙ g for t ≥ lengths[b]
    right  c_t = c_{t−1} for t ≥ lengths[b]
    """
    return state[0], at.values["running_c"]


@mistake(at="initial final", touches="h_n grad_h0", needs=(padded, unsorted))
def state_not_permuted(state: State, at: At) -> State:
    """Sequences are sorted by length, but the states keep the order in which they were given.

    where  packing with enforce_sorted=False re-implemented, sort before pack by hand
    wrong  h0, h_n in the caller's and the sorted order
    right  h0[sorted] on the way in, h_n[unsorted] on the way out
    """
    lengths = at.lengths
    if lengths is None:
        return state
    longest_first = sorted(range(at.B), key=lambda b: -lengths[b])
    if at.place == "initial":
        index = sorted(range(at.B), key=lambda b: longest_first[b])
    else:
        index = longest_first
    return tuple(part[:, torch.tensor(index)] for part in state)


@mistake(at="output", touches="output", needs=(masked,))
def dropout_after_last_layer(y: Tensor, at: At) -> Tensor:
    """Dropout acts after the last layer too.

    where  dropout as the last line of the layer loop
    wrong  output = m ⊙ y_L
    right  output = y_L, dropout only between layers
    """
    return y * at.masks[-1] if at.masks else y


@mistake(at="mask", touches="output h_n", needs=(masked,))
def dropout_left_out(mask: Tensor, at: At) -> Tensor:
    """Dropout between the layers is left out in training.

    where  torch.compile with Dynamo's allow_rnn on torch 2.13, the argument not handed on
    wrong  x_{l+1} = y_l
    right  x_{l+1} = m ⊙ y_l
    """
    return torch.ones_like(mask)


@mistake(at="mask", touches="output h_n", needs=(masked,))
def dropout_without_scaling(mask: Tensor, at: At) -> Tensor:
    """What dropout keeps is not scaled up.

    where  a hand-made mask of zeros and ones
    wrong  m ∈ {0, 1}
    right  m ∈ {0, 1/(1 − p)}
    """
    return (mask != 0).to(mask.dtype)


def _uneven(case: Case) -> bool:
    return case.spec.dropout != 0.5


@mistake(at="mask", touches="output h_n", needs=(masked, _uneven))
def dropout_scaled_by_p(mask: Tensor, at: At) -> Tensor:
    """What dropout keeps is scaled by 1/p, p taken for the probability to keep.

    where  TensorFlow 1's keep_prob against torch's p
    wrong  m ∈ {0, 1/p}
    right  m ∈ {0, 1/(1 − p)}
    """
    p = at.spec.dropout
    return mask * ((1 - p) / p)


@mistake(at="mask", touches="output h_n", needs=(masked, several_steps))
def dropout_one_mask_for_all_steps(mask: Tensor, at: At) -> Tensor:
    """One dropout mask serves all time steps.

    where  variational dropout (Gal and Ghahramani), masks drawn before the time loop
    wrong  x_{l+1,t} = m_0 ⊙ y_{l,t}
    right  x_{l+1,t} = m_t ⊙ y_{l,t}
    """
    return mask[:1].expand_as(mask)


@mistake(at="drop", touches="grad_x grad_weight_ih grad_weight_hh", needs=(masked,))
def dropout_other_mask_backward(drop: Product, at: At) -> Product:
    """The backward pass uses another dropout mask than the forward pass (here its reflection).

    where  recomputation that draws the mask again, random state not restored
    wrong  dy_l = m′ ⊙ dx_{l+1}
    right  dy_l = m ⊙ dx_{l+1}
    """

    def other(x: Tensor, mask: Tensor) -> Tensor:
        return differentiated(drop, lambda x, y: mask.flatten().flip(0).view_as(mask))(x, mask)

    return other


@mistake(at="drop", touches="grad_x grad_weight_ih grad_weight_hh", needs=(masked,))
def dropout_not_in_backward(drop: Product, at: At) -> Product:
    """The backward pass forgets the dropout mask.

    where  hand-written backward passes
    wrong  dy_l = dx_{l+1}
    right  dy_l = m ⊙ dx_{l+1}
    """
    return differentiated(drop, lambda x, y: torch.ones_like(x))
