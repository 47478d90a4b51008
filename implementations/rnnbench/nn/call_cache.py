"""A module's call once more, without the checks that it has passed already.

At small sizes looking at the arguments takes longer than computing: of 112 µs of an RNN with 64
units over 128 steps, 28 were the kernel's. So a module remembers what its calls found out, by the
input's shape, and asks torch's own guards (those of its compiler) whether all is as it was: type,
dtype, device, shape and strides of every tensor, whether it needs a gradient, and which modes of
torch are on. That takes 0.6 µs. Whatever differs goes the long way, which has every check and every
sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnbench.bptt.torch_private import tensor_guards
from rnnbench.interface import Inputs, Repeated, get_backend
from rnnbench.spec import Spec

MOST = 16
"""Kinds of calls that a module remembers; training needs one for each length of its batches."""

_settings = attrgetter(
    "backend", "mode", "input_size", "hidden_size", "proj_size", "num_layers", "bidirectional",
    "bias", "batch_first", "dropout", "training",
)  # fmt: skip


class _Call:
    """One kind of call that went well, and how to do it again."""

    def __init__(self, module: Any, inputs: Inputs, run: Repeated, zeros: bool) -> None:
        self.settings, self.weights = _settings(module), itemgetter(*module._flat_weights_names)
        self.batch_first, self.run = module.batch_first, run
        self.zeros = inputs.state if zeros else None
        x = inputs.x.transpose(0, 1) if self.batch_first else inputs.x
        tensors = (x, *inputs.state, *inputs.weights)
        self.count = len(tensors)
        self.guards = tensor_guards(tensors)

    def again(self, module: Any, x: Tensor, state: tuple[Tensor, ...]) -> Any:
        """What the module returns, or None if something is not as it was."""
        if _settings(module) != self.settings:
            return None
        try:  # not the list that torch keeps of them, which it renews at the start of its forward
            weights = self.weights(module._parameters)
        except KeyError:  # a parametrisation makes it anew in every call
            return None
        tensors = (x, *state, *weights)
        if len(tensors) != self.count or self.guards is None or not self.guards.check(*tensors):
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
        self.calls: dict[Any, _Call | None] = {}  # None where the backend has no shorter way

    def call(self, module: Any, x: Any, hx: Any) -> Any:
        """What the module returns, or None: the long way then."""
        if type(x) is not Tensor or _is_elsewhere():
            return None
        found = self.calls.get(_kind(x, hx))
        if found is None:
            return None
        state = found.zeros if hx is None else _parts(hx)
        return None if state is None else found.again(module, x, state)

    def takes(self, x: Any, hx: Any, weights: Sequence[Any]) -> bool:
        """Whether a call that went well is one of those: dense numbers on the CPU, no mode on."""
        return (
            type(x) is Tensor
            and x.dim() == 3
            and x.numel() > 0
            and x.device.type == "cpu"
            and x.dtype == weights[0].dtype
            and x.dtype in (torch.float32, torch.float64)
            and not _is_elsewhere()
            and not torch.is_autocast_enabled("cpu")
            and not torch._C._are_functorch_transforms_active()
            and all(part is None or type(part) is Tensor for part in _parts(hx))
            and not self.is_useless(x, hx)
        )

    def is_useless(self, x: Tensor, hx: Any) -> bool:
        """Whether such a call's backend is known to have no shorter way."""
        kind = _kind(x, hx)
        return kind in self.calls and self.calls[kind] is None

    def remember(self, module: Any, name: str, spec: Spec, x: Any, hx: Any) -> None:
        """A call that went well by the backend called ``name``, dense, in the weights' dtype."""
        kind = _kind(x, hx)
        if len(self.calls) >= MOST and kind not in self.calls:
            self.calls.clear()
        x = x.transpose(0, 1) if module.batch_first else x
        with torch.inference_mode(False):
            state = _zeros(spec, x) if hx is None else _parts(hx)
        inputs = Inputs(x, state, tuple(module._flat_weights))
        run = get_backend(name).repeated(spec, inputs)
        self.calls[kind] = None if run is None else _Call(module, inputs, run, hx is None)


def _parts(hx: Any) -> tuple[Any, ...]:
    """h0, or h0 and c0, as the user gives them."""
    return hx if type(hx) is tuple else (hx,)


def _kind(x: Tensor, hx: Any) -> Any:
    """What tells calls apart that a module is likely to get in turn."""
    inference = torch.is_inference_mode_enabled()
    return x.shape, hx is None, torch.is_grad_enabled(), inference, torch.get_num_threads()


def _is_elsewhere() -> bool:
    """In a mode of torch that its guards on tensors do not see."""
    return (
        torch._C._is_torch_function_mode_enabled()
        or forward_ad._current_level >= 0
        or torch.compiler.is_compiling()
    )


def _zeros(spec: Spec, x: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_zeros(shape) for shape in spec.state_shapes(x.shape[1]).values())
