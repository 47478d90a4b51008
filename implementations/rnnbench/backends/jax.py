"""JAX on the CPU: one `jax.lax.scan` per layer and direction, differentiated by JAX.

With the gates of `rnnbench.parity.oracle`: the input projection x W_ihᵀ of all steps is one product
before the scan, together with every bias that may be added this early; a step then does one product
with the state. A packed sequence is padded, and a step behind its end leaves the state as it is
(going in reverse: until it begins), so that the final state is that of its own last step.

The derivatives are JAX's own, of any order. Forward in training is ``jax.vjp`` in one jitted
function, whose pullback, a tree of arrays, is kept for the backward pass and called in another. A
function is compiled once for each shape of its arguments, T and B included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from rnnbench.backends.padding import Padded, refuse_tangents
from rnnbench.bptt import torch_private
from rnnbench.bptt.stack import weights_of
from rnnbench.errors import UnsupportedError
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.spec import Spec

POOL = "tf_XLAEigen"
"""Name of the threads of XLA's pool."""

Array = Any  # a jax.Array, or its stand-in while JAX traces
Weights = Any  # LayerWeights of arrays
Function = Callable[..., tuple[Array, ...]]
"""From arrays to a tuple of arrays; JAX compiles and differentiates it."""


def _rnn_tanh(a: Array, state: tuple[Array, ...], w: Weights) -> tuple[Array, ...]:
    return (jnp.tanh(a + state[0] @ w.hh.T),)


def _rnn_relu(a: Array, state: tuple[Array, ...], w: Weights) -> tuple[Array, ...]:
    pre = a + state[0] @ w.hh.T
    return (
        jnp.where(pre <= 0, 0, pre),
    )  # where it is NaN, value and gradient go through, as in torch


def _gru(a: Array, state: tuple[Array, ...], w: Weights) -> tuple[Array, ...]:
    (h,) = state
    a_r, a_z, a_n = jnp.split(a, 3, axis=1)
    u_r, u_z, u_n = jnp.split(h @ w.hh.T, 3, axis=1)
    if w.bias_hh is not None:
        u_n += w.bias_hh[2 * h.shape[1] :]
    r, z = jax.nn.sigmoid(a_r + u_r), jax.nn.sigmoid(a_z + u_z)
    n = jnp.tanh(a_n + r * u_n)
    return ((1 - z) * n + z * h,)


def _lstm(a: Array, state: tuple[Array, ...], w: Weights) -> tuple[Array, ...]:
    h, c = state
    i, f, g, o = jnp.split(a + h @ w.hh.T, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h if w.hr is None else h @ w.hr.T), c


STEPS = {"rnn_tanh": _rnn_tanh, "rnn_relu": _rnn_relu, "gru": _gru, "lstm": _lstm}
"""Cell → one step: (a (B, G·H), (h,) or (h, c), weights) to the next state."""


def _early_bias(spec: Spec, w: Weights) -> Array:
    """Return every bias that may be added before the loop: not the GRU's b_hn."""
    if spec.cell != "gru":
        return w.bias_ih + w.bias_hh
    return w.bias_ih.at[: 2 * spec.hidden_size].add(w.bias_hh[: 2 * spec.hidden_size])


def _layer(
    spec: Spec, x: Array, state: tuple[Array, ...], w: Weights, there: Array, *, reverse: bool
) -> tuple[Array, tuple[Array, ...]]:
    """Run one layer in one direction: x (T, B, ·) to y (T, B, P or H) and the final state."""
    a = x @ w.ih.T
    if w.bias_ih is not None:
        a += _early_bias(spec, w)

    def step(state: tuple[Array, ...], row: Any) -> tuple[tuple[Array, ...], Array]:
        a, there = row
        new = STEPS[spec.cell](a, state, w)
        if there is not None:
            new = tuple(jnp.where(there, n, old) for n, old in zip(new, state, strict=True))
        return new, new[0]

    final, y = jax.lax.scan(step, state, (a, there), reverse=reverse)
    return y, final


