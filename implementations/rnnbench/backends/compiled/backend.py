r"""`torch.compile` of one chunk of steps, forward and backward, called along the sequence.

Dynamo breaks its graph at ``torch.nn.RNN/GRU/LSTM``, and an unrolled loop takes minutes to compile
and grows with T. Here a chunk of `STEPS` steps is compiled once per cell, sizes and dtype, whatever
T and B are: the sequence is cut into blocks of that many steps (`Blocks`), and the batch is a
dimension of which the compiler knows nothing. A cell has three chunks: inference, forward of
training, backward. None is differentiated: backward is BPTT derived by hand.

What a chunk computes is in `steps`; how it is compiled in `chunks`. Weight gradients and dx are
products over all rows after the loop.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rnnbench.backends.compiled.blocks import Block, Blocks
from rnnbench.backends.compiled.chunks import chunk_of
from rnnbench.backends.compiled.steps import COEFFICIENTS, STEPS, Tensors
from rnnbench.bptt.autograd import run_stack
from rnnbench.bptt.recurrence import (
    BackwardInputs,
    LayerGradients,
    LayerPass,
    LayerResult,
    LayerWeights,
    Recurrence,
    gradients_of_rows,
    sum_of_outer,
)
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.spec import Spec


def _neutral(spec: Spec, like: Tensor) -> Tensor | float:
    """Return what a is in the padding.

    LSTM: i = o = 0 and f = 1 exactly, so that dc goes through unchanged. Others: any finite number,
    for dh_n is added to dy at the last step and dh is zero behind it.
    """
    if not spec.has_cell_state:
        return 0.0
    gates = like.new_tensor([-torch.inf, torch.inf, 0.0, -torch.inf])
    return gates.repeat_interleave(spec.hidden_size)


def _projected_input(spec: Spec, blocks: Blocks, x: Tensor, weights: LayerWeights) -> Tensor:
    """Return a of all places (M, G·H) with both biases, but not the GRU's b_hh, which is u's."""
    bias = weights.bias_ih
    if bias is not None and weights.bias_hh is not None and spec.cell != "gru":
        bias = bias + weights.bias_hh
    rows = blocks.enter(x)
    a = rows @ weights.ih.t() if bias is None else torch.addmm(bias, rows, weights.ih.t())
    if blocks.M > blocks.N:
        a[blocks.padding] = _neutral(spec, a)
    return a


def _recurrent_weights(spec: Spec, weights: LayerWeights, *, backward: bool) -> Tensors:
    used = [weights.hh]
    if spec.cell == "gru" and not backward:
        zero = weights.hh.new_zeros(len(weights.hh))
        used.append(zero if weights.bias_hh is None else weights.bias_hh)
    if weights.hr is not None:
        used.append(weights.hr)
    return tuple(w.contiguous() for w in used)


def _cut(rows: Tensor, block: Block) -> Tensor:
    """Return a block's rows of (M, ·) as (STEPS, b, ·)."""
    return rows[block.rows].view(STEPS, block.batch, rows.shape[1])


