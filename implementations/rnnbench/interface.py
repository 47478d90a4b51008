"""The one interface that every backend implements, and the registry that finds them.

A backend takes a `Spec` and `Inputs` and returns output and final state as torch tensors that
autograd can go through, whatever it does inside. It says with a reason what it cannot do
(`supports`), and never falls back to another in silence.

To add a backend, subclass `Backend` and name it in an entry point of your distribution::

    [project.entry-points."rnnbench.backends"]
    mine = "my_package.my_module:MyBackend"

or call ``rnnbench.register("mine", MyBackend())``. Tests, checks, benchmarks and reports take
their list from here.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnbench.errors import InputError, UnsupportedError
from rnnbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

ENTRY_POINT_GROUP = "rnnbench.backends"

BUILT_IN = {
    "manual": "rnnbench.backends.manual:Manual",
    "numba": "rnnbench.backends.numba.backend:Numba",
    "native": "rnnbench.backends.native:Native",
    "compile": "rnnbench.backends.compiled.backend:Compiled",
    "numba-plain": "rnnbench.backends.numba_plain.backend:NumbaPlain",
}
"""Built-in backend → its class; it is imported when first asked for."""

PEERS = {
    "onnxruntime": ("rnnbench.backends.onnxruntime:OnnxRuntime", ("onnxruntime", "onnx")),
    "jax": ("rnnbench.backends.jax:Jax", ("jax", "jaxlib")),
}
"""The same for other libraries' networks, with the libraries that each needs (extra `peers`)."""

AUTO = "auto"
"""Backend of a module that takes the fastest backend for each case."""

AUTO_ORDER = ("native", "numba", "manual")
"""Backends that "auto" tries, in order: torch's own kernels unless they cannot do the case."""

_registered: dict[str, Backend] = {}


@dataclass(frozen=True)
class Conditions:
    """Conditions of a run besides its spec, for a backend to say whether it can do the case."""

    device: str = "cpu"
    phase: str = "training"
    packed: bool = False
    masks_given: bool = False


class Inputs(NamedTuple):
    """Checked arguments of one run.

    x            (T, B, I), or the (N, I) rows of a packed sequence, longest sequence first
    state        (h0,) or (h0, c0): (L·D, B, P or H), (L·D, B, H)
    weights      in the order of `Spec.parameters`
    batch_sizes  sequences still running at each step, (T,) int64 on the CPU; None when not packed
    dropout      probability that is in force between layers: 0 unless training
    masks        L−1 tensors shaped like x with D·(P or H) features, 0 or 1/(1−p), to be used in
                 place of dropout's own random ones; None to draw them
    """

    x: Tensor
    state: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    batch_sizes: Tensor | None = None
    dropout: float = 0.0
    masks: tuple[Tensor, ...] | None = None


Repeated = Callable[
    ["Tensor", Sequence["Tensor"], Sequence["Tensor"]], tuple["Tensor", tuple["Tensor", ...]]
]
"""x (T, B, I), state and weights → output and final state, as `Backend.run`."""


