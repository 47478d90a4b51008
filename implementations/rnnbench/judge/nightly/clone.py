"""What git knows of this checkout, and what is wrong with it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from rnnbench.judge.nightly.night import Trouble


@dataclass(frozen=True)
class Clone:
    """A git checkout."""

    root: Path

    def ask(self, *arguments: str) -> str | None:
        """What git answers, or None where it fails."""
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=self.root,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return None if done.returncode else done.stdout.strip()

    def head(self) -> str | None:
        return self.commit("HEAD")

    def commit(self, name: str) -> str | None:
        """The full hash of a name; None where this clone does not have it."""
        return self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def subject(self, commit: str) -> str:
        """The first line of its message."""
        return self.ask("log", "-1", "--format=%s", commit) or ""

    def since(self, base: str | None, head: str) -> list[str]:
        """Commits after ``base`` up to ``head`` along first parents, oldest first.

        Only head where base is unknown, or no ancestor of it.
        """
        if base is None or self.ask("merge-base", "--is-ancestor", base, head) is None:
            return [head]
        listed = self.ask("rev-list", "--first-parent", "--reverse", f"{base}..{head}", "--")
        return (listed or "").split()

    def dirty(self) -> bool:
        return bool(self.ask("status", "--porcelain", "--untracked-files=no"))

    def troubles(self, base: str | None, head: str, *, existing: bool) -> list[Trouble]:
        """What of this clone makes the night's answers smaller than they could be."""
        found = []
        if self.ask("symbolic-ref", "--quiet", "HEAD") is None:
            found.append(
                f"HEAD is detached: the night measures {head[:8]} and does not know of what branch"
            )
        if base is not None and self.commit(base) is None:
            shallow = self.ask("rev-parse", "--is-shallow-repository") == "true"
            why = "the clone is shallow (git fetch --unshallow)" if shallow else "history rewritten"
            found.append(
                f"the last clean commit {base[:8]} is not in this clone, {why}: {head[:8]} is "
                "measured, and judged against nothing"
            )
        elif base is not None and self.ask("merge-base", "--is-ancestor", base, head) is None:
            found.append(
                f"the last clean commit {base[:8]} is no ancestor of {head[:8]} (a branch was "
                "rewritten, or the clone is shallow): it is judged against, and the commits "
                "between are not known"
            )
        if existing and self.dirty():
            found.append("files differ from HEAD, and this environment measures the files")
        return [Trouble("clone", head[:8], f"{sentence}.") for sentence in found]
