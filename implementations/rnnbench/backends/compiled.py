r"""`torch.compile` of one chunk of steps, forward and backward, called along the sequence.

Dynamo breaks its graph at ``torch.nn.RNN/GRU/LSTM``, and an unrolled loop takes minutes to compile
and grows with T. Here a chunk of `STEPS` steps is compiled once per cell, sizes and dtype, whatever
T and B are: the sequence is cut into blocks of that many steps (`Blocks`), and the batch is a
dimension of which the compiler knows nothing. A cell has three chunks: inference, forward of
training, backward. None is differentiated: backward is BPTT derived by hand.

A step of BPTT is linear in dh = ∂L/∂h_t and dc = ∂L/∂c_t, and its coefficients are known as soon as
the step has run forward. So the forward chunk keeps the coefficients in place of the gates, and the
backward chunk only multiplies. With the gates, α, μ and dm of `rnnbench.oracle`:

    RNN    D = φ' (relu keeps h itself)        α = μ = dh ⊙ D
    GRU    N = (1 − z) ⊙ (1 − n²)              α_n = dh ⊙ N
           M = N ⊙ r                           μ_n = dh ⊙ M
           Z = (h_{t−1} − n) ⊙ z ⊙ (1 − z)     α_z = μ_z = dh ⊙ Z
           R = N ⊙ u_n ⊙ r ⊙ (1 − r)           α_r = μ_r = dh ⊙ R     dh_{t−1} = μ W_hh + dh ⊙ z
    LSTM   K = o ⊙ (1 − tanh² c_t)             dc ← dc + dm ⊙ K       dc_{t−1} = dc ⊙ f
           O = tanh c_t ⊙ o ⊙ (1 − o)          α_o = dm ⊙ O
           I = g ⊙ i ⊙ (1 − i)                 α_i = dc ⊙ I
           F = c_{t−1} ⊙ f ⊙ (1 − f)           α_f = dc ⊙ F
           G = i ⊙ (1 − g²)                    α_g = dc ⊙ G           α = μ

Weight gradients and dx are products over all rows after the loop.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbench.autograd import run_stack
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.recurrence import (
    LayerGradients,
    LayerResult,
    LayerWeights,
    Layout,
    Recurrence,
    sum_of_outer,
)
from rnnbench.spec import Spec

STEPS = 8
"""Steps of a chunk. 16 save a tenth of the time of the smallest networks and compile 1.5 times as
long."""

Tensors = tuple[Tensor, ...]
Step = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
"""(rows of one step, state, weights) → (next state, rows to hand out); every row block is (b, ·).

