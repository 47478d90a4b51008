"""The trainings that the page "Training" shows: ``python -m reports.jobs.training_runs``.

Each is a call of ``rnnbench train`` or ``rnnbench search`` that keeps its figures beside asv's
results; the page shows whatever lies there, so a call may as well be made by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from benchmarks import records

from rnnbench.cli.exits import leave
from rnnbench.exit_codes import BROKEN, FAILED, GOOD
from rnnbench.training.settings import READINGS

CELLS = ("gru", "lstm", "rnn_tanh")
SEEDS = ("0", "1", "2")
EXPLODING = ["--cell", "rnn_relu", "--optimiser", "sgd", "--lr", "0.3", "--epochs", "10"]
ADDING = ["--task", "adding", "--no-band", "--size", "2000", "--batch", "32", "--dropout", "0"]
ADDING += ["--hidden-size", "32", "--lr", "0.01"]
LAGS = {"100": "20", "1000": "14"}
"""T of the adding problem, and epochs to learn it in."""

WRONG = ["train", "--no-band", "--alone", "--directions", "2"]

BANDS = [["train", "--backend", "all", "--target", "0.96", "--cell", cell] for cell in CELLS]
CLIPPING = [["train", *EXPLODING, "--no-band", "--clip", clip] for clip in ("0", "1")]
PLANTED = [
    [*WRONG, "--cell", cell, "--reading", reading, "--seed", seed]
    for cell in ("gru", "lstm")
    for reading in READINGS
    for seed in SEEDS
]
LONG = [
    ["train", *ADDING, "--T", T, "--epochs", epochs, "--cell", cell, "--chrono", chrono]
    for T, epochs in LAGS.items()
    for cell, chrono in (("gru", T), ("lstm", T), ("rnn_tanh", "0"))
]
SEARCHES = [["search", "--strategy", strategy] for strategy in ("grid", "random", "tpe")]
RUNS = {
    "bands": BANDS,
    "clipping": CLIPPING,
    "planted": PLANTED,
    "long": LONG,
    "searches": SEARCHES,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(RUNS)}; all.")] = None,
    save: Annotated[Path | None, typer.Option(help="asv's results.")] = None,
) -> None:
    """Run them one after the other; the first that leaves its band or breaks is named at the end.

    An exploding training without clipping ends in a NaN, which is what it is there to show.
    """
    unknown = set(only or ()) - set(RUNS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: none of {', '.join(RUNS)}")
    folder = save or records.results_dir()
    wrong = []
    for name in only or RUNS:
        for arguments in RUNS[name]:
            store = ["--save", str(folder)]
            if name == "searches":
                store += ["--storage", f"sqlite:///{folder / 'search.db'}"]
            command = [sys.executable, "-c", "from rnnbench.cli import app; app()", *arguments]
            code = subprocess.run([*command, *store], check=False).returncode
            if code not in (GOOD, FAILED) or (code == FAILED and name != "clipping"):
                wrong.append(f"rnnbench {' '.join(arguments)} (exit code {code})")
    if wrong:
        leave(BROKEN, "; ".join(wrong))


if __name__ == "__main__":
    typer.run(main)
