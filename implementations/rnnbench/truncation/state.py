"""States of any shape: a tensor, or tuples, lists and dicts of states, however deep."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError

State = Any
"""A tensor, None, or a tuple, named tuple, list or dict of states."""


def map_state(function: Callable[..., Any], state: State, *others: State) -> State:
    """Apply ``function`` to every tensor of ``state`` and its counterparts; keep the structure.

    None stays None. Raises InputError for anything else that is not a state.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state, *others)
    if isinstance(state, dict):
        return {key: map_state(function, state[key], *(o[key] for o in others)) for key in state}
    if isinstance(state, tuple | list):
        mapped = [map_state(function, *parts) for parts in zip(state, *others, strict=True)]
        named = hasattr(state, "_fields")
        return type(state)(*mapped) if named else type(state)(mapped)
    raise InputError(
        f"state must be a tensor or tuples, lists or dicts of them; got {type(state).__name__}"
    )


def detach(state: State) -> State:
    """Return the same numbers without the graph that made them."""
    return map_state(Tensor.detach, state)


def same_shape(a: State, b: State) -> bool:
    """Return whether two states have the same structure, whatever the sizes of their tensors."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_shape(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same_shape, a, b))
    return isinstance(a, Tensor) and isinstance(b, Tensor)


def choose_rows(rows: Tensor, new: State, old: State, batch_dim: int) -> State:
    """Return ``new`` in the rows of the batch that are True, ``old`` (None: zeros) in the others.

    rows (B,) bool; every tensor of the state has the batch in dimension ``batch_dim``.
    """
    if old is None:
        old = map_state(torch.zeros_like, new)

    def choose(a: Tensor, b: Tensor) -> Tensor:
        check_rows(len(rows), batch_dim, a)
        shape = [1] * a.dim()
        shape[batch_dim] = len(rows)
        return torch.where(rows.to(a.device).view(shape), a, b)

    return map_state(choose, new, old)


def check_rows(rows: int, batch_dim: int, tensor: Tensor) -> Tensor:
    """Return the tensor of a state; raise InputError if its batch is not where it should be."""
    if tensor.shape[batch_dim : batch_dim + 1] != (rows,):
        raise InputError(
            f"batch_dim must be the dimension of the state's tensors of the size B={rows}; got "
            f"{batch_dim} for shape {tuple(tensor.shape)}"
        )
    return tensor


def segments(lengths: Tensor | None, start: int, stop: int) -> list[tuple[int, int]]:
    """Cut start … stop where a sequence ends: within a piece, each one runs or has ended."""
    ends = [] if lengths is None else lengths.tolist()
    cuts = sorted({start, stop, *(end for end in ends if start < end < stop)})
    return list(pairwise(cuts))