Forward: rows (a,), state (h,) or (h, c), weights (W_hh,), (W_hh, b_hh) for the GRU, (W_hh, W_hr)
with a projection; hands out the new state, then the coefficients in the order in which the backward
step takes them after dy, and with a projection last what it was applied to.
Backward: rows (dy, *coefficients), state (dh,) or (dh, dc); hands out μ, then what else is needed.
"""


def _rnn_tanh(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h = torch.tanh(torch.addmm(rows[0], state[0], weights[0].t()))
    return (h,), (h, 1 - h * h)


def _rnn_relu(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h = torch.relu(torch.addmm(rows[0], state[0], weights[0].t()))
    return (h,), (h, h)


def _gru(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    (a,), (h,), (w_hh, bias_hh) = rows, state, weights
    a_r, a_z, a_n = a.chunk(3, dim=1)
    u_r, u_z, u_n = torch.addmm(bias_hh, h, w_hh.t()).chunk(3, dim=1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    new = n + z * (h - n)
    d_n = (1 - z) * (1 - n * n)
    return (new,), (new, d_n * u_n * r * (1 - r), (h - n) * z * (1 - z), d_n * r, d_n, z)


def _lstm(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    h, c = state
    i, f, g, o = torch.addmm(rows[0], h, weights[0].t()).chunk(4, dim=1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    new_c = f * c + i * g
    tanh_c = torch.tanh(new_c)
    m = o * tanh_c
    d_gates = (g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o))
    kept = (*d_gates, o * (1 - tanh_c * tanh_c), f)
    if len(weights) == 1:
        return (m, new_c), (m, new_c, *kept)
    h = torch.mm(m, weights[1].t())
    return (h, new_c), (h, new_c, *kept, m)


def _rnn_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d = rows
    delta = (state[0] + dy) * d
    return (torch.mm(delta, weights[0]),), (delta,)


def _relu_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    """Not a product with 0 or 1: an infinite gradient must vanish where the unit is off."""
    dy, h = rows
    delta = torch.where(h <= 0, 0, state[0] + dy)
    return (torch.mm(delta, weights[0]),), (delta,)


def _gru_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d_r, d_z, d_m, d_n, z = rows
    dh = state[0] + dy
    mu = torch.cat([dh * d_r, dh * d_z, dh * d_m], dim=1)
    return (torch.mm(mu, weights[0]) + dh * z,), (mu, dh * d_n)


def _lstm_back(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
    dy, d_i, d_f, d_g, d_o, d_c, f = rows
    dh, dc = state[0] + dy, state[1]
    dm = dh if len(weights) == 1 else torch.mm(dh, weights[1])
    dc = dc + dm * d_c
    alpha = torch.cat([dc * d_i, dc * d_f, dc * d_g, dm * d_o], dim=1)
    emitted = (alpha,) if len(weights) == 1 else (alpha, dh)
    return (torch.mm(alpha, weights[0]), dc * f), emitted


FORWARD: dict[str, Step] = {
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
    "gru": _gru,
    "lstm": _lstm,
}
BACKWARD: dict[str, Step] = {
    "rnn_tanh": _rnn_back,
    "rnn_relu": _relu_back,
    "gru": _gru_back,
    "lstm": _lstm_back,
}
COEFFICIENTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 5, "lstm": 6}


def _chunk_function(step: Step, order: Sequence[int], handed_out: int | None) -> Callable[..., Any]:
    """`STEPS` calls of ``step`` in ``order``; returns the last state and what was handed out.

    Rows go in and come out as (STEPS, b, ·), of ``handed_out`` kinds only if it is not None.
    """

    def chunk(rows: Tensors, state: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
        out: list[Tensors] = [()] * STEPS
        for t in order:
            state, out[t] = step(tuple(r[t] for r in rows), state, weights)
        kinds = list(zip(*out, strict=True))[:handed_out]
        return state, tuple(torch.stack(kind) for kind in kinds)

    return chunk


class ChunkKey(NamedTuple):
    """Everything that a compiled chunk depends on."""

    kind: str  # "inference", "forward" or "backward"
    cell: str
    hidden_size: int
    proj_size: int
    dtype: str


@dataclass(frozen=True)
class Compilation:
    """What one compilation was: graphs and FX nodes that Dynamo made, graph breaks, seconds."""

    graphs: int
    nodes: int
    graph_breaks: int
    seconds: float


class Chunk(NamedTuple):
    """A compiled chunk and the record of its compilation."""

    run: Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
    compilation: Compilation


INDUCTOR_OPTIONS = {
    # A chunk is some 25 calls of small kernels: driven from C++ they take two thirds of the time.
    "cpp_wrapper": True,
    # Of an unknown batch inductor assumes that it is worth a parallel region in every step, and
    # at small sizes that costs several times the work. The products still use torch's threads.
    "cpp.threads": 1,
    # It would make a sum and a product one call that adds the small terms of the product one by one
    # to the large one: up to 1.6 times the error in grad_h0.
    "pattern_matcher": False,
}

# `aot_compile` turns these on to write its artifact to a file, at the price of inductor's own disk
# cache: 0.8 s instead of 2.4 s for a chunk that was compiled before.
FUNCTORCH_OPTIONS = {"bundled_autograd_cache": False, "bypass_autograd_cache_key": False}


class _Artifact:
    """Stands in for the serialisable callable that `aot_compile` asks of its backend."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def _example(key: ChunkKey) -> tuple[Tensors, Tensors, Tensors]:
    """Arguments of the right shapes, the batch dimension marked as unknown to the compiler."""
    dtype = getattr(torch, key.dtype)
    H, P = key.hidden_size, key.proj_size or key.hidden_size
    spec = Spec(key.cell, 1, H, proj_size=key.proj_size)
    batch, gates = 2, spec.gates * H
    widths = [P] + [H] * COEFFICIENTS[key.cell] if key.kind == "backward" else [gates]
    rows = tuple(torch.zeros(STEPS, batch, width, dtype=dtype) for width in widths)
    state = tuple(torch.zeros(batch, n, dtype=dtype) for n in [P, H][: 1 + spec.has_cell_state])
    for tensor in (*rows, *state):
        torch._dynamo.decorators.mark_unbacked(tensor, tensor.dim() - 2, shape_id="batch")
    weights = [torch.zeros(gates, P, dtype=dtype)]
    if key.cell == "gru" and key.kind != "backward":
        weights.append(torch.zeros(gates, dtype=dtype))
    if key.proj_size:
        weights.append(torch.zeros(P, H, dtype=dtype))
    return rows, state, tuple(weights)


