"""The plan of a comparison: cases, backends, threads and time, checked before any work is done."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.files.schema import Record, build
from rnnbench.spec import Case, Spec

BASELINE = "native"
"""The backend that every ratio is to; it is always measured."""

TABLE_SHAPES = ("1x64", "1x256", "16x128", "32x256", "64x512")
TABLE_CELLS = ("rnn_tanh", "gru", "lstm")
"""Small, usual and large sizes: each meets another limit of the processor."""


class Shape(NamedTuple):
    """Batch, input size, hidden size."""

    B: int
    I: int  # noqa: E741 (the field's name)
    H: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Return the shape of ``BxH``, with I = H, or ``BxIxH``; raises InputError for others."""
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
            raise InputError(f"shapes must be BxH or BxIxH, like 16x128; got {text!r}")
        B, *sizes = map(int, text.split("x"))
        return cls(B, sizes[0], sizes[-1])


@dataclass(frozen=True)
class Plan(Record):
    """The work of one process.

    threads  size of every thread pool
    seconds  time for the rounds of one case, all candidates together; at least
             `timing.MIN_ROUNDS` rounds are run however long they take

    Raises InputError for a backend that is not known, no case, and numbers that are not positive.
    """

    cases: tuple[Case, ...]
    backends: tuple[str, ...]
    threads: int = 1
    seconds: float = 3.0

    def __post_init__(self) -> None:
        for name in self.backends:
            interface.get_backend(name)
        if len(set(self.backends)) < len(self.backends):
            raise InputError(f"backends must be named once each; got {', '.join(self.backends)}")
        if not self.cases:
            raise InputError("cases must be one at least; got none")
        if self.threads < 1:
            raise InputError(f"threads must be at least 1; got {self.threads}")
        if not self.seconds > 0:
            raise InputError(f"seconds must be positive; got {self.seconds}")


def case_from_dict(given: dict[str, Any]) -> Case:
    """Return a case that was kept as JSON; raises SchemaError for anything else."""
    return build(Case, given, "case")


def with_baseline(backends: Sequence[str]) -> tuple[str, ...]:
    """Return the backends, the baseline first."""
    return (BASELINE, *(name for name in backends if name != BASELINE))


def grid(
    cells: Sequence[str],
    shapes: Sequence[Shape],
    phases: Sequence[str],
    dtypes: Sequence[str],
    *,
    steps: int,
    layers: int,
    directions: int,
) -> tuple[Case, ...]:
    """Return every combination; phases of one network are neighbours, as they share its oracle."""
    return tuple(
        Case(Spec(cell, shape.I, shape.H, layers, directions, dtype=dtype), steps, shape.B, phase)
        for dtype, shape, cell, phase in itertools.product(dtypes, shapes, cells, phases)
    )
