"""Learning curves: one character model trained by each mode of truncated BPTT.

``python -m reports.jobs.learning`` runs the example ``tests/examples/char_truncated.py`` in every mode
and keeps the curves beside asv's results, from where the report's part "Truncated BPTT" is made:

    <results_dir>/learning/<host>.jsonl, a line a mode
    {"schema", "at", "machine", "versions", "threads", "mode", "cell", "options", "network",
     "points": [[step, seconds of training, loss in nats per character], …]}

A line is appended as soon as its mode is trained, so that a killed run loses one mode at most; the
newest line of a mode counts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from rnnbench.cli.exits import leave
from rnnbench.cli.progress import progress
from rnnbench.exit_codes import BROKEN, USAGE
from rnnbench.files import machine

SCHEMA = 1
FOLDER = "learning"
COMMAND = "python -m reports.jobs.learning"
PROGRAM = Path(__file__).resolve().parents[1] / "tests" / "examples" / "char_truncated.py"
THREADS = 1


def program() -> ModuleType:
    """The example, as a module."""
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


def curve(example: ModuleType, mode: str, cell: str, seconds: float) -> Iterator[Any]:
    """Points of a mode until so many seconds of training are over. A step before them, which is not
    kept, has the kernels compiled.
    """
    next(example.train(mode, cell))
    yield from example.curve(mode, cell, None, seconds)


def line(example: ModuleType, mode: str, cell: str, points: list[Any]) -> dict[str, Any]:
    """All that is kept of one mode."""
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.identity(),
        "versions": machine.versions(),
        "threads": THREADS,
        "mode": mode,
        "cell": cell,
        "options": example.MODES[mode],
        "network": {
            "hidden": example.HIDDEN,
            "streams": example.ROWS,
            "steps": example.SPAN,
            "learning_rate": example.LEARNING_RATE,
            "clip": example.CLIP,
        },
        "points": [[p.step, round(p.seconds, 4), round(p.loss, 5)] for p in points],
    }


def append(made: dict[str, Any], results_dir: Path) -> Path:
    """Add one line, in one write."""
    target = results_dir / FOLDER / f"{made['machine']['host']}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(made, allow_nan=False) + "\n").encode())
    finally:
        os.close(descriptor)
    return target


def main(
    mode: Annotated[
        list[str] | None, typer.Option(help="A mode, again for more; all five by default.")
    ] = None,
    cell: Annotated[str, typer.Option(help="GRU, LSTM or RNN.")] = "GRU",
    seconds: Annotated[float, typer.Option(help="Training time of each mode.", min=0.1)] = 60.0,
    results_dir: Annotated[Path, typer.Option(help="asv's results.")] = Path(".asv/results"),
) -> None:
    """Train the character model by each mode of truncated BPTT; keep the curves for the report.

    One thread. Prints each mode's last losses, and where the curves are kept. Exit codes: 0 all
    kept; 2 wrong usage; 5 they cannot be kept.
    """
    import torch

    example = program()
    modes = mode or list(example.MODES)
    if unknown := [name for name in modes if name not in example.MODES]:
        leave(USAGE, f"--mode must be one of {', '.join(example.MODES)}; got {unknown[0]!r}")
    if cell not in ("GRU", "LSTM", "RNN"):
        leave(USAGE, f"--cell must be GRU, LSTM or RNN; got {cell!r}")
    torch.set_num_threads(THREADS)
    whole = int(seconds)
    with progress("training", len(modes) * whole) as advance:
        for name in modes:
            points: list[Any] = []
            passed = 0
            for point in curve(example, name, cell, seconds):
                points.append(point)
                for _ in range(min(int(point.seconds), whole) - passed):
                    advance()
                    passed += 1
            try:
                kept = append(line(example, name, cell, points), results_dir)
            except OSError as error:
                leave(BROKEN, f"the curve of {name} cannot be kept: {error}")
            last = points[-min(len(points), 50) :]
            mean = sum(point.loss for point in last) / len(last)
            typer.echo(
                f"{name:8} {len(points):6} steps in {points[-1].seconds:6.1f} s, "
                f"last {len(last)} losses {mean:.4f} nats per character"
            )
    typer.echo(f"kept in {kept}; asv publish shows them")


if __name__ == "__main__":
    typer.run(main)
