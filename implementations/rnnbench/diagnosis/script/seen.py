"""Entries of a watch: comparisons, printed tensors, sums, calls of a script's own modules."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from rnnbench.diagnosis.script.calls import Call
from rnnbench.diagnosis.script.source import At
from rnnbench.parity.oracle import Array

KEPT = 400
"""Entries of a kind that are kept from the beginning, and again as many from the end."""
NUMBERS = 4_000_000
"""Numbers of a kind that are kept from the beginning, and again as many from the end."""


class Kept(list[Any]):
    """The first and the last entries of a list that may grow without end, by number and by size."""

    def __init__(self) -> None:
        super().__init__()
        self.last: deque[tuple[Any, int]] = deque(maxlen=KEPT)
        self.size, self.last_size = 0, 0

    def keep(self, one: Any, size: int = 0) -> None:
        """Keep one more, of so many numbers."""
        if len(self) < KEPT and self.size + size <= NUMBERS:
            self.append(one)
            self.size += size
            return
        if len(self.last) == KEPT:
            self.last_size -= self.last[0][1]
        self.last.append((one, size))
        self.last_size += size
        while self.last_size > NUMBERS and len(self.last) > 1:
            self.last_size -= self.last.popleft()[1]

    def all(self) -> list[Any]:
        """Return everything that was kept, in order."""
        return [*self, *(one for one, _ in self.last)]


@dataclass
class Pair:
    """Two values that the script compared: how, where, and as it found them."""

    how: str
    left: Array
    right: Array
    at: At | None
    order: int
    computed: tuple[bool, bool]
    same: bool | None = None
    learned: list[bool] = field(default_factory=list)  # filled if a loss was made of it


@dataclass(frozen=True)
class Shown:
    """A tensor that the script printed."""

    value: Array
    place: int
    at: At | None
    order: int
    computed: bool


@dataclass(frozen=True)
class Sum:
    """An addition: what was added to what, and what came of it."""

    total: Array
    parts: tuple[Array, Array]
    at: At | None


@dataclass(frozen=True)
class Taken:
    """A part of a network's output that the script took by index."""

    call: Call
    index: Any
    at: At | None


@dataclass(frozen=True)
class Own:
    """A call of a module of the script's own."""

    module: nn.Module
    given: tuple[Array, ...]
    answers: tuple[Array, ...]
    computed: bool
    at: At | None
    order: int
