"""Commits as git knows them: what a name means, and what lies between two."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rnnbench.errors import InputError
from rnnbench.judge.verdict.answer import Commit

WORKING_TREE = "."


def commit(folder: Path, given: str, argument: str) -> Commit:
    """The commit that ``given`` names; ``.`` is the working tree, its tracked files as they are.

    Raises InputError if there is none.
    """
    name = given
    if given == WORKING_TREE:
        # an object that no branch names, which git collects in time; empty if nothing differs
        name = git(folder, "stash", "create") or "HEAD"
    found = git(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if found is None:
        if git(folder, "rev-parse", "--git-dir") is None:
            raise InputError(f"{folder} is no git checkout, so it has no commit {given!r}")
        shallow = git(folder, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; this clone is shallow: git fetch --unshallow" if shallow else ""
        raise InputError(f"{argument} must be a commit of this repository; got {given!r}{hint}")
    return Commit(found, given, git(folder, "show", "-s", "--format=%s", found) or "")


def between(folder: Path, base: str, head: str) -> tuple[str, ...]:
    """After base, up to head, oldest first; head alone where base is none of its ancestors."""
    if git(folder, "merge-base", "--is-ancestor", base, head) is None:
        return (head,)
    listed = git(folder, "rev-list", "--first-parent", "--reverse", f"{base}..{head}") or ""
    return tuple(listed.split())


def same_files(folder: Path, base: str, head: str, path: Path) -> bool:
    """Whether two commits have the same files below ``path``."""
    return git(folder, "diff", "--quiet", base, head, "--", str(path)) is not None


def extract(folder: Path, commit_hash: str, path: str, into: Path) -> None:
    """Write the files below ``path`` as a commit has them; raises InputError if it has none."""
    archive = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), "archive", "--format=tar", commit_hash, "--", path],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        raise InputError(f"commit {commit_hash[:8]} has no {path}")
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(  # noqa: S603
        ["tar", "-x", "-C", str(into)],  # noqa: S607
        input=archive.stdout,
        check=True,
    )


def git(folder: Path, *arguments: str) -> str | None:
    """What git says, None if it fails."""
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return None if done.returncode else done.stdout.strip()
