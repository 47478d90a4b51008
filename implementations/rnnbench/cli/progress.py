"""Progress on stderr: a bar on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import typer

LINE_EVERY_SECONDS = 15.0


class Show(Protocol):
    """Shows ``words``, and a bar where ``total`` is known."""

    def __call__(self, words: str, done: float = 0, total: float | None = None) -> None: ...


@contextmanager
def shown() -> Iterator[Show]:
    """Yield a function that shows what is being done now, as often as it is called."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(words: str, done: float = 0, total: float | None = None) -> None:
            bar.update(task, description=escape(words), completed=done, total=total)

        yield show


def _plain() -> Show:
    """Return a function that prints at most one line in `LINE_EVERY_SECONDS`."""
    last = time.monotonic()

    def show(words: str, done: float = 0, total: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last > LINE_EVERY_SECONDS:
            last = time.monotonic()
            typer.echo(words, err=True)

    return show


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Yield a function to call after each of ``total`` steps, or with the number of steps done."""
    done = 0
    with shown() as show:

        def advance(to: int | None = None) -> None:
            nonlocal done
            done = done + 1 if to is None else to
            show(f"{what}: {done} of {total}", done, total)

        show(what, 0, total)
        yield advance
