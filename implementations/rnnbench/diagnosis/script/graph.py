"""Follow a training script's graph: what it reads of its data, its losses, its backward passes.

Nothing of the computation is changed: no tensor is made to require a gradient. A read is a step of
the data that was taken by index and then met a weight; its node in autograd's graph is kept. Before
each backward pass the graph is walked from the loss: what can be got to is what the pass reaches,
whatever the program did to its states, and whether or not torch then refuses the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from rnnbench.diagnosis.guard import in_words
from rnnbench.diagnosis.script.source import Source, in_place, shown

READ, OF_WEIGHT = "_rnnbench_read", "_rnnbench_of_weight"
VIEWS = {"t", "transpose", "__get__", "unsqueeze", "view", "reshape", "permute", "__getitem__",
         "chunk", "split", "unbind"}  # fmt: skip
JOINS = {"cat", "concat", "stack", "hstack", "vstack"}
NODES = 200_000
"""Nodes of a graph that are walked at most before a pass."""


@dataclass(frozen=True, eq=False)
class Read:
    """A step, or several, of a tensor that was taken by index: ``data[3]``, ``data[4:8]``."""

    source: int
    name: str
    steps: range
    size: int


@dataclass(frozen=True, eq=False)
class Used:
    """A read that met a weight: its node, and how often weights had been updated before."""

    reads: tuple[Read, ...]
    node: Any
    updates: int


@dataclass(frozen=True, eq=False)
class Loss:
    """A scalar that a loss consists of: its node, and what went into the network last before it."""

    node: Any
    latest: Used | None
    line: int


@dataclass(eq=False)
class Pass:
    """One backward pass: which losses it differentiates, and the reads that each reaches."""

    line: int
    updates: int
    losses: list[tuple[Loss, list[Used]]]
    raised: str = ""
    cut: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened to gradients: ``pass``, ``update`` or ``zero``, and in which line."""

    kind: str
    line: int


