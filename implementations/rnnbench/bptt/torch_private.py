"""Names of torch that it does not document, and what stands in for one that torch lacks.

torch may move such a name in any release. All are looked up when this module is imported; for each
that is missing, a RuntimeWarning says what is lost, and a way by documented names is taken instead.
Results are the same, unless the warning says otherwise. Use the names through the module
(``torch_private.keeps_graph()``), so that tests can take one away.
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from operator import attrgetter
from types import FunctionType, SimpleNamespace
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.modules import rnn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from rnnbench.errors import UnsupportedError

LOST = {
    "torch._C._dynamo.guards.TensorGuards": (
        "repeated calls of rnnbench's modules are slower, as each checks all its arguments"
    ),
    "torch._C._are_functorch_transforms_active": (
        "whether torch.func transforms a call is found by trying, which makes each call slower"
    ),
    "torch.autograd.forward_ad._current_level": (
        "whether a call is differentiated in forward mode is found by trying, which makes each "
        "call slower"
    ),
    "torch._C._functorch.is_batchedtensor": (
        "a tensor that vmap maps over is known by having no memory"
    ),
    "torch._C._functorch.is_legacy_batchedtensor": (
        "batched upstream gradients are known by having no memory"
    ),
    "torch._remove_batch_dim": "batched upstream gradients raise UnsupportedError",
    "torch._add_batch_dim": "batched upstream gradients raise UnsupportedError",
    "torch._C._autograd._get_current_graph_task_keep_graph": (
        "a backward pass does not use the memory of what was saved for it"
    ),
    "torch.Tensor._version": (
        "the backend 'onnxruntime' builds a session for every call, as writes to weights go unseen"
    ),
    "torch.utils._python_dispatch.TorchDispatchMode": (
        "the kernel that the backend 'native' runs is unknown"
    ),
    "torch.nn.modules.rnn._VF": (
        "modules look at all functions that torch's forward calls, which makes each call slower"
    ),
    "torch._C._dynamo.eval_frame": (
        "torch.compile looks into rnnbench's own code, which it can't compile"
    ),
    "torch._C._len_torch_dispatch_stack": (
        "make_fx and FakeTensorMode cannot record a module on another backend than 'native'"
    ),
    "torch._C._get_dispatch_stack_at": (
        "make_fx and FakeTensorMode cannot record a module on another backend than 'native'"
    ),
}
"""Name → what is lost without it."""

TRACING_MODES = {"ProxyTorchDispatchMode", "FakeTensorMode", "FunctionalTensorMode"}
TRACED_TENSORS = {"FakeTensor", "FunctionalTensor", "Proxy"}


Called = TypeVar("Called", bound=Callable[..., Any])


def _private(path: str, instead: Any) -> Any:
    """Return what torch has at ``path``; ``instead``, after a warning, where it has nothing."""
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        _warn(path, LOST[path])
        return instead


def _warn(name: str, lost: str) -> None:
    text = f"torch {torch.__version__} lacks {name}: {lost}."
    warnings.warn(text, RuntimeWarning, stacklevel=3)


class _Untransformable(torch.autograd.Function):
    """A function that torch refuses to apply under the transforms of torch.func."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0]


def _transforms_by_trying() -> bool:
    try:
        _Untransformable.apply(torch.empty(0))  # type: ignore[no-untyped-call]
    except RuntimeError:
        return True
    return False


def _forward_mode_by_level() -> bool:
    return forward_ad._current_level >= 0


def _forward_mode_by_trying() -> bool:
    try:
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


def _has_no_memory(tensor: Tensor) -> bool:
    try:
        tensor.untyped_storage()
    except RuntimeError:  # NotImplementedError is one
        return True
    return False


def _refuse_batched(*_: Any) -> NoReturn:
    raise UnsupportedError(
        "batched upstream gradients (is_grads_batched=True) need torch._remove_batch_dim and "
        f"torch._add_batch_dim; torch {torch.__version__} lacks one"
    )


TensorGuards: Any = _private("torch._C._dynamo.guards.TensorGuards", None)
"""The test of torch's compiler whether tensors are like earlier ones; may be None."""

transforms_active: Callable[[], bool] = _private(
    "torch._C._are_functorch_transforms_active", _transforms_by_trying
)
"""Return whether a transform of torch.func (``grad``, ``vmap``, …) is active."""

forward_mode_active: Callable[[], bool] = (
    _forward_mode_by_trying
    if _private("torch.autograd.forward_ad._current_level", None) is None
    else _forward_mode_by_level
)
"""Return whether forward-mode differentiation is active, where tensors may carry tangents."""

is_batched: Callable[[Tensor], bool] = _private(
    "torch._C._functorch.is_batchedtensor", _has_no_memory
)
"""Return whether `torch.func.vmap` maps over an axis of the tensor, which is hidden."""

is_legacy_batched: Callable[[Tensor], bool] = _private(
    "torch._C._functorch.is_legacy_batchedtensor", _has_no_memory
)
"""Return whether ``is_grads_batched`` maps over an axis of the tensor, which is hidden."""

remove_batch_dim: Callable[[Tensor, int, int, int], Tensor] = _private(
    "torch._remove_batch_dim", _refuse_batched
)
"""Return (tensor, level, size of the axis, where to put it) with its hidden axis."""

add_batch_dim: Callable[[Tensor, int, int], Tensor] = _private(
    "torch._add_batch_dim", _refuse_batched
)
"""Return (tensor, axis, level) with that axis hidden."""

keeps_graph: Callable[[], bool] = _private(
    "torch._C._autograd._get_current_graph_task_keep_graph", lambda: True
)
"""Return whether this backward pass leaves what was saved for another."""

