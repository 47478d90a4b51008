"""The record of one night: for the report, and for the night that comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnbench.exit_codes import NOTHING_MEASURED
from rnnbench.files.schema import Record


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong, with its cost and what to do."""

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
    seconds: float = 0.0
    measured: int = 0
    """Units measured this night."""
    left: int = 0
    """Units that the next night begins with."""
    troubles: tuple[Trouble, ...] = ()
    verdict: str | None = None
    """Path of the verdict's file below the results directory."""
    exit_code: int = NOTHING_MEASURED
    finished: bool = False
    shard: str = "1/1"
    bench: tuple[str, ...] = ()
    """Patterns that the cases were limited to."""
