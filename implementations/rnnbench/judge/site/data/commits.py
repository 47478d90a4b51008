"""What git knows of the measured commits: subject line, branches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Commit:
    """One commit in words. Everything here was written by strangers: escape it."""

    hash: str
    subject: str = "(not in this repository)"
    branches: list[str] = field(default_factory=list)


def describe(conf: Any, hashes: Iterable[str]) -> dict[str, Commit]:
    """Describe each of ``hashes``; one that git does not know is described as such."""
    repo = _repository(conf)
    known = {name: Commit(name) for name in hashes}
    for name, subject in _subjects(repo, sorted(known)).items():
        known[name].subject = subject
    for branch in conf.branches or [None]:
        for name in _git(repo, "rev-list", "--end-of-options", branch or "HEAD", "--").split():
            if name in known:
                known[name].branches.append(branch or _head_name(repo))
    return known


def _repository(conf: Any) -> Path:
    """asv works in ``repo`` where it is a folder, and else in a mirror named after the project."""
    repo = Path(conf.repo)
    return repo if repo.is_dir() else Path(conf.project)


def _subjects(repo: Path, hashes: list[str]) -> dict[str, str]:
    found = _git(
        repo,
        "log",
        "--no-walk",
        "--ignore-missing",
        "--stdin",
        "--format=%H%x00%s",
        stdin="\n".join(hashes),
    )
    pairs = (line.split("\0", 1) for line in found.split("\n") if "\0" in line)
    return {name: subject for name, subject in pairs if name in set(hashes)}


def _head_name(repo: Path) -> str:
    return _git(repo, "rev-parse", "--abbrev-ref", "HEAD").strip() or "HEAD"


def _git(repo: Path, *arguments: str, stdin: str = "") -> str:
    """Output of git, empty where it fails: a report without subject lines beats no report."""
    try:
        done = subprocess.run(
            ["git", "-C", str(repo), *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
