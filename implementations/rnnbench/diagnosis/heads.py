"""What stands before and behind the recurrent part of a module, taken out for the time of a call.

A linear layer that reads the state, an embedding, dropout and softmax become the identity, so that
output and final state are those of the recurrent part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnbench.bptt.torch_private import children
from rnnbench.diagnosis.slots import Slot
from rnnbench.diagnosis.words import HEAD

_AROUND = (nn.Embedding, nn.Softmax, nn.LogSoftmax, nn.Dropout)


@dataclass(frozen=True)
class Head:
    """Modules, each in the dict that holds it, and tensors that are replaced.

    said  their names and sizes
    """

    modules: Sequence[tuple[dict[str, Any], str, nn.Module]] = ()
    tensors: Sequence[tuple[Slot, Any]] = ()
    said: tuple[str, ...] = ()

    @property
    def slots(self) -> set[int]:
        """Return the ids of the tensors that belong to it."""
        held = [id(p) for *_, module in self.modules for p in module.parameters()]
        return {*held, *(id(slot.tensor) for slot, _ in self.tensors)}

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Replace all of it by the identity for a block, softmax of the output too."""
        if not self.said:
            yield
            return
        try:
            for holder, name, _ in self.modules:
                holder[name] = nn.Identity()
            for slot, identity in self.tensors:
                slot.write(identity)
            with _NoSoftmax():
                yield
        finally:
            for holder, name, module in self.modules:
                holder[name] = module
            for slot, _ in self.tensors:
                slot.write(slot.tensor)


class _NoSoftmax(TorchFunctionMode):
    """Softmax of any kind as the identity: behind a head it belongs to the loss."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("softmax", "log_softmax") and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def head_of(candidate: Any, unmatched: Sequence[Slot], size: int) -> Head:
    """Return what is no part of the network of so many features of output."""
    free = {id(slot.tensor) for slot in unmatched}
    modules, said = [], []
    if isinstance(candidate, nn.Module):
        for path, module in candidate.named_modules():
            for name, child in children(module).items():
                own = {id(p) for p in child.parameters()} if child is not None else set()
                linear = isinstance(child, nn.Linear) and own and own <= free
                if linear or (isinstance(child, _AROUND) and own <= free):
                    modules.append((children(module), name, child))
                    said.append(f"{path}.{name}".lstrip(".") + _sizes(child))
    reads = any(isinstance(m, nn.Linear) and m.in_features == size for *_, m in modules)
    modules = modules if reads or any(isinstance(m, nn.Embedding) for *_, m in modules) else []
    inside = {id(p) for *_, m in modules for p in m.parameters()}
    tensors = []
    for slot in unmatched:
        name = slot.path.rpartition(".")[2]
        if id(slot.tensor) in inside or slot.path.endswith((".weight", ".bias")):
            continue
        if HEAD.search(name) and size in slot.shape and len(slot.shape) == 2:
            tensors.append((slot, _identity(slot, size)))
    others = {n for slot, _ in tensors for n in slot.shape}
    for slot in unmatched:
        name = slot.path.rpartition(".")[2]
        if tensors and HEAD.search(name) and slot.size == max(slot.shape) and slot.size in others:
            tensors.append((slot, _zeros(slot, size)))
    words = (*(said if modules else ()), *(slot.path for slot, _ in tensors))
    return Head(tuple(modules), tuple(tensors), words)


def _sizes(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return f" ({module.in_features} → {module.out_features})"
    return ""


def _identity(slot: Slot, size: int) -> Any:
    if isinstance(slot.tensor, np.ndarray):
        return np.eye(size, dtype=slot.tensor.dtype)
    held: Tensor = slot.tensor
    return torch.eye(size, dtype=held.dtype)


def _zeros(slot: Slot, size: int) -> Any:
    shape = [size if n > 1 else 1 for n in slot.shape]
    if isinstance(slot.tensor, np.ndarray):
        return np.zeros(shape, dtype=slot.tensor.dtype)
    return torch.zeros(shape, dtype=slot.tensor.dtype)
