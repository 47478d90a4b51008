"""A script's variables that hold tensors, at its end or where it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnbench.diagnosis.script.calls import numbers
from rnnbench.diagnosis.script.run import Run
from rnnbench.parity.oracle import Array


@dataclass(frozen=True)
class Named:
    """A variable of the script."""

    name: str
    value: Array
    line: int
    computed: bool


def named(run: Run) -> list[Named]:
    """Return variables that hold tensors, arrays or lists of them, and gradients of parameters."""
    lines = run.source.assigned
    torchs = {id(p) for module in run.watch.networks for p in module.parameters()}
    found: list[Named] = []
    with torch._C.DisableTorchFunction():
        for name, value in run.names.items():
            if name.startswith("_"):
                continue
            if isinstance(value, nn.Module) and not isinstance(value, nn.RNNBase):
                found += [
                    Named(f"{name}.{path}.grad", g, lines.get(name, 0), True)
                    for path, p in value.named_parameters()
                    if id(p) not in torchs
                    and p.grad is not None
                    and (g := numbers(p.grad)) is not None
                ]
            for label, one in ((name, value), (f"{name}.grad", _grad(value))):
                if isinstance(one, Tensor | np.ndarray | list | tuple):
                    array = numbers(one)
                    if array is not None and 2 <= array.size <= 2_000_000:
                        found.append(Named(label, array, lines.get(name, 0), True))
    return found


def _grad(value: Any) -> Any:
    return value.grad if isinstance(value, Tensor) and value.is_leaf else None
