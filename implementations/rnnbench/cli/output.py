"""Output of the commands: JSON, or tables and sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

BAD, GOOD = "bold red", "green"
"""Styles of what went wrong and of what is right."""
Part = Table | str | tuple[str, str]
"""A table, a sentence, or a sentence and its style."""


def show(
    record: Mapping[str, Any], parts: Iterable[Part], *, as_json: bool, width: int = 0
) -> None:
    """Print ``record`` as JSON, or else ``parts`` one below the other.

    width   columns that output which does not go to a terminal has at least

    Raises ValueError for NaN or infinity in ``record``, which JSON does not have.
    """
    if as_json:
        typer.echo(json.dumps(record, indent=1, allow_nan=False))
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, width)
    for part in parts:
        if isinstance(part, Table):
            console.print(part)
        else:
            text = Text(part) if isinstance(part, str) else Text(*part)
            console.print(text, soft_wrap=True)


def table(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table without lines and rows; all but the first ``left`` columns hold numbers."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for number, heading in enumerate(columns):
        if number < left:
            made.add_column(heading, no_wrap=True)
        else:
            made.add_column(heading, justify="right", overflow="fold")
    return made