class Following(TorchFunctionMode):
    """Follows a script; `following` puts it in place."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.latest: Used | None = None
        self.used: dict[int, Used] = {}
        self.losses: dict[int, Loss] = {}
        self.passes: list[Pass] = []
        self.events: list[Event] = []
        self.updates = 0
        self.kept: list[Any] = []  # sources, so that no other tensor gets their identity

    def line(self) -> int:
        """Return the line that the script is at."""
        at = self.source.at()
        return at.line if at is not None else 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute, and keep reads, their uses and scalars."""
        result = func(*args, **(kwargs or {}))
        name = func.__name__
        if name == "__iter__":
            rows = list(result)
            for i, row in enumerate(rows):
                self._read(args[0], i, row)
            return iter(rows)
        if name == "__getitem__" and isinstance(result, Tensor):
            self._read(args[0], args[1], result)
        made = list(_tensors((result,)))
        if made:
            self._follow(name, list(_tensors((*args, *(kwargs or {}).values()))), made)
        # before the first pass, weights are given their first values
        if self.passes and args and _is_weight(args[0]) and in_place(func):
            self.updated()
        return result

    def _follow(self, name: str, given: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        weights = [t for t in given if _is_weight(t)]
        reads = tuple(dict.fromkeys(r for t in given for r in t.__dict__.get(READ, ())))
        if weights and name in VIEWS:
            for one in made:
                one.__dict__[OF_WEIGHT] = True
            return
        for one in made:
            if not one.requires_grad or (name in JOINS and not weights):
                if reads and READ not in one.__dict__:
                    one.__dict__[READ] = reads
            elif weights and reads:
                node = one.grad_fn
                self.latest = Used(reads, node, self.updates)
                self.used[id(node)] = self.latest
            elif one.numel() == 1 and not weights:
                wide = any(t.requires_grad and t.numel() > 1 for t in given)
                if wide or name.endswith("_loss") or name == "cross_entropy":
                    self.losses[id(one.grad_fn)] = Loss(one.grad_fn, self.latest, self.line())

    def _read(self, source: Tensor, index: Any, result: Tensor) -> None:
        """Keep what is read by a number or a slice of a tensor that is no result of the network."""
        if source.requires_grad or READ in source.__dict__ or OF_WEIGHT in source.__dict__:
            return
        found = _steps(source, index)
        at = self.source.here()
        if found is None or at is None:
            return
        steps, size = found
        node = self.source.expression(at)
        name = shown(getattr(node, "iter", getattr(node, "value", None))) or "the data"
        self.kept.append(source)
        result.__dict__[READ] = (Read(id(source), name, steps, size),)

    def updated(self) -> None:
        """Count an update of the weights once, not once for each of them."""
        if not self.events or self.events[-1].kind != "update":
            self.updates += 1
            self.events.append(Event("update", self.line()))

    def zeroed(self) -> None:
        """Keep that gradients were set to zero."""
        self.events.append(Event("zero", self.line()))

    def about_to_pass(self, roots: Iterable[Any]) -> Pass:
        """Walk the graph from what is differentiated, before the pass."""
        nodes = [t.grad_fn for t in _tensors(roots) if t.grad_fn is not None]
        walked, cut = _walk(nodes)
        losses = [loss for n in walked if (loss := self.losses.get(id(n))) is not None]
        if not losses:
            losses = [Loss(node, self.latest, self.line()) for node in nodes]
        found = Pass(self.line(), self.updates, [], cut=cut)
        for loss in losses:
            below, more = _walk([loss.node])
            found.cut |= more
            used = [u for n in below if (u := self.used.get(id(n))) is not None]
            found.losses.append((loss, used))
        self.passes.append(found)
        self.events.append(Event("pass", found.line))
        return found


def _is_weight(value: Any) -> bool:
    """Return whether a value is a parameter, or a view of one."""
    return isinstance(value, nn.Parameter) or (
        isinstance(value, Tensor) and OF_WEIGHT in value.__dict__
    )


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Return the tensors among values and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (one for one in value if isinstance(one, Tensor))


def _steps(source: Tensor, index: Any) -> tuple[range, int] | None:
    """Return which steps of which axis an index takes, and the length of that axis."""
    entries = index if isinstance(index, tuple) else (index,)
    for axis, entry in enumerate(entries):
        if isinstance(entry, slice) and entry == slice(None):
            continue
        if axis >= source.dim() or isinstance(entry, bool):
            return None
        size = source.shape[axis]
        if isinstance(entry, int):
            return range(entry % size, entry % size + 1), size
        if isinstance(entry, slice):
            return range(size)[entry], size
        return None
    return None


def _walk(roots: Sequence[Any]) -> tuple[list[Any], bool]:
    """Return all nodes of a graph below some, and whether there were too many."""
    seen: dict[int, Any] = {id(root): root for root in roots}
    pending = list(roots)
    while pending:
        node = pending.pop()
        for below, _ in node.next_functions:
            if below is not None and id(below) not in seen:
                seen[id(below)] = below
                pending.append(below)
        if len(seen) > NODES:
            return list(seen.values()), True
    return list(seen.values()), False


@contextmanager
def following(follow: Following) -> Iterator[None]:
    """Follow everything in a block."""
    backward, zero, zero_module = (
        torch.autograd.backward, torch.optim.Optimizer.zero_grad, nn.Module.zero_grad,
    )  # fmt: skip

    def passed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        found = follow.about_to_pass((tensors,))
        try:
            return backward(tensors, *args, **kwargs)
        except RuntimeError as error:
            found.raised = in_words(error).splitlines()[0]
            raise

    def zeroing(function: Callable[..., None]) -> Callable[..., None]:
        def run(self: Any, *args: Any, **kwargs: Any) -> None:
            follow.zeroed()
            function(self, *args, **kwargs)

        return run

    hook = register_optimizer_step_post_hook(lambda *_: follow.updated())
    try:
        with ExitStack() as stack:
            for owner, name, new in (
                (torch.autograd, "backward", passed),
                (torch.optim.Optimizer, "zero_grad", zeroing(zero)),
                (nn.Module, "zero_grad", zeroing(zero_module)),
            ):
                stack.enter_context(patch.object(owner, name, new))
            stack.enter_context(follow)
            yield
    finally:
        hook.remove()