def _function(key: ChunkKey) -> Callable[..., Any]:
    if key.kind == "backward":
        return _chunk_function(BACKWARD[key.cell], range(STEPS)[::-1], None)
    n_state = 2 if key.cell == "lstm" else 1
    handed_out = n_state if key.kind == "inference" else None
    return _chunk_function(FORWARD[key.cell], range(STEPS), handed_out)


def _compile(key: ChunkKey) -> Chunk:
    """Compile ahead of time: `ChunkKey` fixes all but the batch, so no guard is to be checked in a
    call, nothing can recompile, and a call does not go through Dynamo (15 µs a chunk)."""
    from torch._dynamo import config as dynamo_config
    from torch._dynamo.aot_compile_types import SerializableCallable
    from torch._dynamo.utils import counters
    from torch._functorch import config as functorch_config
    from torch._inductor.compile_fx import compile_fx

    SerializableCallable.register(_Artifact)
    nodes: list[int] = []

    def inductor(module: Any, examples: Sequence[Any]) -> _Artifact:
        nodes.append(len(module.graph.nodes))
        module._backend_id = None  # random, and part of the key of the disk cache
        with functorch_config.patch(FUNCTORCH_OPTIONS):
            compiled: Any = compile_fx(module, examples, config_patches=INDUCTOR_OPTIONS)
        return _Artifact(compiled)

    broken = sum(counters["graph_break"].values())
    start = time.perf_counter()
    # Whatever mode the caller is in, the examples must be ordinary tensors. And Dynamo must not
    # make H dynamic because it met another H before.
    ordinary = dynamo_config.patch(automatic_dynamic_shapes=False)
    with torch.inference_mode(False), torch.no_grad(), ordinary:
        function: Any = torch.compile(
            _function(key),
            fullgraph=True,
            backend=inductor,
            options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
        )
        artifact = function.aot_compile((_example(key), {}))
    artifact.disable_guard_check()
    compilation = Compilation(
        graphs=len(nodes),
        nodes=sum(nodes),
        graph_breaks=sum(counters["graph_break"].values()) - broken,
        seconds=time.perf_counter() - start,
    )
    return Chunk(artifact, compilation)


_chunks: dict[ChunkKey, Chunk] = {}
"""Every chunk compiled in this process. Never emptied: a loaded library cannot be unloaded."""
_lock = threading.Lock()


def chunk_of(spec: Spec, kind: str) -> Chunk:
    """The chunk of that kind for these sizes; compiled when first asked for, in whatever thread."""
    key = ChunkKey(kind, spec.cell, spec.hidden_size, spec.proj_size, spec.dtype)
    if key not in _chunks:
        with _lock:
            if key not in _chunks:
                _chunks[key] = _compile(key)
    return _chunks[key]


class Block(NamedTuple):
    """`STEPS` steps of the first ``batch`` sequences, at rows start … start + STEPS·batch."""

    start: int
    batch: int
    going_on: int  # sequences that the next block has, too

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + STEPS * self.batch)


