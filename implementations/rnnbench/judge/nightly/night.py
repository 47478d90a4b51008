"""What one night did: for the report, and for the night that comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnbench.files.schema import Record


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong, what it cost, and what to do."""

    what: str
    """A word for the kind: build, crash, hang, memory, disk, result file, clock, clone, …"""
    unit: str
    """The unit that it cost, or the part of the night."""
    account: str


@dataclass(frozen=True)
class Night(Record):
    """One run of ``rnnbench nightly``."""

    at: str
    """ISO 8601, UTC; when it began. Names the night's file."""
    machine: Mapping[str, str]
    head: str
    base: str | None
    """The last clean commit that head was judged against; None on the first night."""
    commits: tuple[str, ...]
    """New ones, oldest first."""
    budget: float
    seconds: float
    measured: int
    """Units measured this night."""
    left: int
    """Units that the next night begins with."""
    troubles: tuple[Trouble, ...]
    verdict: str | None
    """Path of the verdict's file below the results directory."""
    exit_code: int
    finished: bool
    shard: str = "1/1"
    bench: tuple[str, ...] = ()
    """Patterns that the cases were limited to."""
