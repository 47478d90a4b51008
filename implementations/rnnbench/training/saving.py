"""Where trainings are kept for the report: one JSON object for each call, a line each.

    {"schema", "at", "machine", "versions", "threads", "settings", "target",
     "task": {"kind", "train", "test"}, "band": the oracle's curve and the widths, or null,
     "runs": [an outcome each]}

A line is appended in one write. The newest line of the same settings is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnbench.files import jsonl, machine
from rnnbench.training.band import Band
from rnnbench.training.settings import Settings
from rnnbench.training.sidebyside import Outcome
from rnnbench.training.tasks import Task

SCHEMA = 1
FOLDER = "training"


def record(
    settings: Settings,
    task: Task,
    outcomes: Sequence[Outcome],
    band: Band | None,
    target: float,
    threads: int,
) -> dict[str, Any]:
    """All of one run, for JSON."""
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.identity(),
        "versions": machine.versions(),
        "threads": threads,
        "settings": settings.as_dict(),
        "task": {
            "kind": task.kind,
            "train": len(task.train.sequences),
            "test": len(task.test.sequences),
        },
        "target": target,
        "band": band and band.as_dict(),
        "runs": [
            outcome.as_dict()
            | {
                "epochs_to_target": _count(outcome.curve.epoch_reaching(target, task.kind)),
                "seconds_to_target": outcome.curve.seconds_to(target, task.kind),
            }
            for outcome in outcomes
        ],
    }


def _count(epoch: int | None) -> int | None:
    return None if epoch is None else epoch + 1


def path(folder: Path, host: str) -> Path:
    """Where a host's trainings lie below ``folder``."""
    return folder / FOLDER / f"{host}.jsonl"


def append(made: Mapping[str, Any], folder: Path) -> Path:
    """Add a `record`."""
    return jsonl.append(made, path(folder, made["machine"]["host"]))