class CompiledRecurrence(Recurrence):
    """Compiled chunks called along the sequence, forward and backward.

    ``saved`` is h0, then for each block h of its steps, the coefficients, and with a projection m.
    """

    def forward(
        self, layer: LayerPass, h0: Tensor, c0: Tensor | None, *, keep: bool
    ) -> LayerResult:
        spec, layout, x, weights, reverse = layer
        chunk = chunk_of(spec, "forward" if keep else "inference").run
        blocks = Blocks(layout, reverse=reverse)
        a = _projected_input(spec, blocks, x, weights)
        recurrent = _recurrent_weights(spec, weights, backward=False)
        state = tuple(s.contiguous() for s in (h0, c0) if s is not None)
        final = [torch.empty_like(s) for s in state]
        h_rows: list[Tensor] = []
        saved = [h0] if keep else []
        for block in blocks:
            state = tuple(s[: block.batch] for s in state)
            state, out = chunk((_cut(a, block),), state, recurrent)
            ending = slice(block.going_on, block.batch)
            if block.going_on < block.batch:
                ends = blocks.last[ending] - block.start
                for part, rows in zip(final, out, strict=False):
                    part[ending] = rows.flatten(0, 1)[ends]
            h_rows.append(out[0])
            if keep:
                saved += [out[0], *out[len(state) :]]
        c_n = final[1] if spec.has_cell_state else None
        return LayerResult(blocks.leave(h_rows), final[0], c_n, tuple(saved))

    def backward(self, layer: LayerPass, given: BackwardInputs) -> LayerGradients:
        spec, layout, _, weights, reverse = layer
        saved, dy, dh_n, dc_n, needs_dx, _ = given
        chunk = chunk_of(spec, "backward").run
        blocks = Blocks(layout, reverse=reverse)
        placed_dy = blocks.enter(dy).index_add_(0, blocks.last, dh_n)
        recurrent = _recurrent_weights(spec, weights, backward=True)
        n_kept = (len(saved) - 1) // len(blocks.blocks)
        kept = [saved[1 + k : 1 + k + n_kept] for k in range(0, len(saved) - 1, n_kept)]
        arriving = tuple(s for s in (torch.zeros_like(dh_n), dc_n) if s is not None)
        state = tuple(s[:0] for s in arriving)
        emitted: list[Tensors] = []
        for block, tape in zip(reversed(blocks.blocks), reversed(kept), strict=True):
            joining = slice(block.going_on, block.batch)
            if block.going_on < block.batch:
                state = tuple(
                    torch.cat([s, new[joining]]) for s, new in zip(state, arriving, strict=True)
                )
            rows = (_cut(placed_dy, block), *tape[1 : 1 + COEFFICIENTS[spec.cell]])
            state, out = chunk(rows, state, recurrent)
            emitted.append(out)
        emitted.reverse()
        mu = blocks.leave([out[0] for out in emitted])
        alpha = mu
        if spec.cell == "gru":
            alpha_n = blocks.leave([out[1] for out in emitted])
            alpha = torch.cat([mu[:, : 2 * spec.hidden_size], alpha_n], dim=1)
        d_hr = None
        if weights.hr is not None:
            d_h = blocks.leave([out[1] for out in emitted])
            d_hr = sum_of_outer(d_h, blocks.leave([tape[-1] for tape in kept]))
        previous = blocks.leave(_previous(saved[0], blocks, [tape[0] for tape in kept]))
        initial = (state[0], state[1] if spec.has_cell_state else None)
        return gradients_of_rows(layer, alpha, mu, previous, initial, d_hr, needs_dx=needs_dx)


def _previous(h0: Tensor, blocks: Blocks, h_rows: Sequence[Tensor]) -> list[Tensor]:
    """Return h before each step, in blocks like ``h_rows``, which are h after it."""
    befores, last = [], h0
    for block, rows in zip(blocks, h_rows, strict=True):
        befores.append(torch.cat([last[: block.batch].unsqueeze(0), rows[:-1]]))
        last = rows[-1]
    return befores


@cache
def _compiler_found(cxx: str) -> bool:
    return shutil.which(cxx) is not None


class Compiled(Backend):
    """`torch.compile` with inductor, on the CPU."""

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu":
            return f"compiled chunks are for the CPU only, not for {conditions.device!r}"
        cxx = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not _compiler_found(cxx):
            return f"torch.compile needs a C++ compiler, and {cxx!r} was not found (set CXX)"
        return None

    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        return run_stack(CompiledRecurrence(), spec, inputs)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        """Compile what a run of these inputs would, and say what that took in this process."""
        tensors = (inputs.x, *inputs.state, *inputs.weights)
        training = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        kinds = ("forward", "backward") if training else ("inference",)
        found = [chunk_of(spec, kind).compilation for kind in kinds]
        graphs = sum(c.graphs for c in found)
        return {
            "kernel": f"inductor chunk of {STEPS} steps",
            "graphs": graphs,
            "recompilations": graphs - len(kinds),
            "graph_breaks": sum(c.graph_breaks for c in found),
            "graph_nodes": sum(c.nodes for c in found),
            "compile_seconds": sum(c.seconds for c in found),
            "device": str(inputs.x.device),
        }
