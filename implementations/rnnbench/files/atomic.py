"""Write a file whole or not at all.

The content goes to a temporary file in the target's folder, is forced to the disk, and is renamed
over the target: a reader sees the old file or the new one, whenever the writer is killed. Each
writer has a temporary file of its own, so that of two writers the later one wins whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"
"""Ending of the temporary files; their names begin with a dot, and no other file's do both."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``target`` unless the block raises.

    Folders are made. A file that replaces none gets the permissions of any new file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(SUFFIX, f".{target.name[:150]}.", target.parent)
    part = Path(name)
    try:
        os.close(descriptor)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write(target: Path, content: str | bytes) -> Path:
    """Write all of a file's content; text is UTF-8. Returns ``target``."""
    with replacing(target) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def write_if_changed(target: Path, content: str | bytes) -> bool:
    """Write unless the file has this very content already; returns whether it was written."""
    data = content.encode() if isinstance(content, str) else content
    if target.is_file() and target.read_bytes() == data:
        return False
    write(target, data)
    return True


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left below ``folder``.

    No writer may be at work there.
    """
    for part in folder.rglob(f".*{SUFFIX}"):
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
