"""Facts that nights hand on and asv's files do not have: failures, durations, commits left.

asv writes the same NaN for a case that was skipped and for one that was never run, so that a case
which has no number needs to be remembered here. Losing the file costs some measuring, no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rnnbench.files import records
from rnnbench.files.schema import Record

KIND = "nightly"
NEW_SHARE = 0.3
"""Weight of the newest duration in the running mean."""


@dataclass
class Ledger(Record):
    """The facts of one machine and shard."""

    missing: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Commit → benchmark at its version → case without a number → ``failed`` or ``none``."""
    unbuilt: dict[str, str] = field(default_factory=dict)
    """Commit → why it does not build."""
    last: dict[str, str] = field(default_factory=dict)
    """Slice → the night (AT) in which it was last measured."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Benchmark, or part of the night → seconds per case, a running mean."""
    queue: list[str] = field(default_factory=list)
    """Commits with units left, oldest first."""

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return the ledger kept in a file, empty where there is none; raises ValueError."""
        return super().read(file) if file.exists() else cls()

    def write(self, folder: Path, host: str, name: str) -> Path:
        return records.write(folder, KIND, host, name, self.as_dict())

    def note_seconds(self, what: str, per_case: float) -> None:
        old = self.seconds.get(what, per_case)
        self.seconds[what] = round(old + NEW_SHARE * (per_case - old), 4)

    def note_outcomes(self, commit: str, benchmark: str, kinds: Mapping[str, str]) -> None:
        """Remember which of the cases just run have no number."""
        known = self.missing.setdefault(commit, {})
        before = {
            case: kind for case, kind in known.get(benchmark, {}).items() if case not in kinds
        }
        known[benchmark] = before | {case: kind for case, kind in kinds.items() if kind != "ok"}

    def closed(self, commit: str, benchmark: str, *, again: bool) -> set[str]:
        """Return cases without a number that are not run again; failed ones are, if ``again``."""
        known = self.missing.get(commit, {}).get(benchmark, {})
        return {case for case, kind in known.items() if kind == "none" or not again}

    def keep_only(self, commits: list[str]) -> None:
        """Forget the commits that no night will come back to."""
        self.missing = {key: value for key, value in self.missing.items() if key in commits}
        self.unbuilt = {key: value for key, value in self.unbuilt.items() if key in commits}
