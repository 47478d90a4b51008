"""What is wrong with the clone that a night runs in."""

from __future__ import annotations

from pathlib import Path

from rnnbench.files import git
from rnnbench.judge import commits
from rnnbench.judge.nightly.night import Trouble


def troubles(folder: Path, base: str | None, head: str, *, existing: bool) -> list[Trouble]:
    """Return what makes the night's answers smaller than they could be.

    ``base`` is the last clean commit; ``existing``: the environment measures the files themselves.
    """
    found = []
    if git.ask(folder, "symbolic-ref", "--quiet", "HEAD") is None:
        found.append(
            f"HEAD is detached: the night measures {head[:8]} and does not know of what branch"
        )
    if base is not None and commits.find(folder, base) is None:
        lost = "the clone is shallow (git fetch --unshallow)"
        why = lost if commits.is_shallow(folder) else "history rewritten"
        found.append(
            f"the last clean commit {base[:8]} is not in this clone, {why}: {head[:8]} is "
            "measured, and judged against nothing"
        )
    elif base is not None and not commits.is_ancestor(folder, base, head):
        found.append(
            f"the last clean commit {base[:8]} is no ancestor of {head[:8]} (a branch was "
            "rewritten, or the clone is shallow): it is judged against, and the commits "
            "between are not known"
        )
    if existing and git.ask(folder, "status", "--porcelain", "--untracked-files=no"):
        found.append("files differ from HEAD, and this environment measures the files")
    return [Trouble("clone", head[:8], f"{sentence}.") for sentence in found]
