"""One run a machine: two at once would measure each other.

The lock belongs to the open file: it is gone as soon as the last process that has it open is, be it
killed or not. Commands that a run has started inherit it (`supervised`).
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = Path(".asv/lock")
POLL_SECONDS = 0.2


class BusyError(RuntimeError):
    """Another run holds the lock."""


@contextmanager
def held(path: Path, wait: float = 0.0) -> Iterator[int]:
    """Hold the lock, once it is free within ``wait`` seconds; yields its file descriptor.

    Raises BusyError if it is not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise BusyError(
                        f"another run is measuring on this machine (it holds {path})"
                    ) from None
                time.sleep(POLL_SECONDS)
        yield lock.fileno()
