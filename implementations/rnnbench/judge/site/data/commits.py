"""The measured commits in words: subject line and branches, from git."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnbench.files import git


@dataclass
class Commit:
    """One commit in words. Everything here was written by strangers: escape it."""

    hash: str
    subject: str = "(not in this repository)"
    branches: list[str] = field(default_factory=list)


def describe(conf: Any, hashes: Iterable[str]) -> dict[str, Commit]:
    """Describe each of ``hashes``; one that git does not know is described as such."""
    # asv works in ``repo`` where it is a folder, and else in a mirror named after the project.
    repo = Path(conf.repo) if Path(conf.repo).is_dir() else Path(conf.project)
    known = {name: Commit(name) for name in sorted(hashes)}
    options = ["--no-walk", "--ignore-missing", "--stdin", "--format=%H%x00%s"]
    for line in _git(repo, "log", *options, stdin="\n".join(known)).split("\n"):
        name, found, subject = line.partition("\0")
        if found and name in known:
            known[name].subject = subject
    for branch in conf.branches or [None]:
        shown = branch or _git(repo, "rev-parse", "--abbrev-ref", "HEAD").strip() or "HEAD"
        for name in _git(repo, "rev-list", "--end-of-options", branch or "HEAD", "--").split():
            if name in known:
                known[name].branches.append(shown)
    return known


def _git(repo: Path, *arguments: str, stdin: str = "") -> str:
    """Return git's output, empty where it fails: a report without subjects beats no report."""
    try:
        return git.run(repo, *arguments, stdin=stdin.encode()).decode(errors="replace")
    except (git.GitError, OSError):
        return ""
