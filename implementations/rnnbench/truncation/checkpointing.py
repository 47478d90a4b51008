r"""Full BPTT with recomputation: memory for time, the gradient unchanged.

BPTT over T steps keeps what every step's derivative needs. With checkpoints the forward pass keeps
the states after every n steps alone; the backward pass takes the pieces last to first and runs each
again, from its state, before it goes back through it. Kept at once: T/n states and the insides of n
steps, least at n = √T; the price is one more forward pass.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; for recurrent networks
Gruslys et al., "Memory-Efficient Backpropagation Through Time", 2016. The work is done by
`torch.utils.checkpoint`, which also gives each piece its random numbers (dropout) again.

Known shortcomings: dropout's masks are drawn piece by piece, and so are other than those of one
call over all steps (the gradient is that of the masks drawn); the output itself is kept.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from rnnbench.errors import InputError
from rnnbench.truncation.arguments import check_int
from rnnbench.truncation.runner import Model, Runner
from rnnbench.truncation.state import State, map_state


def recomputed(runner: Runner, state: State, n: int | None = None) -> tuple[Tensor, State]:
    """Return output and state of all steps, with a checkpoint every n steps, √T unless given."""
    n = n or math.ceil(math.sqrt(runner.T))
    outputs = []
    for start in range(0, runner.T, n):
        piece = partial(runner, start, min(start + n, runner.T))
        output, state = checkpoint(piece, state, use_reentrant=False)
        outputs.append(output)
    return torch.cat(outputs, runner.time), state


def checkpointed(
    model: Model, x: Any, state: State = None, *, every: int | None = None, **layout: Any
) -> tuple[Tensor, State]:
    """Run ``model(x, state)``, keeping the states of every few steps and computing the rest again.

    every    steps between checkpoints, √T unless given
    layout   ``lengths``, ``batch_first``, ``batch_dim``, ``per_step`` as for
             `rnnbench.truncated_bptt`, whose mode "full" with ``checkpoint=True`` this is, but for
             the state, which keeps its graph

    Returns output and state as the model does; a PackedSequence comes back padded. Raises
    InputError for a bidirectional module, whose reverse direction cannot be cut.
    """
    if getattr(model, "bidirectional", False):
        raise InputError("model must have one direction to be cut into pieces; got a bidirectional")
    if every is not None:
        every = check_int("every", every, 1)
    runner = Runner(model, x, **layout)
    runner.check_state(state)
    return recomputed(runner, state, every)


def checkpointed_module(module: Any, forward: Model, x: Any, hx: Any) -> Any:
    """Return what ``module(x, hx)`` returns, by its ``forward`` with checkpoints."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x, module.batch_first)
        runner = Runner(forward, padded, lengths, batch_first=module.batch_first)
        y, final = recomputed(runner, hx)
        is_sorted = x.sorted_indices is None
        return pack_padded_sequence(y, lengths, module.batch_first, is_sorted), final
    if x.dim() == 2:
        batch = 0 if module.batch_first else 1
        one = None if hx is None else map_state(lambda part: part.unsqueeze(1), hx)
        y, final = checkpointed_module(module, forward, x.unsqueeze(batch), one)
        return y.squeeze(batch), map_state(lambda part: part.squeeze(1), final)
    if x.dim() != 3:
        return forward(x, hx)  # which refuses it, in torch's words
    return recomputed(Runner(forward, x, batch_first=module.batch_first), hx)