@cache
def network(spec: Spec, *, packed: bool, masked: bool) -> Function:
    """Return a function of (x, *state, *weights, *masks, lengths) to (y, *final state).

    Lengths are there only if packed.
    """
    D = spec.directions

    def function(x: Array, *arrays: Array) -> tuple[Array, ...]:
        rest = iter(arrays)
        state = [next(rest) for _ in range(1 + spec.has_cell_state)]
        weights = [next(rest) for _ in spec.parameters]
        masks = [next(rest) for _ in range(spec.layers - 1)] if masked else None
        there = None
        if packed:
            there = (jnp.arange(x.shape[0])[:, None] < next(rest))[..., None]
        finals = []
        for layer in range(spec.layers):
            if layer and masks is not None:
                x *= masks[layer - 1]
            outputs = []
            for direction in range(D):
                k = layer * D + direction
                y, final = _layer(
                    spec, x, tuple(part[k] for part in state),
                    weights_of(spec, weights, k), there, reverse=direction == 1,
                )  # fmt: skip
                outputs.append(y)
                finals.append(final)
            x = jnp.concatenate(outputs, axis=2)
        return x, *(jnp.stack(part) for part in zip(*finals, strict=True))

    return function


def _merged(
    needed: Sequence[bool], wanted: Sequence[Array], others: Sequence[Array]
) -> list[Array]:
    """Return all arguments in order: the ``wanted`` where ``needed``, else the ``others``."""
    mine, rest = iter(wanted), iter(others)
    return [next(mine if need else rest) for need in needed]