version: Callable[[Tensor], Any] = getattr(
    _private("torch.Tensor._version", None), "__get__", lambda tensor: object()
)
"""Return the number of in-place changes of a tensor, or an object unlike any other."""

DispatchMode: Any = _private("torch.utils._python_dispatch.TorchDispatchMode", ExitStack)
"""Base of the contexts that are told of every operator; may be one that is told of none."""

_jit_traces: Callable[[], bool] = vars(torch.jit)["is_tracing"]  # which torch leaves untyped
_dispatch_modes: Callable[[], int] = _private("torch._C._len_torch_dispatch_stack", lambda: 0)
_dispatch_mode_at: Callable[[int], Any] = _private(
    "torch._C._get_dispatch_stack_at", lambda level: None
)


_frames = _private("torch._C._dynamo.eval_frame", None)


def uncompiled(function: Called, *, inlined: bool = False) -> Called:
    """Return the function, which torch.compile runs as it is, with all that it calls.

    As ``torch.compiler.disable`` does, without importing the compiler or slowing a call. Where a
    compiled function calls it, the graph ends before it and another begins after it; ``inlined``
    lets torch look into it there all the same.
    """
    if not inlined:
        vars(function)["_torchdynamo_disable"] = True
    if _frames is not None:
        skip = _frames._FrameAction.SKIP
        _frames.set_code_exec_strategy(function.__code__, _frames._FrameExecStrategy(skip, skip))
    return function


def is_traced(x: Any) -> bool:
    """Return whether torch records the operations of a call with input ``x`` for a graph.

    So does ``torch.jit.trace``, and with it the older ONNX export, ``make_fx``, ``torch.export``
    and code under a FakeTensorMode: kernels that are no operators of torch would be left out of
    the graph, or read tensors without memory. A FakeTensor has none after its mode has ended too.
    x: a tensor, or a PackedSequence.
    """
    if _jit_traces() or (type(x) is not Tensor and _is_traced_tensor(x)):
        return True
    count = _dispatch_modes()
    return count > 0 and any(
        type(_dispatch_mode_at(level)).__name__ in TRACING_MODES for level in range(count)
    )


def _is_traced_tensor(x: Any) -> bool:
    tensor = x.data if isinstance(x, PackedSequence) else x
    return type(tensor).__name__ in TRACED_TENSORS


class _Kernels(TorchFunctionMode):
    """Calls a kernel in place of ``torch.rnn_tanh``, ``gru``, …, under whatever name that goes."""

    def __init__(self, kernels: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.kernels = {getattr(torch, cell): kernel for cell, kernel in kernels.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.kernels.get(func, func)(*args, **(kwargs or {}))


def forward_with(
    torch_class: type[torch.nn.RNNBase], kernels: Mapping[str, Callable[..., Any]]
) -> Callable[..., Any]:
    """Return torch's own forward of that class, ending in other kernels: name of the cell → kernel.

    The very same code, with the kernels in the place of ``torch._VF``.
    """
    own: Any = torch_class.forward
    if _holds_kernels:
        names = vars(rnn) | {"_VF": SimpleNamespace(**kernels)}
        return FunctionType(own.__code__, names, own.__name__, own.__defaults__)

    def forward(*args: Any, **kwargs: Any) -> Any:
        with _Kernels(kernels):
            return own(*args, **kwargs)

    return forward


_holds_kernels = _private("torch.nn.modules.rnn._VF", None) is not None


def flat_weights(module: torch.nn.Module) -> list[Any]:
    """Return the list in which an RNNBase holds its weights besides; empty for other modules."""
    found: list[Any] = vars(module).get("_flat_weights", [])
    return found


def is_flat_weights(attribute: str) -> bool:
    """Return whether an RNNBase's attribute holds its weights besides, or weak references."""
    return attribute.startswith("_flat_weight")


def _members(
    kind: str, named: Callable[[torch.nn.Module], Iterable[tuple[str, Any]]]
) -> Callable[[torch.nn.Module], dict[str, Any]]:
    if hasattr(torch.nn.Module(), f"_{kind}"):
        return attrgetter(f"_{kind}")
    _warn(f"torch.nn.Module._{kind}", f"rnnbench.diagnose cannot set the {kind} of a module")
    return lambda module: dict(named(module))


parameters = _members("parameters", lambda module: module.named_parameters(recurse=False))
"""Return the dict of a module's own parameters, which takes what ``setattr`` would refuse."""

buffers = _members("buffers", lambda module: module.named_buffers(recurse=False))
"""Return the dict of a module's own buffers."""

children = _members("modules", lambda module: module.named_children())
"""Return the dict of a module's own modules."""


def compiler() -> SimpleNamespace:
    """Import what the backend ``compile`` needs of torch's compiler, and return it by name.

    dynamo_config, functorch_config  settings, each with a method ``patch``
    mark_unbacked                    marks a dimension as unknown
    SerializableCallable             base of what an ahead-compiled function is made of
    counters                         Dynamo's counts, ``graph_break`` among them
    compile_fx                       inductor

    Raises UnsupportedError where torch lacks one: nothing else does its work.
    """
    homes = {
        "dynamo_config": "torch._dynamo.config",
        "mark_unbacked": "torch._dynamo.decorators.mark_unbacked",
        "SerializableCallable": "torch._dynamo.aot_compile_types.SerializableCallable",
        "counters": "torch._dynamo.utils.counters",
        "functorch_config": "torch._functorch.config",
        "compile_fx": "torch._inductor.compile_fx.compile_fx",
    }
    try:
        return SimpleNamespace(**{name: pkgutil.resolve_name(home) for name, home in homes.items()})
    except (ImportError, AttributeError) as error:
        raise UnsupportedError(
            "backend 'compile' needs names of torch's compiler that torch "
            f"{torch.__version__} lacks: {error}"
        ) from error
