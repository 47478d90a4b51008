"""Mistakes in the gates and the states of GRU and LSTM."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    cells,
    lstm,
    mistake,
    of_gate,
    recurs,
    several_steps,
    state_given,
    unprojected,
)
from rnnbench.mistakes.changes import Activation, Factors
from rnnbench.mistakes.network import At, State


@mistake(at="gates", touches="output h_n c_n", needs=(lstm, recurs))
def lstm_peephole(gates: Tensor, at: At) -> Tensor:
    """The gates look at the cell state, with weights of one.

    where  peephole connections (Gers and Schmidhuber 2000), which torch's LSTM does not have
    wrong  i, f = σ(a + u + c_{t−1})
    right  i, f = σ(a + u)
    """
    i, f, g, o = gates.chunk(4, dim=1)
    c = at.before[1]
    return torch.cat([i + c, f + c, g, o], dim=1)


@mistake(at="carried", touches="output h_n c_n", needs=(lstm, unprojected, several_steps))
def h_and_c_swapped_each_step(state: State, at: At) -> State:
    """h and c change places from one step to the next.

    where  cell(x, (c, h)), or c, h = cell(…)
    wrong  (h_t, c_t) = cell(x_t, (c_{t−1}, h_{t−1}))
    right  (h_t, c_t) = cell(x_t, (h_{t−1}, c_{t−1}))
    """
    return (state[1], state[0]) if at.step else state


@mistake(at="carried", touches="output h_n c_n", needs=(lstm, unprojected, recurs))
def h_and_c_swapped_into_each_step(state: State, at: At) -> State:
    """h and c change places on the way into every step, the first one too.

    where  cell(x, (c, h)) in the loop over time
    wrong  (h_t, c_t) = cell(x_t, (c_{t−1}, h_{t−1}))
    right  (h_t, c_t) = cell(x_t, (h_{t−1}, c_{t−1}))
    """
    return state[1], state[0]


@mistake(at="final", touches="h_n c_n", needs=(lstm, unprojected))
def h_n_and_c_n_swapped(state: State, at: At) -> State:
    """The final states are returned in the wrong order.

    where  return output, (c, h)
    wrong  (c_n, h_n) out
    right  (h_n, c_n) out
    """
    return state[1], state[0]


@mistake(at="initial", touches="output h_n c_n", needs=(lstm, unprojected, state_given))
def h0_and_c0_swapped(state: State, at: At) -> State:
    """The initial states are taken in the wrong order.

    where  c, h = state
    wrong  (c_0, h_0) in
    right  (h_0, c_0) in
    """
    return state[1], state[0]


def _lstm_gate_unused(name: str, which: int, wrong: str) -> Mistake:
    def act(factors: Factors, at: At) -> Factors:
        return tuple(torch.ones_like(f) if n == which else f for n, f in enumerate(factors))

    act.__name__ = f"lstm_{name}_gate_unused"
    act.__doc__ = f"""The {name} gate is computed and never used.

    where  hand-written cells
    wrong  {wrong}
    right  c_t = f ⊙ c_{{t−1}} + i ⊙ g, h_t = o ⊙ tanh c_t
    """
    return mistake(touches="output h_n", **of_gate(name))(act)


lstm_forget_gate_unused = _lstm_gate_unused("forget", 0, "c_t = c_{t−1} + i ⊙ g")


lstm_input_gate_unused = _lstm_gate_unused("input", 2, "c_t = f ⊙ c_{t−1} + g")


lstm_output_gate_unused = _lstm_gate_unused("output", 0, "h_t = tanh c_t")


@mistake(at="stepped", touches="c_n", needs=(lstm,))
def lstm_cell_state_squashed(state: State, at: At) -> State:
    """The cell state is handed on after tanh.

    where  c = tanh(f * c + i * g); h = o * c
    wrong  c_t = tanh(f ⊙ c_{t−1} + i ⊙ g)
    right  c_t = f ⊙ c_{t−1} + i ⊙ g
    """
    return state[0], torch.tanh(state[1])


@mistake(at="candidate_activation", touches="output h_n", needs=(cells("gru", "lstm"),))
def candidate_without_activation(activation: Activation, at: At) -> Activation:
    """The candidate goes through no activation.

    where  hand-written cells
    wrong  n (or g) = a + u
    right  n (or g) = tanh(…)
    """
    return lambda z: z


@mistake(at="candidate_activation", touches="output h_n", needs=(cells("gru", "lstm"),))
def relu_candidate(activation: Activation, at: At) -> Activation:
    """The candidate goes through relu.

    where  Keras with activation="relu"
    wrong  n (or g) = relu(…)
    right  n (or g) = tanh(…)
    """
    return torch.relu
