"""Chunks of steps, compiled ahead of time: once per cell, sizes and dtype, whatever T and B are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from rnnbench.backends.compiled.steps import BACKWARD, COEFFICIENTS, FORWARD, STEPS, Step, Tensors
from rnnbench.bptt import torch_private
from rnnbench.spec import Spec


def _chunk_function(step: Step, order: Sequence[int], handed_out: int | None) -> Callable[..., Any]:
    """Return a function of `STEPS` calls of ``step`` in ``order``.

    It returns the last state and what was handed out. Rows go in and come out as (STEPS, b, ·), of
    ``handed_out`` kinds only if it is not None.
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
    """The record of one compilation: Dynamo's graphs and FX nodes, graph breaks, seconds."""

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
    """Return arguments of the right shapes, their batch dimension unknown to the compiler."""
    dtype = getattr(torch, key.dtype)
    H, P = key.hidden_size, key.proj_size or key.hidden_size
    spec = Spec(key.cell, 1, H, proj_size=key.proj_size)
    batch, gates = 2, spec.gates * H
    widths = [P] + [H] * COEFFICIENTS[key.cell] if key.kind == "backward" else [gates]
    rows = tuple(torch.zeros(STEPS, batch, width, dtype=dtype) for width in widths)
    state = tuple(torch.zeros(batch, n, dtype=dtype) for n in [P, H][: 1 + spec.has_cell_state])
    mark_unbacked = torch_private.compiler().mark_unbacked
    for tensor in (*rows, *state):
        mark_unbacked(tensor, tensor.dim() - 2, shape_id="batch")
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
    """Compile a chunk ahead of time.

    `ChunkKey` fixes all but the batch, so no guard is to be checked in a call, nothing can
    recompile, and a call does not go through Dynamo (15 µs a chunk).
    """
    own = torch_private.compiler()
    own.SerializableCallable.register(_Artifact)
    nodes: list[int] = []

    def inductor(module: Any, examples: Sequence[Any]) -> _Artifact:
        nodes.append(len(module.graph.nodes))
        module._backend_id = None  # random, and part of the key of the disk cache
        with own.functorch_config.patch(FUNCTORCH_OPTIONS):
            compiled: Any = own.compile_fx(module, examples, config_patches=INDUCTOR_OPTIONS)
        return _Artifact(compiled)

    broken = sum(own.counters["graph_break"].values())
    start = time.perf_counter()
    # Whatever mode the caller is in, the examples must be ordinary tensors. And Dynamo must not
    # make H dynamic because it met another H before.
    ordinary = own.dynamo_config.patch(automatic_dynamic_shapes=False)
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
        graph_breaks=sum(own.counters["graph_break"].values()) - broken,
        seconds=time.perf_counter() - start,
    )
    return Chunk(artifact, compilation)


_chunks: dict[ChunkKey, Chunk] = {}
"""Every chunk compiled in this process. Never emptied: a loaded library cannot be unloaded."""
_lock = threading.Lock()


def chunk_of(spec: Spec, kind: str) -> Chunk:
    """Return the chunk of that kind for these sizes, compiled when first asked for."""
    key = ChunkKey(kind, spec.cell, spec.hidden_size, spec.proj_size, spec.dtype)
    if key not in _chunks:
        with _lock:
            if key not in _chunks:
                _chunks[key] = _compile(key)
    return _chunks[key]
