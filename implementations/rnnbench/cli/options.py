"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbench.comparison import threads as pools
from rnnbench.errors import InputError
from rnnbench.spec import CELLS
from rnnbench.training.settings import OPTIMISERS, TASKS


def panel(title: str | None) -> Callable[..., Any]:
    """Return ``option(help, *names, **more)`` for options that the help lists under ``title``."""

    def option(help_text: str, *names: str, **more: Any) -> Any:
        return typer.Option(*names, help=help_text, rich_help_panel=title, **more)

    return option


def names(known: Sequence[str]) -> str:
    """Return the known values as the help lists them."""
    return f"{', '.join(known)}."


network, learning = panel("Network"), panel("Learning")
adding = panel("Only for the adding problem")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Save = Annotated[
    Path | None,
    typer.Option(help="Keep the figures here: asv's results (.asv/results), for the report."),
]
Task = Annotated[str, typer.Option(help=names(TASKS))]
Cell = Annotated[str, network(names(CELLS))]
Directions = Annotated[int, network("Directions D, 1 or 2.")]
Optimiser = Annotated[str, learning(names([*OPTIMISERS]))]
Clip = Annotated[float, learning("Largest norm of the gradient; 0: no clipping.")]
Epochs = Annotated[int, learning("Passes over the training part.")]
Batch = Annotated[int, learning("Sequences in a batch, B.")]
Steps = Annotated[int, adding("Length of the sequences, 2 to 1000.", "--T")]
Size = Annotated[int, adding("Number of sequences to train on.")]


judging, building = panel("What is asked"), panel("Building")

Config = Annotated[Path, building("asv's configuration.")]
Environment = Annotated[
    str | None,
    building(
        "asv's, e.g. existing: this Python's dependencies, no network needed. By default the "
        "first of the configuration."
    ),
]
Bench = Annotated[list[str] | None, judging("Cases whose name has this regex; '.' is all.")]
Threshold = Annotated[str, judging("Relative change to find or to exclude.")]
Link = Annotated[str | None, typer.Option(help="Address that the Markdown links to.")]


def percent(given: str) -> float:
    """Return the share that a threshold like ``5%`` or ``5`` names; raises InputError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%?\s*", given)
    if not found:
        raise InputError(f"threshold must be a percentage, like 5%; got {given!r}")
    return float(found.group(1)) / 100


def listed(text: str) -> list[str]:
    """Return the values between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def thread_counts(text: str) -> list[int]:
    """Return the numbers in a text like ``1,2``.

    Raises InputError for what is no number of threads on this machine.
    """
    counts = listed(text)
    if not counts or not all(count.isdecimal() and int(count) for count in counts):
        raise InputError(f"threads must be numbers of at least 1, like 1,2; got {text!r}")
    most = max(map(int, counts))
    if most > pools.cores():
        raise InputError(f"threads must be at most {pools.cores()}, the cores here; got {most}")
    return [int(count) for count in counts]


def writable(folder: Path | None, name: str = "save") -> None:
    """Make the folder of the option ``name``; raises InputError where nothing can be put there."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{name} must be a folder; got {str(folder)!r}: {error.strerror}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{name} must be a folder that can be written; got {str(folder)!r}")
