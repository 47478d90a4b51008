"""One verdict whose truth is known, kept below the results as ``trials/HOST/AT-KIND.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnbench.files import records
from rnnbench.files.schema import Record
from rnnbench.judge.verdict.answer import MEASURED, CaseAnswer, Verdict

TRIALS = "trials"


@dataclass(frozen=True)
class Trial(Record):
    """A verdict, and the right answer."""

    verdict: Verdict
    settings: Mapping[str, Any]
    """All that the error rates depend on besides machine and versions."""
    planted: Mapping[str, float] | None
    """Name of a case → the share that it was slowed by; None in A/A trials."""
    asv: Mapping[str, Mapping[str, str]]
    """Name of a case → factor → what asv's rule says."""

    @property
    def measured(self) -> list[CaseAnswer]:
        return self.verdict.of(*MEASURED)

    def age(self, now: datetime | None = None) -> float:
        """Return the days since it was measured."""
        since = (now or datetime.now(UTC)) - datetime.fromisoformat(self.verdict.at)
        return since.total_seconds() / 86400


def keep(results: Path, trial: Trial) -> Path:
    """Write a trial, whole or not at all."""
    kind = "aa" if trial.planted is None else "planted"
    name = records.name(trial.verdict.at, kind)
    return records.write(results, TRIALS, trial.verdict.machine["host"], name, trial.as_dict())


def kept(results: Path, host: str) -> list[Trial]:
    """Return all trials of a host that can be read, oldest first."""
    found = records.read(results, TRIALS, Trial.from_dict, host)
    return [one.value for one in found if one.value is not None]
