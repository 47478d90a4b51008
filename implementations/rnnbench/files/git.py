"""Ask git, and take files out of its commits."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path


class GitError(RuntimeError):
    """git ended with an error; the message is its own."""


def run(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Return git's output in ``folder``; raises GitError."""
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        input=stdin,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise GitError(said or f"git {arguments[0]} ended with code {done.returncode}")
    return done.stdout


def ask(folder: Path, *arguments: str) -> str | None:
    """Return git's output as stripped text, or None where git answers with an error."""
    try:
        return run(folder, *arguments).decode(errors="replace").strip()
    except GitError:
        return None


def extract(folder: Path, commit: str, path: str, into: Path) -> None:
    """Write the files below ``path`` as a commit has them; raises GitError if it has none."""
    packed = run(folder, "archive", "--format=tar", commit, "--", path)
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(into, filter="data")