def _split(needed: Sequence[bool], arrays: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    pairs = list(zip(needed, arrays, strict=True))
    return [a for need, a in pairs if need], [a for need, a in pairs if not need]


def _with_pullback(function: Function, needed: Sequence[bool]) -> Any:
    """Return a function of the values and their pullback to the ``needed`` of the arguments."""

    def forward(*arrays: Array) -> Any:
        wanted, others = _split(needed, arrays)
        return jax.vjp(lambda *wanted: function(*_merged(needed, wanted, others)), *wanted)

    return forward


@cache
def gradients(function: Function, needed: tuple[bool, ...], given: tuple[bool, ...]) -> Function:
    """Return a function to the gradients of the ``needed`` arguments.

    It takes the arguments and the upstream gradients of the ``given`` outputs, and has gradients in
    its turn.
    """

    def backward(*arrays: Array) -> tuple[Array, ...]:
        arguments, upstream = arrays[: len(needed)], arrays[len(needed) :]

        def outputs(*arguments: Array) -> tuple[Array, ...]:
            return tuple(_split(given, function(*arguments))[0])

        _, pull = _with_pullback(outputs, needed)(*arguments)
        return pull(upstream)  # type: ignore[no-any-return]

    return backward


@cache
def _compiled(function: Function) -> Any:
    return jax.jit(function)


@cache
def _compiled_with_pullback(function: Function, needed: tuple[bool, ...]) -> Any:
    return jax.jit(_with_pullback(function, needed))


@jax.jit
def _pulled(pull: Any, upstream: tuple[Array, ...]) -> tuple[Array, ...]:
    return pull(upstream)  # type: ignore[no-any-return]


def _array(tensor: Tensor) -> Any:
    """Return the tensor's memory as NumPy, which a jitted function takes without a copy."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # which NumPy itself does not know
        return tensor.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def _called(function: Any, *arguments: Any, dtype: torch.dtype) -> Any:
    """Call a jitted function; no setting of the process's JAX is changed for anyone else.

    JAX runs asynchronously, and here on memory that belongs to torch: wait until it is done.
    """
    with ExitStack() as settings:
        if dtype == torch.float64:
            settings.enter_context(jax.enable_x64(True))
        if jax.default_backend() != "cpu":
            settings.enter_context(jax.default_device(jax.devices("cpu")[0]))
        return jax.block_until_ready(function(*arguments))  # type: ignore[no-untyped-call]


def _tensors(arrays: Sequence[Array]) -> tuple[Tensor, ...]:
    """Return the arrays' own memory as tensors."""
    return tuple(map(from_dlpack, arrays))


NO_TRANSFORMS = (
    "the transforms of torch.func and batched upstream gradients do not reach into JAX; backend "
    "'native' has torch's own, and 'numba' takes what they map over one by one"
)


def _is_mapped_over(tensor: Tensor | None) -> bool:
    """Return whether it stands for many tensors, one for each entry of a vmap's axis."""
    return tensor is not None and (
        torch_private.is_batched(tensor) or torch_private.is_legacy_batched(tensor)
    )


class _Node(torch.autograd.Function):
    """A JAX function as a node of torch's graph, differentiable any number of times.

    values: what computes the function, where there is a better way than to call it.
    """

    @staticmethod
    def forward(
        ctx: Any, function: Function, values: Callable[[], Any] | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.function, ctx.needed, ctx.pull = function, tuple(ctx.needs_input_grad[2:]), None
        if values is not None:
            outputs = _tensors(values())
        else:
            forward = _compiled_with_pullback(function, ctx.needed)
            arrays, ctx.pull = _called(forward, *map(_array, tensors), dtype=tensors[0].dtype)
            outputs = _tensors(arrays)
            ctx.shapes = [output.shape for output in outputs]
        ctx.set_materialize_grads(False)
        # the pullback holds copies: saved so that a tensor changed in place is detected
        ctx.save_for_backward(*tensors)
        return outputs

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        if any(_is_mapped_over(up) for up in above):
            raise UnsupportedError(NO_TRANSFORMS)
        tensors = ctx.saved_tensors
        dtype, pull = tensors[0].dtype, ctx.pull
        derivative = gradients(ctx.function, ctx.needed, tuple(up is not None for up in above))
        arguments = (*tensors, *(up for up in above if up is not None))

        def values() -> Any:
            if pull is None:
                return _called(_compiled(derivative), *map(_array, arguments), dtype=dtype)
            upstream = tuple(
                _array(torch.zeros(shape, dtype=dtype) if up is None else up)
                for up, shape in zip(above, ctx.shapes, strict=True)
            )
            return _called(_pulled, pull, upstream, dtype=dtype)

        if torch.is_grad_enabled():
            found = iter(_Node.apply(derivative, values, *arguments))  # type: ignore[no-untyped-call]
        else:
            found = iter(_tensors(values()))
        if not torch_private.keeps_graph():
            ctx.pull = None  # as autograd frees what was saved
        return (None, None, *(next(found) if need else None for need in ctx.needed))


def _pool() -> int | None:
    """Count the threads of XLA's pool by their name; None where the system does not tell.

    It has one for each core that the process may run on, or as many as ``NPROC`` says.
    """
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return names.count(POOL) or None


class Jax(Backend):
    """``jax.lax.scan`` on the CPU, compiled by XLA for each shape of the arguments."""

    def __init__(self) -> None:
        self._process: int | None = None

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu":
            return f"runs on the CPU only; got {conditions.device}"
        if self._process not in (None, os.getpid()):
            return "JAX cannot run in a process forked from one where it ran; spawn the process"
        return None

    @torch_private.uncompiled
    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        refuse_tangents(inputs)
        if torch_private.transforms_active():
            raise UnsupportedError(NO_TRANSFORMS)
        self._process = os.getpid()
        padded = Padded.of(spec, inputs)
        packed, masks = padded.lengths is not None, padded.masks or ()
        function = network(spec, packed=packed, masked=bool(masks))
        tensors = (padded.x, *inputs.state, *inputs.weights, *masks)
        if padded.lengths is not None:
            tensors += (padded.lengths.int(),)
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            y, *final = _Node.apply(function, None, *tensors)  # type: ignore[no-untyped-call]
        else:
            arrays = map(_array, tensors)
            y, *final = _tensors(_called(_compiled(function), *arrays, dtype=padded.x.dtype))
        return padded.rows(y), tuple(final)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        devices = ", ".join(map(str, jax.devices("cpu")))  # starts the pool
        return {
            "kernel": f"JAX {jax.__version__} lax.scan (XLA)",
            "jaxlib": version("jaxlib"),
            "platform": jax.default_backend(),
            "devices": devices,
            "threads": _pool(),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            "device": str(inputs.x.device),
        }
