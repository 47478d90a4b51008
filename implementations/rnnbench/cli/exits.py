"""Ends of the commands: an exit code, and a sentence on stderr where one failed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from typing import NoReturn, ParamSpec

import typer

from rnnbench.errors import BrokenError, InputError, UnsupportedError
from rnnbench.exit_codes import BROKEN, TEXT, USAGE
from rnnbench.files.foreign import plain

Given = ParamSpec("Given")


def leave(code: int, sentence: str) -> NoReturn:
    """Say why on stderr and exit."""
    typer.echo(f"rnnbench: {sentence}", err=True)
    raise typer.Exit(code)


def command(
    text: str = TEXT,
) -> Callable[[Callable[Given, int]], Callable[Given, None]]:
    """Make a command of a function that returns its exit code.

    ``text`` explains the codes at the end of the command's help. InputError and UnsupportedError
    end the command as wrong usage, BrokenError as broken, each with its sentence; control
    characters of foreign text are shown as escapes.
    """

    def decorated(run: Callable[Given, int]) -> Callable[Given, None]:
        @wraps(run)
        def main(*args: Given.args, **options: Given.kwargs) -> None:
            try:
                code = run(*args, **options)
            except (InputError, UnsupportedError) as error:
                leave(USAGE, plain(str(error)))
            except BrokenError as error:
                leave(BROKEN, plain(str(error)))
            raise typer.Exit(code)

        paragraphs = [*cleandoc(run.__doc__ or "").split("\n\n"), text]
        # The help wraps a paragraph anew only if it is one line.
        main.__doc__ = "\n\n".join(" ".join(one.split()) for one in paragraphs)
        return main

    return decorated
