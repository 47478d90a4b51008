"""Run any model over a sequence: modules of torch.nn, cells, and functions called alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnbench.errors import InputError
from rnnbench.interface import Inputs, check_inputs
from rnnbench.spec import Spec
from rnnbench.spec_of import spec_and_weights
from rnnbench.truncation.arguments import (
    INTS,
    as_row,
    check_bool,
    check_int,
    check_layout,
    check_model,
    state_parts,
)
from rnnbench.truncation.state import (
    State,
    check_rows,
    choose_rows,
    map_state,
    same_shape,
    segments,
)

Model = Callable[..., Any]
"""`torch.nn.Module` or function: (x, state) → (output, state)."""


class Runner:
    """A model and its sequence; runs the steps asked for, from a state.

    T, B        steps and batch (B is 1 and ``batched`` False for torch's unbatched input)
    time        the dimension of x and of the output that is time
    batch_dim   the dimension of the state's tensors that is the batch
    lengths     (B,) int64 on the CPU, or None when every sequence has T steps

    What a sequence of its own length L_b gives after its end is nothing: its output is zero from
    step L_b on, and its state stays what it was after step L_b − 1. What stands in x there, NaN
    too, reaches neither output nor gradient: the model is given zeros.
    """

    def __init__(
        self,
        model: Model,
        x: Any,
        lengths: Any = None,
        batch_first: bool | None = None,
        batch_dim: int | None = None,
        per_step: bool | None = None,
    ) -> None:
        check_model(model)
        check_bool("batch_first", batch_first)
        check_bool("per_step", per_step)
        batch_dim = None if batch_dim is None else check_int("batch_dim", batch_dim, 0)
        self.known = spec_and_weights(model)
        if self.known is not None:
            check_layout(model, per_step=per_step, batch_dim=batch_dim, batch_first=batch_first)
        cell = isinstance(model, nn.RNNCellBase)
        self.model = model
        self.per_step = cell if per_step is None else per_step
        if batch_first is None:
            batch_first = bool(getattr(model, "batch_first", False))
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise InputError("lengths must be left out for a PackedSequence, which has its own")
            x, lengths = pad_packed_sequence(x, batch_first=batch_first)
        if not isinstance(x, Tensor):
            raise InputError(f"x must be a torch.Tensor or PackedSequence; got {type(x).__name__}")
        self.batched = not (isinstance(model, nn.RNNBase | nn.RNNCellBase) and x.dim() == 2)
        self.time = 1 if batch_first and self.batched else 0
        if x.dim() <= self.time:
            raise InputError(f"x must have a dimension {self.time} for time; got {tuple(x.shape)}")
        self.x = x
        self.T = x.shape[self.time]
        if self.T == 0:
            raise InputError(f"x must have at least one time step; got shape {tuple(x.shape)}")
        self.B = x.shape[1 - self.time] if self.batched and x.dim() > 1 else 1
        self.batch_dim = (0 if self.per_step else 1) if batch_dim is None else batch_dim
        self.lengths = None if lengths is None else self._checked(lengths)

    def _checked(self, lengths: Any) -> Tensor:
        if not self.batched:
            raise InputError("lengths must be left out for an unbatched sequence")
        own = as_row("lengths", lengths)
        fits = own.shape == (self.B,) and own.dtype in INTS
        if not fits or bool(((own < 0) | (own > self.T)).any()):
            raise InputError(
                f"lengths must be {self.B} ints between 0 and T={self.T}; got {own.tolist()}"
            )
        return own.long()

    def checked_inputs(
        self, spec: Spec, weights: tuple[Tensor, ...], x: Tensor, state: State
    ) -> Inputs:
        """Return x (T, B, I) and state (L, B, ·) of a known model, however it lays them out.

        Raises InputError, in the words of `rnnbench.interface.check_inputs`.
        """
        parts = state_parts(spec, state)
        x = x.transpose(0, 1) if self.time else x
        if not self.batched:
            x = x[:, None]
            parts = parts and tuple(part.unsqueeze(-2) for part in parts)
        if isinstance(self.model, nn.RNNCellBase):
            parts = parts and tuple(part[None] for part in parts)
        return check_inputs(spec, x, parts, weights)

    def check_state(self, state: State) -> None:
        """Raise InputError for a state, or an x, that does not fit the model."""
        map_state(lambda tensor: tensor, state)
        if self.known is None:
            if self.lengths is not None and state is not None:
                map_state(partial(check_rows, self.B, self.batch_dim), state)
            return
        device = self.x.device.type
        lowered = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if not lowered:  # else dtypes are autocast's affair, and torch's own sentences
            self.checked_inputs(*self.known, self.x, state)

    @property
    def total(self) -> int:
        """Return the number of steps of all sequences, padding not counted."""
        return self.T * self.B if self.lengths is None else int(self.lengths.sum())

    def mask(self, steps: range) -> Tensor | None:
        """Return True where a step belongs to its sequence, shaped like the output but features."""
        if self.lengths is None:
            return None
        running = torch.tensor(steps)[:, None] < self.lengths
        return (running.T if self.time else running).to(self.x.device)

    def reset(self, state: State, rows: Any) -> State:
        """Return the state with zeros in the given rows, whose sequences begin anew."""
        begins = as_row("reset", rows)
        if begins.dtype != torch.bool or begins.shape != (self.B,):
            raise InputError(
                f"reset must be {self.B} bools, one for each row; got {begins.dtype}, "
                f"shape {tuple(begins.shape)}"
            )
        if state is None:
            return None
        return choose_rows(begins, map_state(torch.zeros_like, state), state, self.batch_dim)

    def __call__(self, start: int, stop: int, state: State) -> tuple[Tensor, State]:
        """Return output and state of the steps start … stop−1."""
        outputs = []
        for first, last in segments(self.lengths, start, stop):
            output, new = self._call(first, last, state)
            if self.lengths is not None and not bool((running := self.lengths > first).all()):
                new = choose_rows(running, new, state, self.batch_dim)
            state = new
            outputs.append(output)
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, self.time)
        return self.padded(output, range(start, stop)), state

    def padded(self, tensor: Tensor, steps: range) -> Tensor:
        """Return zeros where there is no step: padding has no gradient, and no NaN."""
        mask = self.mask(steps)
        if mask is None:
            return tensor
        shape = (*mask.shape, *[1] * tensor.dim())[: tensor.dim()]  # a row of scalars: (steps,)
        return torch.where(mask.view(shape), tensor, 0)

    def piece(self, steps: range) -> Tensor:
        """Return x of these steps, zero in the padding: in its gradient 0 · NaN would be NaN."""
        return self.padded(self.x.narrow(self.time, steps.start, len(steps)), steps)

    def _call(self, start: int, stop: int, state: State) -> tuple[Tensor, State]:
        x = self.piece(range(start, stop))
        if not self.per_step:
            result = self.model(x, state)
            if not isinstance(result, tuple) or len(result) != 2:
                raise InputError(
                    "model must return (output, state) for a sequence; "
                    f"got {type(result).__name__}. Is it a cell? Then give per_step=True"
                )
            return result
        outputs = []
        for x_t in x.unbind(self.time):
            output, state = self._step(x_t, state)
            outputs.append(output)
        return torch.stack(outputs, self.time), state

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        result = self.model(x, state)
        if isinstance(self.model, nn.RNNCellBase) or same_shape(result, state):
            return first_tensor(result), result
        if isinstance(result, tuple) and len(result) == 2 and same_shape(result[1], state):
            return result
        if state is None:
            return _begun(result)
        raise InputError(
            "model must return the state or (output, state) for one step, the state in the "
            f"structure of the state given to it; got {type(result).__name__} for "
            f"{type(state).__name__}"
        )


def _begun(result: Any) -> tuple[Tensor, State]:
    """Return output and state after a first step from the cell's own initial state, None."""
    plain = type(result) is tuple and len(result) == 2 and isinstance(result[0], Tensor)
    if plain and isinstance(result[1], Tensor):
        raise InputError(
            "state must be given for a cell that returns two tensors, which may be (output, state) "
            "or a state (h, c); got None"
        )
    return result if plain else (first_tensor(result), result)


def first_tensor(state: State) -> Tensor:
    """Return h of (h, c), and of every other nested state the first tensor."""
    while not isinstance(state, Tensor):
        state = next(iter(state.values() if isinstance(state, dict) else state))
    return state
