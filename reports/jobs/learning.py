"""Learning curves: one character model trained by each mode of truncated BPTT.

``python -m reports.jobs.learning`` trains the model of `rnnbench.training.characters` in every mode
and keeps the curves beside asv's results, from where the report's part "Truncated BPTT" is made:

    <results_dir>/learning/<host>.jsonl, a line a mode
    {"schema", "at", "machine", "versions", "threads", "mode", "cell", "options", "network",
     "points": [[step, seconds of training, loss in nats per character], …]}

A line is appended as soon as its mode is trained, so that a killed run loses one mode at most; the
newest line of a mode counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reports.data.curves import FOLDER
from rnnbench.cli.exits import leave
from rnnbench.cli.progress import progress
from rnnbench.exit_codes import BROKEN, USAGE
from rnnbench.files import jsonl, records

THREADS = 1


def line(mode: str, cell: str, points: list[Any]) -> dict[str, Any]:
    """Return all that is kept of one mode."""
    from rnnbench.training import characters as model

    network = {
        "hidden": model.HIDDEN,
        "streams": model.ROWS,
        "steps": model.SPAN,
        "learning_rate": model.LEARNING_RATE,
        "clip": model.CLIP,
    }
    return records.about() | {
        "threads": THREADS,
        "mode": mode,
        "cell": cell,
        "options": model.MODES[mode],
        "network": network,
        "points": [[p.step, round(p.seconds, 4), round(p.loss, 5)] for p in points],
    }


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

    from rnnbench.training import characters

    modes = mode or list(characters.MODES)
    if unknown := [name for name in modes if name not in characters.MODES]:
        leave(USAGE, f"--mode must be one of {', '.join(characters.MODES)}; got {unknown[0]!r}")
    if cell not in ("GRU", "LSTM", "RNN"):
        leave(USAGE, f"--cell must be GRU, LSTM or RNN; got {cell!r}")
    torch.set_num_threads(THREADS)
    whole = int(seconds)
    with progress("training", len(modes) * whole) as advance:
        for name in modes:
            points: list[Any] = []
            passed = 0
            next(characters.train(name, cell))  # has the kernels compiled
            for point in characters.curve(name, cell, None, seconds):
                points.append(point)
                for _ in range(min(int(point.seconds), whole) - passed):
                    advance()
                    passed += 1
            try:
                made = line(name, cell, points)
                kept = jsonl.append(made, results_dir / FOLDER / f"{made['machine']['host']}.jsonl")
            except OSError as error:
                leave(BROKEN, f"the curve of {name} cannot be kept: {error}")
            last = points[-min(len(points), 50) :]
            mean = sum(point.loss for point in last) / len(last)
            typer.echo(
                f"{name:8} {len(points):6} steps in {points[-1].seconds:6.1f} s, "
                f"last {len(last)} losses {mean:.4f} nats per character"
            )
    typer.echo(f"kept in {kept}; rnnbench publish shows them")


if __name__ == "__main__":
    typer.run(main)
