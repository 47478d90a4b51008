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


Swap = tuple[dict[str, Any], str, Any, Any]
"""A dict, its key, what it holds there, and what stands there for the time of a call."""


@dataclass(frozen=True)
class Head:
    """Replacements for a call: in modules, and of tensors that no module holds.

    said  their names and sizes
    """

    swaps: Sequence[Swap] = ()
    tensors: Sequence[tuple[Slot, Any]] = ()
    said: tuple[str, ...] = ()

    @property
    def slots(self) -> set[int]:
        """Return the ids of the tensors that belong to it."""
        modules = [old for *_, old, _ in self.swaps if isinstance(old, nn.Module)]
        held = [id(p) for module in modules for p in module.parameters()]
        return {*held, *(id(slot.tensor) for slot, _ in self.tensors)}

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Replace all of it for a block, softmax of the output too."""
        if not self.said:
            yield
            return
        try:
            for holder, name, _, new in self.swaps:
                holder[name] = new
            for slot, identity in self.tensors:
                slot.write(identity)
            with _NoSoftmax():
                yield
        finally:
            for holder, name, old, _ in self.swaps:
                holder[name] = old
            for slot, _ in self.tensors:
                slot.write(slot.tensor)


class _NoSoftmax(TorchFunctionMode):
    """Softmax of any kind as the identity: behind a head it belongs to the loss."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("softmax", "log_softmax") and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def head_of(candidate: Any, unmatched: Sequence[Slot], size: int) -> Head:
    """Return what is no part of the network of so many features of output."""
    free = {id(slot.tensor) for slot in unmatched}
    swaps, said = _around(candidate, free, size)
    dropouts, rates = _dropouts(candidate)
    inside = {id(p) for _, _, m, _ in swaps for p in m.parameters()}
    rest = [
        slot
        for slot in unmatched
        if id(slot.tensor) not in inside
        and not slot.path.endswith((".weight", ".bias"))
        and HEAD.search(slot.path.rpartition(".")[2])
    ]
    matrices = [slot for slot in rest if len(slot.shape) == 2 and size in slot.shape]
    sizes = {n for slot in matrices for n in slot.shape}
    biases = [slot for slot in rest if slot.size == max(slot.shape) and slot.size in sizes]
    tensors = [(slot, _identity(slot, size)) for slot in matrices]
    tensors += [(slot, _zeros(slot, size)) for slot in biases if slot not in matrices]
    words = (*said, *rates, *(slot.path for slot, _ in tensors))
    return Head((*swaps, *dropouts), tuple(tensors), words)


def _around(candidate: Any, free: set[int], size: int) -> tuple[list[Swap], list[str]]:
    """Linear layers, embeddings, softmax and dropout whose tensors are no weight of the network."""
    swaps: list[Swap] = []
    said, reads = [], False
    for path, module in candidate.named_modules() if isinstance(candidate, nn.Module) else ():
        for name, child in children(module).items():
            own = {id(p) for p in child.parameters()} if child is not None else set()
            linear = isinstance(child, nn.Linear) and own <= free
            if not linear and not (isinstance(child, _AROUND) and own <= free):
                continue
            reads |= isinstance(child, nn.Embedding) or (linear and child.in_features == size)
            swaps.append((children(module), name, child, nn.Identity()))
            said.append(f"{path}.{name}".lstrip(".") + _sizes(child))
    return (swaps, said) if reads else ([], [])


def _dropouts(candidate: Any) -> tuple[list[Swap], list[str]]:
    """Dropout between the layers of torch's modules inside another."""
    swaps: list[Swap] = []
    said = []
    for path, module in candidate.named_modules() if isinstance(candidate, nn.Module) else ():
        if path and isinstance(module, nn.RNNBase) and module.dropout and module.training:
            swaps.append((vars(module), "dropout", module.dropout, 0.0))
            said.append(f"{path}.dropout ({module.dropout:g})")
    return swaps, said


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
