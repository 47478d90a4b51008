"""Names of torch that it does not document, each with what rnnbench does where it is missing."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

TRACING_MODES = {"ProxyTorchDispatchMode", "FakeTensorMode", "FunctionalTensorMode"}


def tensor_guards(tensors: tuple[Tensor, ...]) -> Any:
    """Return an object whose ``check(*tensors)`` says whether all is as it was with ``tensors``.

    None where torch has no guards: every call of a module then takes the way with all checks.
    """
    try:
        from torch._C._dynamo.guards import TensorGuards
    except ImportError:
        warnings.warn(
            "this torch has no TensorGuards: repeated calls of rnnbench's modules are slower",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)


def is_traced() -> bool:
    """Return whether torch records the operations of this call for a graph.

    So does ``torch.jit.trace``, and with it the older ONNX export, ``make_fx``, ``torch.export``
    and code under a FakeTensorMode: kernels that are no operators of torch would be left out of
    the graph, or read tensors without memory. A torch that lacks one of these names is taken not
    to trace in that way.
    """
    tracing = getattr(torch._C, "_get_tracing_state", None)
    if tracing is not None and tracing() is not None:
        return True
    depth = getattr(torch._C, "_len_torch_dispatch_stack", None)
    if depth is None or not depth():
        return False
    at = torch._C._get_dispatch_stack_at
    return any(type(at(level)).__name__ in TRACING_MODES for level in range(depth()))
