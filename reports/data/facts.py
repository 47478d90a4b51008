"""Facts about torch that ``reports.jobs.torch_facts`` saw: ``torch_facts/<host>.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnbench.files import jsonl

FOLDER = "torch_facts"
COMMAND = "python -m reports.jobs.torch_facts"
SHOWN = ("name", "claim", "consequence", "seen", "holds", "command", "torch", "python", "cpu", "at")


def read(results_dir: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the facts of each machine, every field there; an unreadable file is a broken fact."""
    return [(path.stem, _facts(path)) for path in sorted((results_dir / FOLDER).glob("*.jsonl"))]


def _facts(path: Path) -> list[dict[str, Any]]:
    found, broken = [], dict.fromkeys(SHOWN)
    for fact in jsonl.read(path):
        if isinstance(fact, str):
            return [broken | {"claim": f"{path.name} cannot be read", "seen": fact}]
        found.append({name: fact.get(name) for name in SHOWN})
    return found or [broken | {"claim": f"{path.name} cannot be read", "seen": "no whole line"}]