class Blocks:
    """A layout as blocks of `STEPS` steps: the N rows of a sequence at `place` in M ≥ N rows.

    Steps are counted as the recurrence goes: in reverse, step 0 of a sequence is its own last one.
    So all sequences begin in the first block and end where they end, in either direction, and what
    is left of a block behind the end of a sequence is padding. It is zero in dy and so in α; for
    dc_n, which has to reach the last step through it, see `_neutral`.

    place   (N,) of each row of the layout; a slice where that is the order already
    last    (B,) place of each sequence's last step
    """

    def __init__(self, layout: Layout, *, reverse: bool) -> None:
        widths = layout.batch_sizes[::STEPS]
        starts = [0, *accumulate(STEPS * b for b in widths)]
        self.N, self.M = layout.N, starts[-1]
        self.blocks = [
            Block(start, b, going_on)
            for start, (b, going_on) in zip(starts, pairwise([*widths, 0]), strict=False)
        ]
        self.place: slice | Tensor
        if layout.dense:
            rows = torch.arange(layout.N)
            self.place = slice(0, layout.N)
            if reverse:
                self.place = rows.view(layout.T, layout.B).flip(0).view(-1)
            self.last = rows[layout.N - layout.B :]
            return
        sizes = torch.tensor(layout.batch_sizes)
        step = torch.arange(layout.T).repeat_interleave(sizes)
        sequence = torch.arange(layout.N) - (sizes.cumsum(0) - sizes)[step]
        lengths = torch.bincount(sequence)
        if reverse:
            step = lengths[sequence] - 1 - step

        def place(step: Tensor, sequence: Tensor) -> Tensor:
            block = step // STEPS
            within = step % STEPS * torch.tensor(widths)[block] + sequence
            return torch.tensor(starts)[block] + within

        self.place = place(step, sequence)
        self.last = place(lengths - 1, torch.arange(layout.B))

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    @property
    def padding(self) -> slice | Tensor:
        """Places that no row of the layout has."""
        if isinstance(self.place, slice):
            return slice(self.N, self.M)
        free = torch.ones(self.M, dtype=torch.bool)
        free[self.place] = False
        return free

    def enter(self, rows: Tensor) -> Tensor:
        """A copy (M, ·) of rows (N, ·), the padding zero."""
        placed = rows.new_zeros(self.M, rows.shape[1])
        placed[self.place] = rows
        return placed

    def leave(self, pieces: Sequence[Tensor]) -> Tensor:
        """Rows (N, ·) from those of the blocks, each (STEPS, b, ·)."""
        return torch.cat([piece.flatten(0, 1) for piece in pieces])[self.place]


def _neutral(spec: Spec, like: Tensor) -> Tensor | float:
    """What a is in the padding.

    LSTM: i = o = 0 and f = 1 exactly, so that dc goes through unchanged. Others: any finite number,
    for dh_n is added to dy at the last step and dh is zero behind it.
    """
    if not spec.has_cell_state:
        return 0.0
    gates = like.new_tensor([-torch.inf, torch.inf, 0.0, -torch.inf])
    return gates.repeat_interleave(spec.hidden_size)


def _projected_input(spec: Spec, blocks: Blocks, x: Tensor, weights: LayerWeights) -> Tensor:
    """a of all places (M, G·H), with both biases but for the GRU, where b_hh belongs to u."""
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
    """A block's rows of (M, ·) as (STEPS, b, ·)."""
    return rows[block.rows].view(STEPS, block.batch, rows.shape[1])


class CompiledRecurrence(Recurrence):
    """Compiled chunks called along the sequence, forward and backward.

    ``saved`` is h0, then for each block h of its steps, the coefficients, and with a projection m.
    """

    def forward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        h0: Tensor,
        c0: Tensor | None,
        weights: LayerWeights,
        *,
        reverse: bool,
        keep: bool,
    ) -> LayerResult:
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

    def backward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        weights: LayerWeights,
        saved: tuple[Tensor, ...],
        dy: Tensor,
        dh_n: Tensor,
        dc_n: Tensor | None,
        *,
        reverse: bool,
        needs_dx: bool,
    ) -> LayerGradients:
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
        return LayerGradients(
            dx=alpha @ weights.ih if needs_dx else None,
            dh0=state[0],
            dc0=state[1] if spec.has_cell_state else None,
            weights=LayerWeights(
                ih=sum_of_outer(alpha, x),
                hh=sum_of_outer(mu, previous),
                bias_ih=None if weights.bias_ih is None else alpha.sum(0),
                bias_hh=None if weights.bias_hh is None else mu.sum(0),
                hr=d_hr,
            ),
        )


def _previous(h0: Tensor, blocks: Blocks, h_rows: Sequence[Tensor]) -> list[Tensor]:
    """h before each step, in blocks like ``h_rows``, which are h after it."""
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
        """Compiles what a run of these inputs would, and says what that took in this process."""
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