class Backend(ABC):
    """One implementation of all four cells behind the common interface."""

    @abstractmethod
    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        """Return None if it can do the case, else the reason why not, as one sentence."""

    @abstractmethod
    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return output, shaped like x with D·(P or H) features, and final state, like state."""

    def repeated(self, spec: Spec, inputs: Inputs) -> Repeated | None:
        """Return a shorter `run` for later calls like this one; None where there is none.

        Later tensors have these shapes, strides, dtypes, devices and needs of gradients, under the
        same modes of torch. Neither packed sequences nor dropout are asked for.
        """
        return None

    @abstractmethod
    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        """Return what really runs for these inputs, at least ``{"kernel": ...}``. May run it."""


def register(name: str, backend: Backend) -> None:
    """Make ``backend`` known under ``name`` for this process.

    Raises InputError if the name is taken or the object is not a `Backend`.
    """
    if not isinstance(backend, Backend):
        raise InputError(f"backend must be an rnnbench Backend; got {type(backend).__name__}")
    if name in (*backends(), *PEERS):
        raise InputError(f"name must not be a registered backend's; got {name!r}")
    _registered[name] = backend


def unregister(name: str) -> None:
    """Forget a backend that `register` made known."""
    _registered.pop(name)


@cache
def _third_party() -> dict[str, Any]:
    """Return entry points by name; a built-in name cannot be taken over."""
    own = (*BUILT_IN, *PEERS)
    return {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name not in own}


@cache
def _missing(peer: str) -> tuple[str, ...]:
    """Return libraries that a peer needs and that cannot be found, without importing any."""
    _, needed = PEERS[peer]
    return tuple(library for library in needed if find_spec(library) is None)


def backends() -> tuple[str, ...]:
    """Return the names of all registered backends.

    Built-in, peers whose libraries are installed, from entry points, from `register`.
    """
    peers = (name for name in PEERS if not _missing(name))
    return (*BUILT_IN, *peers, *_third_party(), *_registered)


@cache
def _load(name: str) -> Backend:
    if name in BUILT_IN or name in PEERS:
        home = BUILT_IN[name] if name in BUILT_IN else PEERS[name][0]
        module, attribute = home.split(":")
        backend = getattr(importlib.import_module(module), attribute)()
    else:
        try:
            backend = _third_party()[name].load()()
        except Exception as error:
            raise InputError(
                f"the entry point of backend {name!r} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(backend, Backend):
        raise InputError(f"entry point {name!r} must name a subclass of rnnbench's Backend")
    return backend


def get_backend(name: str) -> Backend:
    """Return the backend called ``name``.

    Raises InputError that lists the known ones, or says what a peer lacks.
    """
    if name in _registered:
        return _registered[name]
    if name in PEERS and _missing(name):
        raise InputError(
            f"backend {name!r} needs {' and '.join(_missing(name))}, not installed here: "
            "pip install 'rnnbench[peers]'"
        )
    if name not in backends():
        known = ", ".join(map(repr, backends()))
        raise InputError(f"backend must be one of {known}; got {name!r}")
    return _load(name)


def require(name: str, spec: Spec, conditions: Conditions) -> Backend:
    """Return the backend called ``name``; raise UnsupportedError if it cannot do the case."""
    backend = get_backend(name)
    reason = backend.supports(spec, conditions)
    if reason is not None:
        raise UnsupportedError(f"backend {name!r} does not support this case: {reason}")
    return backend


def first_supporting(spec: Spec, conditions: Conditions, names: Sequence[str] = AUTO_ORDER) -> str:
    """Return the first of the backends called ``names`` that can do the case."""
    return next(name for name in names if get_backend(name).supports(spec, conditions) is None)


def check_inputs(
    spec: Spec,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None = None,
) -> Inputs:
    """Check every argument against the spec and fill in the zero state.

    Raises InputError with one sentence that names the argument, what it was and what it must be.
    """
    import torch

    if not isinstance(x, torch.Tensor):
        raise InputError(f"x must be a torch.Tensor; got {type(x).__name__}")
    dtype, device, size = getattr(torch, spec.dtype), x.device, spec.input_size
    wanted: tuple[Any, ...]
    shape: tuple[int, ...]
    if batch_sizes is None:
        wanted, meaning = ("T", "B", size), f" with input_size {size}"
        steps, batch = x.shape[:2] if x.dim() == 3 else (0, 0)
        shape = (steps, batch, size)
    else:
        _check_batch_sizes(batch_sizes)
        wanted = shape = (int(batch_sizes.sum()), size)
        steps, batch = len(batch_sizes), int(batch_sizes[0])
        meaning = f" = (sum of lengths, input_size {size})"
    if x.shape != shape or x.dtype is not dtype:
        _check_tensor("x", x, wanted, meaning, dtype, device)
    if steps == 0:
        raise InputError(f"x must have at least one time step (T ≥ 1); got shape {tuple(x.shape)}")

    def check(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
        if (
            not isinstance(tensor, torch.Tensor)
            or tensor.shape != shape
            or tensor.dtype is not dtype
            or tensor.device != device
        ):
            _check_tensor(name, tensor, shape, f"{meaning} for {spec.name}", dtype, device)

    shapes = spec.state_shapes(batch)
    if state is None:
        state = tuple(x.new_zeros(shape) for shape in shapes.values())
    state = _tensors("state", state)
    if len(state) != len(shapes):
        wanted_state = "(h0, c0)" if spec.has_cell_state else "(h0,)"
        raise InputError(
            f"state must be {wanted_state} for cell {spec.cell!r}; got {len(state)} tensors"
        )
    for (name, shape), tensor in zip(shapes.items(), state, strict=True):
        check(name, tensor, shape, " = (layers·directions, B, size)")

    weights = _tensors("weights", weights)
    if len(weights) != len(spec.parameters):
        raise InputError(
            f"weights must be {len(spec.parameters)} tensors for {spec.name}; got {len(weights)}"
        )
    for parameter, tensor in zip(spec.parameters, weights, strict=True):
        check(parameter.name, tensor, parameter.shape, "")
    return Inputs(x, state, weights, batch_sizes)


def _check_tensor(
    name: str, tensor: Any, shape: tuple[Any, ...], meaning: str, dtype: Any, device: Any
) -> None:
    """Raise the sentence that says what is wrong; a str in ``shape`` stands for any size."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    wrong = len(shape) != tensor.dim() or any(
        isinstance(want, int) and want != got for want, got in zip(shape, tensor.shape, strict=True)
    )
    if wrong:
        wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise InputError(f"{name} must have shape {wanted}{meaning}; got {tuple(tensor.shape)}")
    if tensor.dtype != dtype:
        raise InputError(f"{name} must have dtype {str(dtype)[6:]}; got {tensor.dtype}")
    if tensor.device != device:
        raise InputError(f"{name} must be on x's device {device}; got {tensor.device}")


