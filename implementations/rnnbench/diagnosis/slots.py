"""Where a adapter holds tensors: every place in the candidate, found and written to.

A `Slot` is a registered parameter, a plain attribute, an item of a list, tuple or dict at any
depth, also inside objects that are no modules. Tensors are put there for the length of a call and
taken out again; the candidate's own values stay.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnbench.bptt.torch_private import buffers, children, is_flat_weights, parameters
from rnnbench.diagnosis.layouts import to_numpy
from rnnbench.errors import InputError
from rnnbench.parity.candidate import spec_of_module
from rnnbench.spec import Spec
from rnnbench.spec_of import spec_by_names, spec_of

Write = Callable[[Any], None]
DEPTH = 8


@dataclass
class Slot:
    """One place that holds a tensor, or a part of such a place.

    writers  that place, and aliases of the same tensor
    whole    the place that it is a part of, at ``index``; None if it is a whole one
    """

    path: str
    tensor: Any
    registered: bool
    writers: list[Write] = field(default_factory=list)
    whole: Slot | None = None
    index: tuple[int | slice, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def base(self) -> Any:
        """Return the tensor of the whole place."""
        return self.whole.tensor if self.whole is not None else self.tensor

    def part(self, *index: int | slice) -> Slot:
        """Return a part of the place: a row of a stack, rows or columns of a matrix."""
        whole = self.whole or self
        full = (*self.index, *index)
        if self.index and not isinstance(self.index[-1], int):
            raise ValueError(f"{self.path} is a part already")
        words = ", ".join(map(_index_words, index))
        return Slot(
            f"{self.path}[{words}]", self.tensor[index], self.registered, whole=whole, index=full
        )

    def write(self, value: Any) -> None:
        """Put a tensor there; a place that held a NumPy array gets one."""
        if isinstance(self.tensor, np.ndarray) and isinstance(value, Tensor):
            value = to_numpy(value)
        for writer in self.writers:
            writer(value)


def _index_words(index: int | slice) -> str:
    if isinstance(index, int):
        return str(index)
    ends = ("" if end is None else str(end) for end in (index.start, index.stop))
    return ":".join(ends)


def slots_of(candidate: Any) -> list[Slot]:
    """Every place of the candidate that holds a tensor of floating point, parameters first."""
    found: list[Slot] = []
    modules = dict(candidate.named_modules(remove_duplicate=False)) if _is_module(candidate) else {}
    for prefix, module in modules.items():
        for is_parameter, members in ((True, parameters), (False, buffers)):
            held = members(module)
            for name, tensor in held.items():
                if tensor is not None and tensor.is_floating_point():
                    path = f"{prefix}.{name}".lstrip(".")
                    found.append(Slot(path, tensor, is_parameter, [_item_writer(held, name)]))
    registered = {id(slot.tensor): slot for slot in reversed(found)}
    for path, tensor, writer in _plain(candidate, "", set(), DEPTH):
        known = registered.get(id(tensor))
        if known is not None:
            known.writers.append(writer)
        else:
            found.append(Slot(path, tensor, False, [writer]))
    return found


def holds_weights(candidate: Any) -> bool:
    """Return whether it is an object with tensors of its own, and no plain function."""
    if inspect.isroutine(candidate):
        return False
    return _is_module(candidate) or bool(slots_of(candidate))


def _is_module(value: Any) -> bool:
    return isinstance(value, torch.nn.Module)


def _item_writer(holder: Any, key: Any) -> Write:
    def write(value: Any) -> None:
        holder[key] = value

    return write


def _plain(value: Any, path: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any, Write]]:
    """Tensors in attributes and containers that no module registers, with their writers."""
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    items: list[tuple[str, Any, Write]] = []
    if isinstance(value, dict):
        items = [(f"{path}.{k}", v, _item_writer(value, k)) for k, v in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}.{i}", v, _item_writer(value, i)) for i, v in enumerate(value)]
    elif isinstance(value, FunctionType | MethodType | ModuleType | type) or not hasattr(
        value, "__dict__"
    ):
        return
    else:
        own = vars(value)
        hidden = vars(torch.nn.Module()).keys() if _is_module(value) else ()
        items = [
            (f"{path}.{name}", held, _item_writer(own, name))
            for name, held in own.items()
            if name not in hidden and not is_flat_weights(name)
        ]
        if _is_module(value):
            inner = children(value).items()
            items += [(f"{path}.{n}", m, _item_writer({}, n)) for n, m in inner]
    for name, held, writer in items:
        yield from _leaf_or_deeper(name.lstrip("."), held, writer, seen, depth)


def _leaf_or_deeper(
    path: str, held: Any, writer: Write, seen: set[int], depth: int
) -> Iterator[tuple[str, Any, Write]]:
    if isinstance(held, Tensor):
        if held.is_floating_point():
            yield path, held, writer
    elif isinstance(held, np.ndarray):
        if held.dtype.kind == "f":
            yield path, held, writer
    elif isinstance(held, tuple):
        current = list(held)  # shared by the writers, so that each sees what the others wrote

        def put(index: int) -> Write:
            def write(value: Any) -> None:
                current[index] = value
                writer(tuple(current))

            return write

        for i, one in enumerate(held):
            yield from _leaf_or_deeper(f"{path}.{i}", one, put(i), seen, depth)
    else:
        yield from _plain(held, path, seen, depth - 1)


def spec_from(candidate: Any) -> Spec:
    """Return the spec by torch's attributes, of a module or a cell, or by names of weights.

    Raises InputError where neither tells it.
    """
    if isinstance(candidate, torch.nn.RNNCellBase):
        return spec_of(candidate)
    if isinstance(candidate, torch.nn.Module) and hasattr(candidate, "mode"):
        return spec_of_module(candidate)
    held = slots_of(candidate) if holds_weights(candidate) else []
    found = None
    if sum(slot.path.endswith("weight_ih_l0") for slot in held) == 1:  # the layers of one network
        ends = {slot.path.rpartition(".")[2]: slot.tensor for slot in held}
        relu = "relu" in str(getattr(candidate, "nonlinearity", ""))
        found = spec_by_names(ends, relu=relu)
    if found is None:
        raise InputError(
            "spec must be given for a candidate that does not carry the attributes or parameter "
            "names of one network of torch.nn, such as spec=rnnbench.Spec('gru', input_size=3, "
            "hidden_size=4), or --cell gru --input-size 3 --hidden-size 4"
        )
    return found
