"""Results that the measuring processes of one run share: each is computed once.

asv measures every case in a process forked from one server, which has imported this module: they
share its folder, which is gone with it. A case measured in a fresh process instead shares nothing.
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
_owner = os.getpid()


@atexit.register
def _remove() -> None:
    if os.getpid() == _owner:
        shutil.rmtree(FOLDER, ignore_errors=True)


def place(key: tuple[Any, ...]) -> Path:
    """A path of its own for ``key``, below the shared folder."""
    return FOLDER / sha256(repr(key).encode()).hexdigest()[:24]


def once(key: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
    """The JSON value kept under ``key``, computed if none is; an exception is not kept."""
    path = place(key)
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(compute()))
        part.rename(path)
    return json.loads(path.read_text())
