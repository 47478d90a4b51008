"""The one way for a command to leave with a sentence."""

from __future__ import annotations

from typing import NoReturn

import typer


def leave(code: int, sentence: str) -> NoReturn:
    """Say why on stderr and exit."""
    typer.echo(f"rnnbench: {sentence}", err=True)
    raise typer.Exit(code)