def _tensors(name: str, value: Any) -> tuple[Any, ...]:
    """Return a sequence of tensors, which a bare tensor is not, as a tuple."""
    if not isinstance(value, Sequence):
        raise InputError(f"{name} must be a sequence of tensors; got {type(value).__name__}")
    return tuple(value)


def _check_batch_sizes(sizes: Any) -> None:
    """Raise InputError unless they are a PackedSequence's: kernels index rows by them."""
    import torch

    if not isinstance(sizes, torch.Tensor):
        raise InputError(f"batch_sizes must be a torch.Tensor; got {type(sizes).__name__}")
    if sizes.dtype != torch.int64 or sizes.device.type != "cpu" or sizes.dim() != 1:
        raise InputError(
            "batch_sizes must be int64, one-dimensional and on the CPU; "
            f"got {sizes.dtype}, shape {tuple(sizes.shape)}, on {sizes.device}"
        )
    if not len(sizes) or int(sizes[-1]) < 0 or bool((sizes[1:] > sizes[:-1]).any()):
        raise InputError(
            "batch_sizes must hold at least one step and never grow or be negative; "
            f"got {sizes.tolist()}"
        )


def _check_masks(spec: Spec, x: Tensor, given: Any) -> tuple[Tensor, ...]:
    """Return L−1 masks shaped like a layer's output; raise InputError for anything else."""
    masks = _tensors("masks", given)
    if len(masks) != spec.layers - 1:
        raise InputError(f"masks must be {spec.layers - 1} tensors; got {len(masks)}")
    shape = (*x.shape[:-1], spec.output_size)
    for k, mask in enumerate(masks):
        if getattr(mask, "shape", None) != shape or mask.dtype != x.dtype:
            raise InputError(
                f"masks[{k}] must have shape {shape} and dtype {spec.dtype}; got "
                f"{tuple(getattr(mask, 'shape', ()))}, {getattr(mask, 'dtype', type(mask))}"
            )
    return masks


def run(
    backend: str,
    spec: Spec,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    *,
    batch_sizes: Tensor | None = None,
    training: bool = False,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a network on the backend called ``backend``.

    x            (T, B, I), or (N, I) packed rows with ``batch_sizes``
    state        (h0,) or (h0, c0), each (L·D, B, size); None for zeros
    weights      in the order of ``spec.parameters``
    training     whether dropout between the layers is in force
    masks        given dropout masks, see `Inputs`

    Returns the output and the final state. Raises InputError for a bad argument and
    UnsupportedError where the backend says that it cannot do the case.
    """
    import torch

    inputs = check_inputs(spec, x, state, weights, batch_sizes)
    tensors = (inputs.x, *inputs.state, *inputs.weights)
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    conditions = Conditions(
        device=x.device.type,
        phase="training" if differentiable else "inference",
        packed=batch_sizes is not None,
        masks_given=masks is not None,
    )
    if masks is not None:
        masks = _check_masks(spec, x, masks)
    chosen = require(backend, spec, conditions)
    if training and spec.layers > 1:
        inputs = inputs._replace(dropout=spec.dropout, masks=masks)
    return chosen.run(spec, inputs)


vars(run)["_torchdynamo_disable"] = True  # torch.compile runs it as it is: it has no graph to give
