"""Fast path for repeated calls of a module: skip the argument checks while torch's guards hold.

At small sizes, checking the arguments takes longer than computing: of 112 µs of an RNN with 64
units over 128 steps, 28 were the kernel's. A module therefore keeps what its calls found out, by
the shape of the input, and asks the guards of torch's compiler whether all is as it was: type,
dtype, device, shape and strides of every tensor, whether it needs a gradient, and which modes of
torch are on. That takes 0.6 µs. A call that differs in anything takes the full path, with every
check and every error.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import has_torch_function

from rnnbench.bptt import torch_private
from rnnbench.interface import Inputs, Repeated, get_backend
from rnnbench.spec import Spec

MOST = 16
"""Kinds of calls that a module remembers; training needs one for each length of its batches."""

_settings = attrgetter(
    "backend", "mode", "input_size", "hidden_size", "proj_size", "num_layers", "bidirectional",
    "bias", "batch_first", "dropout", "training",
)  # fmt: skip


class _Call:
    """One kind of call that succeeded, and how to repeat it."""

    def __init__(
        self, module: Any, spec: Spec, inputs: Inputs, run: Repeated, *, zeros: bool
    ) -> None:
        names = [parameter.name for parameter in spec.parameters]
        self.settings, self.weights = _settings(module), itemgetter(*names)
        self.batch_first, self.run = module.batch_first, run
        self.zeros = inputs.state if zeros else None
        x = inputs.x.transpose(0, 1) if self.batch_first else inputs.x
        tensors = (x, *inputs.state, *inputs.weights)
        self.count = len(tensors)
        self.guards = torch_private.TensorGuards(
            *tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None
        )

    def again(self, module: Any, x: Tensor, state: tuple[Tensor, ...]) -> Any:
        """Return what the module returns, or None if anything is not as it was."""
        if _settings(module) != self.settings:
            return None
        try:  # not the list that torch keeps of them, which it renews at the start of its forward
            weights = self.weights(torch_private.parameters(module))
        except KeyError:  # a parametrisation makes it anew in every call
            return None
        tensors = (x, *state, *weights)
        if len(tensors) != self.count or not self.guards.check(*tensors):
            return None
        if self.batch_first:
            y, final = self.run(x.transpose(0, 1), state, weights)
            y = y.transpose(0, 1)
        else:
            y, final = self.run(x, state, weights)
        return y, final if len(final) > 1 else final[0]


class Memory:
    """The calls that one module remembers; copies and pickles of the module begin without any."""

    def __init__(self) -> None:
        self.calls: dict[Any, _Call | None] = {}  # None where the backend has no fast path

    def call(self, module: Any, x: Any, hx: Any) -> Any:
        """Return what the module returns, or None where the full path must be taken."""
        if type(x) is not Tensor or _is_special(x):
            return None
        found = self.calls.get(_kind(x, hx))
        if found is None:
            return None
        state = found.zeros if hx is None else _parts(hx)
        return None if state is None else found.again(module, x, state)

    def remember(self, module: Any, name: str, spec: Spec, x: Any, hx: Any) -> None:
        """Keep a call on the backend called ``name`` that succeeded, if it can be repeated."""
        if not _is_repeatable(spec, x, hx) or (module.training and spec.dropout):
            return
        kind = _kind(x, hx)
        if kind in self.calls and self.calls[kind] is None:
            return
        held = torch_private.parameters(module)
        if any(parameter.name not in held for parameter in spec.parameters):  # parametrised
            return
        if len(self.calls) >= MOST and kind not in self.calls:
            self.calls.clear()
        x = x.transpose(0, 1) if module.batch_first else x
        with torch.inference_mode(False):
            state = _zeros(spec, x) if hx is None else _parts(hx)
        inputs = Inputs(x, state, tuple(held[parameter.name] for parameter in spec.parameters))
        run = get_backend(name).repeated(spec, inputs)
        self.calls[kind] = run and _Call(module, spec, inputs, run, zeros=hx is None)


def _is_repeatable(spec: Spec, x: Any, hx: Any) -> bool:
    """Return whether a call has plain, dense tensors on the CPU, and no mode of torch is on."""
    return (
        torch_private.TensorGuards is not None
        and type(x) is Tensor
        and x.dim() == 3
        and x.numel() > 0
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.dtype == getattr(torch, spec.dtype)
        and not _is_special(x)
        and not torch.is_autocast_enabled("cpu")
        and not torch_private.transforms_active()
        and all(part is None or type(part) is Tensor for part in _parts(hx))
    )


def _parts(hx: Any) -> tuple[Any, ...]:
    """Return h0, or h0 and c0, as the user gives them."""
    return hx if type(hx) is tuple else (hx,)


def _kind(x: Tensor, hx: Any) -> Any:
    """Return what differs between calls that a module is likely to get in turn."""
    inference = torch.is_inference_mode_enabled()
    return x.shape, hx is None, torch.is_grad_enabled(), inference, torch.get_num_threads()


def _is_special(x: Tensor) -> bool:
    """Return whether a mode of torch is on that its guards of tensors do not see."""
    return has_torch_function((x,)) or torch_private.forward_mode_active()


def _zeros(spec: Spec, x: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_zeros(shape) for shape in spec.state_shapes(x.shape[1]).values())
