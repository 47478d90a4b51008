"""What the backends that Numba compiles have in common, but for their kernels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnbench.bptt.autograd import repeated_stack, run_stack
from rnnbench.bptt.recurrence import Recurrence
from rnnbench.interface import Backend, Conditions, Inputs, Repeated
from rnnbench.spec import Spec

WIDENED = ("float16", "bfloat16")
"""Dtypes that the CPU cannot compute in: run in float32, and only results are rounded to them."""


class Jitted(Backend):
    """A recurrence on the CPU in float32 and float64; `WIDENED` dtypes are computed in float32."""

    recurrence: Recurrence

    @abstractmethod
    def kernels(self, spec: Spec, *, training: bool) -> Sequence[Any]:
        """Numba's dispatchers that a call of that spec goes through, forward first."""

    @abstractmethod
    def facts(self, dtype: str) -> Mapping[str, Any]:
        """At least ``kernel``, what the kernels are called together, and ``threads``."""

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
        """Runs the case, in training both ways, and reads the dispatchers of its kernels."""
        y, _ = self.run(spec, inputs)
        if y.requires_grad:
            tensors = (inputs.x, *inputs.state, *inputs.weights)
            torch.autograd.grad(y.sum(), [t for t in tensors if t.requires_grad])
        used = self.kernels(spec, training=y.requires_grad)
        computed = "float32" if spec.dtype in WIDENED else spec.dtype
        facts = dict(self.facts(computed))
        names = ", ".join(kernel.__name__ for kernel in used)
        return facts | {
            "kernel": f"{facts['kernel']} ({names})",
            "signature": "; ".join(_compiled(kernel, computed) for kernel in used),
            "computed in": computed,
            "device": str(inputs.x.device),
            "cache path": used[0].stats.cache_path,
            "cache hits": sum(sum(kernel.stats.cache_hits.values()) for kernel in used),
            "cache misses": sum(sum(kernel.stats.cache_misses.values()) for kernel in used),
        }


def _widened(spec: Spec, inputs: Inputs) -> tuple[Spec, Inputs]:
    """The same case in float32."""

    def wide(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.float() for tensor in tensors)

    return replace(spec, dtype="float32"), inputs._replace(
        x=inputs.x.float(),
        state=wide(inputs.state),
        weights=wide(inputs.weights),
        masks=None if inputs.masks is None else wide(inputs.masks),
    )


def _compiled(kernel: Any, dtype: str) -> str:
    """The signatures that ``kernel`` was compiled for, or loaded from the cache, in ``dtype``."""
    found = [
        signature
        for signature in kernel.signatures
        if any(str(getattr(argument, "dtype", argument)) == dtype for argument in signature)
    ]
    return "; ".join(f"{kernel.__name__}({', '.join(map(str, one))})" for one in found)
