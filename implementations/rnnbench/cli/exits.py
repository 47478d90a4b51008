"""Exit codes of the commands, and the one way to leave with a sentence."""

from __future__ import annotations

from typing import NoReturn

import typer

GOOD, FAILED, USAGE, INCONCLUSIVE, NOTHING_MEASURED, BROKEN = range(6)

TEXT = (
    "Exit codes: 0 all good; 1 a parity failure or regression; 2 wrong usage; "
    "3 inconclusive; 4 nothing was measured; 5 a benchmark or backend broke."
)


def leave(code: int, sentence: str) -> NoReturn:
    """Say why on stderr and exit."""
    typer.echo(f"rnnbench: {sentence}", err=True)
    raise typer.Exit(code)
