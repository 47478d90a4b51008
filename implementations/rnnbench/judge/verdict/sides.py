"""What is measured against what: two sides, and cases that both are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rnnbench.judge.verdict.answer import Commit

TIME, PARITY, MEMORY, COMPILE, IMPORT = "time", "parity", "memory", "compile", "import"
INSTRUCTIONS = "instructions"


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

    @property
    def name(self) -> str:
        """``benchmark(value, value, …)``."""
        return f"{self.benchmark}({', '.join(value for _, value in self.params)})"


def quantity(benchmark: str, kind: str, unit: str) -> str | None:
    """What a benchmark of asv's type and unit measures; None if a verdict knows no rule for it."""
    if kind == "time":
        return TIME
    if unit == "bytes":
        return MEMORY
    if unit == "eps":
        return PARITY
    if unit == INSTRUCTIONS:
        return INSTRUCTIONS
    if unit == "seconds":
        return IMPORT if "import" in benchmark.lower() else COMPILE
    return None
