"""Commits as git knows them: the meaning of a name, and what lies between two."""

from __future__ import annotations

from pathlib import Path

from rnnbench.errors import InputError
from rnnbench.files import git
from rnnbench.judge.verdict.answer import Commit

WORKING_TREE = "."


def find(folder: Path, name: str) -> str | None:
    """Return the full hash of a commit; None if this clone does not have it."""
    return git.ask(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )


def commit(folder: Path, given: str, argument: str) -> Commit:
    """Return the commit that ``given`` names; ``.`` is the working tree, its tracked files.

    Raises InputError if there is none.
    """
    name = given
    if given == WORKING_TREE:
        # an object that no branch names, which git collects in time; empty if nothing differs
        name = git.ask(folder, "stash", "create") or "HEAD"
    found = find(folder, name)
    if found is None:
        if git.ask(folder, "rev-parse", "--git-dir") is None:
            raise InputError(f"{folder} is no git checkout, so it has no commit {given!r}")
        hint = "; this clone is shallow: git fetch --unshallow" if is_shallow(folder) else ""
        raise InputError(f"{argument} must be a commit of this repository; got {given!r}{hint}")
    return Commit(found, given, git.ask(folder, "show", "-s", "--format=%s", found) or "")


def is_shallow(folder: Path) -> bool:
    """Return True if the clone lacks old commits."""
    return git.ask(folder, "rev-parse", "--is-shallow-repository") == "true"


def is_ancestor(folder: Path, base: str, head: str) -> bool:
    """Return True if ``base`` is among the ancestors of ``head``, or ``head`` itself."""
    return git.ask(folder, "merge-base", "--is-ancestor", base, head) is not None


def between(folder: Path, base: str, head: str) -> tuple[str, ...]:
    """Return the commits after base up to head along first parents, oldest first.

    Head alone where base is none of its ancestors.
    """
    if not is_ancestor(folder, base, head):
        return (head,)
    listed = git.ask(folder, "rev-list", "--first-parent", "--reverse", f"{base}..{head}", "--")
    return tuple((listed or "").split())
