"""Progress on stderr: a bar on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

LINE_EVERY_SECONDS = 15.0


class Show(Protocol):
    """Shows a sentence, and how much is done of a total, if that is known.

    Plain lines are left out within some seconds of the last one, unless the topic is another.
    """

    def __call__(
        self, sentence: str, done: float = 0, total: float | None = None, *, topic: str = ""
    ) -> None: ...


@contextmanager
def showing() -> Iterator[Show]:
    """Yield a function that shows the progress of what the block does."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
        return
    last = ("", time.monotonic())

    def line(
        sentence: str, done: float = 0, total: float | None = None, *, topic: str = ""
    ) -> None:
        nonlocal last
        now = time.monotonic()
        if topic != last[0] or now - last[1] > LINE_EVERY_SECONDS:
            last = (topic, now)
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201

    yield line


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield a function that is called once for each of ``total`` steps done."""
    done = 0
    with showing() as show:

        def advance() -> None:
            nonlocal done
            done += 1
            show(f"{what}: {done} of {total}", done, total)

        show(f"{what}: 0 of {total}", 0, total)
        yield advance


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(
            sentence: str, done: float = 0, total: float | None = None, *, topic: str = ""
        ) -> None:
            bar.update(task, description=escape(sentence), completed=done, total=total)

        yield show
