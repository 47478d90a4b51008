"""The error-rate card of a machine's verdicts, measured on it.

*A/A* verdicts compare a commit with itself: each change they name is a false alarm. *Planted*
verdicts compare it with a copy slowed by a known share, in time that is really spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnbench.files.schema import Record


@dataclass(frozen=True)
class Planted:
    """The verdicts' answers to one planted slowdown; counts are of cases."""

    size: float
    """0.05: head takes 1.05 times as long."""
    verdicts: int
    cases: int
    found: int
    inconclusive: int
    denied: int
    """Called *no change* with this size excluded: plainly wrong."""
    detectable: int
    """Cases whose minimum detectable effect was at most this size."""
    found_of_detectable: int
    covered: int
    """Cases whose confidence interval holds the planted size."""


@dataclass(frozen=True)
class Card(Record):
    """One machine's error rates."""

    at: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commit: str
    settings: Mapping[str, Any]
    """Of each verdict: rounds, threshold, alpha, seconds."""
    aa_verdicts: int
    aa_cases: int
    """Cases of a verdict."""
    false_alarms: int
    """Cases called a regression or an improvement, over all A/A verdicts."""
    alarmed_verdicts: int
    aa_inconclusive: int
    planted: tuple[Planted, ...]
    detectable: Mapping[str, float]
    """Case → median of its minimum detectable effect in the A/A verdicts."""
    seconds: float
    other: Mapping[str, Any] | None = None
    """The same counts for asv's own rule on the same pairs: ``{"name", "false_alarms",
    "alarmed_verdicts", "planted": [{"size", "cases", "found"}]}``."""
    instructions: Mapping[str, Any] | None = None
    """The deterministic channel: ``{"available", "reason", "spread"}``, spread over ten runs."""
    spared: int = 0
    """Cases that were left as they were in planted verdicts."""
    spared_alarms: int = 0
    """How many of them were called a regression or an improvement."""
