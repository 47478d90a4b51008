"""Learning curves that ``python -m reports.jobs.learning`` left: ``learning/<host>.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.data import kept

FOLDER = "learning"
COMMAND = "python -m reports.jobs.learning"


@dataclass(frozen=True)
class Curve:
    """One mode: (step, seconds, loss) in the order of training."""

    mode: str
    cell: str
    options: Mapping[str, Any]
    network: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    threads: int
    at: str
    points: Sequence[tuple[int, float, float]]


def read(results_dir: Path, problems: list[str]) -> dict[str, list[Curve]]:
    """Return curves by host; what could not be read is added to ``problems``."""
    found = kept.newest(
        results_dir / FOLDER, _curve, lambda curve: (curve.cell, curve.mode), problems
    )
    return {host: curves for host, curves in found.items() if curves}


def _curve(line: Mapping[str, Any]) -> Curve:
    points = [(int(step), float(s), float(loss)) for step, s, loss in line["points"]]
    if not points or not all(s > 0 and loss > 0 for _, s, loss in points):
        raise ValueError("a curve must have points, with positive seconds and losses")
    return Curve(
        str(line["mode"]),
        str(line["cell"]),
        dict(line["options"]),
        dict(line["network"]),
        dict(line["versions"]),
        dict(line["machine"]),
        int(line["threads"]),
        str(line["at"]),
        points,
    )
