"""Mistakes in the loop over time: what is carried on, which steps run, what is collected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    dense,
    lstm,
    mistake,
    several_steps,
)
from rnnbench.mistakes.network import At, State
from rnnbench.spec import Case


@mistake(at="carried", touches="output h_n", needs=(several_steps,))
def state_not_carried(state: State, at: At) -> State:
    """The state is not carried: every step begins with the initial state.

    where  the new state kept under another name, a cell called without its state
    wrong  h_t = cell(x_t, h_0)
    right  h_t = cell(x_t, h_{t−1})
    """
    return at.start


@mistake(at="carried", touches="output c_n", needs=(lstm, several_steps))
def cell_state_not_carried(state: State, at: At) -> State:
    """The cell state is not carried: only h is handed on, c begins anew at every step.

    where  h, _ = cell(x, (h, c)): the returned c is thrown away
    wrong  c_t = f ⊙ c_0 + i ⊙ g
    right  c_t = f ⊙ c_{t−1} + i ⊙ g
    """
    return state[0], at.start[1]


@mistake(at="emitted", touches="output")
def output_one_step_late(h: Tensor, at: At) -> Tensor:
    """The output lags a step behind: the state is stored before it is updated.

    where  outputs.append(h) above the line that computes the new h
    wrong  y_t = h_{t−1}
    right  y_t = h_t
    """
    return at.before[0]


@mistake(at="turned_back", touches="output", needs=(several_steps,))
def outputs_are_last_state(y: Tensor, at: At) -> Tensor:
    """Every step's output is the last state.

    where  one buffer overwritten at each step and appended each time, without a copy
    wrong  y_t = h_T for all t
    right  y_t = h_t
    """
    last = at.outputs[-1]
    return last.expand(at.T, *last.shape)


@mistake(at="sequence carried", touches="output h_n", needs=(dense, several_steps))
def only_last_step_read(value: Any, at: At) -> Any:
    """Only the last step is read: the answer is that of a sequence of one step.

    where  x[-1] or x[:, -1] handed on, a loop whose body stands behind it
    wrong  h_t = cell(x_T, h_0) for all t
    right  h_t = cell(x_t, h_{t−1})
    """
    return value[-1:].expand_as(value) if at.place == "sequence" else at.start


def _skipped(name: str, words: str, which: int, how: str) -> Mistake:
    def act(value: Any, at: At) -> Any:
        step = which % at.T
        if at.place == "active":
            steps = torch.arange(at.T) != step
            return steps[:, None].expand(at.T, at.B)
        return torch.zeros_like(value) if at.step == step else value

    act.__name__ = name
    act.__doc__ = f"""The {words} step is left out of the loop, its output stays zero.

    where  {how}
    wrong  y_t = 0, h_t = h_{{t−1}} at the {words} step
    right  y_t = h_t = cell(x_t, h_{{t−1}})
    """
    return mistake(at="active emitted", touches="output h_n", needs=(several_steps, dense))(act)


last_step_skipped = _skipped("last_step_skipped", "last", -1, "for t in range(T − 1)")


first_step_skipped = _skipped("first_step_skipped", "first", 0, "for t in range(1, T)")


def _single(case: Case) -> bool:
    return case.spec.layers * case.spec.directions == 1


@mistake(at="output", touches="output", needs=(dense, _single))
def output_with_initial_state(y: Tensor, at: At) -> Tensor:
    """The output begins with the initial state, and so is a step too long.

    where  states = [h0], to which each step's state is appended
    wrong  output = (h_0, h_1, …, h_T)
    right  output = (h_1, …, h_T)
    """
    return torch.cat([at.start[0][None], y])


@mistake(at="output", touches="output", needs=(dense, several_steps))
def output_without_last_step(y: Tensor, at: At) -> Tensor:
    """The last step is missing in the output, which is a step too short.

    where  the state appended before it is updated, range(T − 1)
    wrong  output = (h_1, …, h_{T−1})
    right  output = (h_1, …, h_T)
    """
    return y[:-1]


@mistake(at="output active", touches="output h_n", needs=(dense, several_steps))
def loop_one_step_short(value: Any, at: At) -> Any:
    """The loop stops one step early: output and final state are those of the steps before.

    where  for t in range(T − 1)
    wrong  t = 1, …, T − 1
    right  t = 1, …, T
    """
    if at.place == "output":
        return value[:-1]
    return (torch.arange(at.T) < at.T - 1)[:, None].expand(at.T, at.B)


@mistake(at="order", touches="output h_n", needs=(dense, several_steps))
def sequence_read_backwards(order: Tensor, at: At) -> Tensor:
    """The sequence is read from its end to its beginning.

    where  for t in reversed(range(T)), x.flip(0)
    wrong  h_t = cell(x_t, h_{t+1})
    right  h_t = cell(x_t, h_{t−1})
    """
    return order.flip(0)


@mistake(at="output", touches="output", needs=(dense, several_steps))
def output_in_reverse_order(y: Tensor, at: At) -> Tensor:
    """The output is returned in the reverse order of time.

    where  outputs.insert(0, h)
    wrong  output = (h_T, …, h_1)
    right  output = (h_1, …, h_T)
    """
    return y.flip(0)


@mistake(at="last", touches="h_n", needs=(dense, several_steps))
def h_n_of_first_step(state: State, at: At) -> State:
    """The final state is that of the first step.

    where  outputs[0] taken for outputs[-1]
    wrong  h_n = h_1
    right  h_n = h_T
    """
    return at.outputs[0], *state[1:]
