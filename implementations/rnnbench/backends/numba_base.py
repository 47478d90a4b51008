"""The base class of the backends that Numba compiles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnbench.backends.numba_private import cache_statistics
from rnnbench.bptt.autograd import repeated_stack, run_stack
from rnnbench.bptt.recurrence import Recurrence
from rnnbench.interface import Backend, Conditions, Inputs, Repeated
from rnnbench.spec import Spec

# Only "contract" (fused multiply-add): the wider flags gave NaN for large arguments, and no speed.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}

WIDENED = ("float16", "bfloat16")
"""Dtypes that the CPU cannot compute in: run in float32, and only results are rounded to them."""


class Jitted(Backend):
    """A recurrence on the CPU in float32 and float64; `WIDENED` dtypes are computed in float32."""

    recurrence: Recurrence

    @abstractmethod
    def kernels(self, spec: Spec, *, training: bool) -> Sequence[Any]:
        """Return Numba's dispatchers that a call of that spec goes through, forward first."""

    @abstractmethod
    def facts(self, dtype: str) -> Mapping[str, Any]:
        """Return at least ``kernel``, what the kernels are called together, and ``threads``."""

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu":
            return f"runs on the CPU only; got {conditions.device}"
        return None

    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        if spec.dtype in WIDENED:
            y, final = run_stack(self.recurrence, *_widened(spec, inputs))
            return y.to(inputs.x.dtype), tuple(part.to(inputs.x.dtype) for part in final)
        return run_stack(self.recurrence, spec, inputs)

    def repeated(self, spec: Spec, inputs: Inputs) -> Repeated | None:
        if spec.dtype in WIDENED:
            return None
        return repeated_stack(self.recurrence, spec, inputs)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        """Run the case, in training both ways, and read the dispatchers of its kernels."""
        y, _ = self.run(spec, inputs)
        if y.requires_grad:
            tensors = (inputs.x, *inputs.state, *inputs.weights)
            torch.autograd.grad(y.sum(), [t for t in tensors if t.requires_grad])
        used = self.kernels(spec, training=y.requires_grad)
        computed = "float32" if spec.dtype in WIDENED else spec.dtype
        facts, kept = dict(self.facts(computed)), [*map(cache_statistics, used)]
        names = ", ".join(kernel.__name__ for kernel in used)
        return facts | {
            "kernel": f"{facts['kernel']} ({names})",
            "signature": "; ".join(_compiled(kernel, computed) for kernel in used),
            "computed in": computed,
            "device": str(inputs.x.device),
            "cache path": kept[0][0],
            "cache hits": sum(hits for _, hits, _ in kept),
            "cache misses": sum(misses for *_, misses in kept),
        }


def _widened(spec: Spec, inputs: Inputs) -> tuple[Spec, Inputs]:
    """Return the same case in float32."""

    def wide(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.float() for tensor in tensors)

    return replace(spec, dtype="float32"), inputs._replace(
        x=inputs.x.float(),
        state=wide(inputs.state),
        weights=wide(inputs.weights),
        masks=None if inputs.masks is None else wide(inputs.masks),
    )


def _compiled(kernel: Any, dtype: str) -> str:
    """Return the signatures in ``dtype`` that ``kernel`` was compiled for, or loaded with."""
    found = [
        signature
        for signature in kernel.signatures
        if any(str(getattr(argument, "dtype", argument)) == dtype for argument in signature)
    ]
    return "; ".join(f"{kernel.__name__}({', '.join(map(_type_name, one))})" for one in found)


def _type_name(argument: Any) -> str:
    """Return the name of a Numba type; that of a record, which lists its fields, cut short."""
    return "record" if "Record(" in str(argument) else str(argument)
