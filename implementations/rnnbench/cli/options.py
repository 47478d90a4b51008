"""Options that several commands read alike."""

from __future__ import annotations

import os
from pathlib import Path

from rnnbench.comparison import threads as pools
from rnnbench.errors import InputError


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def thread_counts(text: str) -> list[int]:
    """``1,2``; InputError for what is no number of threads on this machine."""
    counts = listed(text)
    if not counts or not all(count.isdecimal() and int(count) for count in counts):
        raise InputError(f"threads must be numbers of at least 1, like 1,2; got {text!r}")
    most = max(map(int, counts))
    if most > pools.cores():
        raise InputError(f"threads must be at most {pools.cores()}, the cores here; got {most}")
    return [int(count) for count in counts]


def writable(folder: Path | None) -> Path | None:
    """The folder to save in, made if it is not there; InputError if nothing can be put there."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"save must be a folder; got {str(folder)!r}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"save must be a folder that can be written; got {str(folder)!r}")
    return folder
