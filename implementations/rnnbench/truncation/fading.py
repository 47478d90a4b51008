r"""Measure at which lag a cell's gradient vanishes or explodes: ‖∂h_T/∂s_t‖ over T − t.

What a loss at the last step can teach about step t goes through

    J_t = ∂h_T/∂s_t = ∂h_T/∂s_{T−1} · ∂s_{T−1}/∂s_{T−2} ⋯ ∂s_{t+1}/∂s_t

with s_t the whole state after step t, of all layers: an LSTM's gradient lives on in c, where
∂h_T/∂h_t alone would miss it. ‖J_t‖₂, the largest factor by which a change of s_t shows in h_T, is
bounded by the product of the steps' norms: it falls or grows like a power of the lag T − t. Where
it has fallen to nothing, truncating there has no bias.

Sources: Hochreiter 1991; Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.truncation.runner import Model, Runner
from rnnbench.truncation.state import State, map_state


def lag_norms(model: Model, x: Any, state: State = None, **layout: Any) -> Tensor:
    """Return ‖∂h_T/∂s_t‖₂ at the lags T − t = 1 … T − 1 and for each sequence, (T − 1, B).

    h_T is the output of the last step, s_t the whole state after step t.

    model, x, state  as for `rnnbench.truncated_bptt`, all sequences of one length
    layout           ``batch_first``, ``batch_dim``, ``per_step``, likewise

    Exact, by one backward pass for each of the outputs. Raises InputError for lengths, for a single
    step, and for a bidirectional module, whose reverse state at t has come from T.
    """
    if getattr(model, "bidirectional", False):
        raise InputError("model must have one direction to have lags; got a bidirectional module")
    runner = Runner(model, x, **layout)
    if runner.lengths is not None:
        raise InputError("lengths must be left out: lags are counted from one last step")
    if runner.T < 2:
        raise InputError(f"x must have at least two time steps to have a lag; got {runner.T}")
    runner.check_state(state)
    with torch.enable_grad():
        states: list[list[Tensor]] = []
        for t in range(runner.T - 1):
            _, state = runner(t, t + 1, state)
            states.append([])
            state = map_state(partial(_watched, states[-1]), state)
        output, _ = runner(runner.T - 1, runner.T, state)
        last = output.select(runner.time, 0).flatten(1) if runner.batched else output
        ones = last.sum(0).unbind()
    rows = [_rows(one, states, runner) for one in ones]
    jacobians = torch.stack(rows, dim=2)  # (T − 1, B, outputs, size of the state)
    norms: Tensor = torch.linalg.matrix_norm(jacobians, ord=2)
    return norms.flip(0)


def _watched(seen: list[Tensor], tensor: Tensor) -> Tensor:
    """Return an alias that is kept in ``seen`` and has a gradient, with frozen weights too."""
    own = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
    seen.append(own)
    return own


def _rows(one: Tensor, states: list[list[Tensor]], runner: Runner) -> Tensor:
    """Return the derivative of one output by every state, (T − 1, B, size of the state)."""
    flat = [part for state in states for part in state]
    found = torch.autograd.grad(one, flat, retain_graph=True, materialize_grads=True)
    batched = [
        gradient.movedim(runner.batch_dim, 0).flatten(1) if runner.batched else gradient.view(1, -1)
        for gradient in found
    ]
    each = len(states[0])
    return torch.stack(
        [torch.cat(batched[i : i + each], dim=1) for i in range(0, len(batched), each)]
    )
