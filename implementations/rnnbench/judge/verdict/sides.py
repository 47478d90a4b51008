"""The sides that are compared, and the cases that both are measured for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status

TIME, PARITY, MEMORY, COMPILE, IMPORT = "time", "parity", "memory", "compile", "import"
INSTRUCTIONS, VALUE = "instructions", "value"
MEAN = "mean"
"""Of all calls of a timed case, where `TIME` is of its typical ones; no case has this quantity."""
OF_UNIT = {"bytes": MEMORY, "eps": PARITY, "instructions": INSTRUCTIONS}
"""Unit of a benchmark that gives one number → its quantity."""


@dataclass(frozen=True)
class Side:
    """An installed commit: a Python, and what to put first on its path."""

    commit: Commit
    python: str
    """Executable that has the dependencies and asv_runner."""
    path: Path | None = None
    """Folder with the installed package; None if the Python has it installed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process."""
    suite: Path | None = None
    """asv's benchmark_dir for this side; None: the one that both are judged by."""


@dataclass(frozen=True)
class Case:
    """One benchmark with its parameters, in asv's words."""

    benchmark: str
    params: tuple[tuple[str, str], ...]
    quantity: str
    """A key of `rnnbench.judge.verdict.answer.UNITS`."""
    alone: bool = False
    """Needs a process of its own: the peak memory of a process is that of all it ran."""
    unit: str | None = None
    """Of a value, as its benchmark names it."""

    @property
    def name(self) -> str:
        """``benchmark(value, value, …)``."""
        return f"{self.benchmark}({', '.join(value for _, value in self.params)})"

    def answer(self, status: Status, **more: Any) -> CaseAnswer:
        """Return an answer for this case; ``more`` are further fields of `CaseAnswer`."""
        return CaseAnswer(
            self.benchmark, self.params, self.quantity, status, unit=self.unit, **more
        )


def quantity(benchmark: str, kind: str, unit: str) -> str:
    """Return the quantity of a benchmark of asv's type and unit."""
    if kind == "time":
        return TIME
    for word in (IMPORT, COMPILE):
        if unit == "seconds" and word in benchmark.lower():
            return word
    return OF_UNIT.get(unit, VALUE)
