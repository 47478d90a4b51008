"""Results that the measuring processes of one run share: each is computed once.

asv measures every case in a process forked from one server, which has imported this module: they
share its folder, which is gone with it. A case measured in a fresh process instead shares nothing,
but for what is the same each time, if `KEPT` names a folder for it.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import records

FOLDER = Path(tempfile.mkdtemp(prefix="rnnbench-run-", dir=os.environ.get(records.RUN_DIR)))
KEPT = os.environ.get("RNNBENCH_KEPT_DIR")
"""Set by who measures the same commit in many processes; that folder is his to remove."""
_owner = os.getpid()


@atexit.register
def _remove() -> None:
    if os.getpid() == _owner:
        shutil.rmtree(FOLDER, ignore_errors=True)


def place(key: tuple[Any, ...], folder: Path | None = None) -> Path:
    """A path of its own for ``key``, below the shared folder or another."""
    return (folder or FOLDER) / sha256(repr(key).encode()).hexdigest()[:24]


def once(key: tuple[Any, ...], compute: Callable[[], Any], *, same: bool = False) -> Any:
    """The JSON value kept under ``key``, computed if none is; an exception is not kept.

    ``same``: it is the same in every process of a commit; seconds are not.
    """
    path = place(key, Path(KEPT) if same and KEPT else None)
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(compute()))
        part.rename(path)
    return json.loads(path.read_text())


def again(key: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
    """Return what ``compute`` gives, or gave in an earlier process that `KEPT` joins."""
    return once(key, compute, same=True) if KEPT else compute()
