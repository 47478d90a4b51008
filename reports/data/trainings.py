"""Trainings and searches that ``rnnbench train --save`` and ``rnnbench search --save`` left.

They lie in ``<results_dir>/training/<host>.jsonl`` and ``<results_dir>/search/<host>.jsonl``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.data import kept

TRAINING, SEARCH = "training", "search"
BASELINE = "native"
UNIT, SMALLEST = 2.0**-24, 0.01
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """One backend's run: status and detail in words, its curve, and how long it took.

    errors  quantity → distance from the oracle's run in each step, in units of its roundoff
    """

    backend: str
    status: str
    detail: str
    share: float
    gated: int
    curve: Mapping[str, Any]
    epochs_to_target: int | None
    seconds_to_target: float | None
    warm_up: float
    alone: float | None
    errors: Mapping[str, list[float]]

    @property
    def score(self) -> float:
        """The last score on the test part; NaN without one."""
        scores = self.curve["scores"]
        return float(scores[-1]) if scores else math.nan

    @property
    def epoch_seconds(self) -> float:
        seconds = self.curve["seconds"]
        return float(seconds[-1]) / len(seconds) if seconds else math.nan


@dataclass(frozen=True)
class Training:
    """One call of the command: settings, and a run for each backend."""

    at: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    threads: int
    settings: Settings
    kind: str
    target: float
    band: Mapping[str, Any] | None
    runs: tuple[Trained, ...]

    @property
    def unit(self) -> str:
        return "accuracy" if self.kind == "classification" else "mean squared error"

    def without(self, *names: str) -> tuple[tuple[str, Any], ...]:
        """Return the settings but for those named, in the order of their names."""
        return tuple(item for item in sorted(self.settings.items()) if item[0] not in names)


@dataclass(frozen=True)
class Search:
    """A study: its plan, a row for each slot, the best slot, and its score on the test part."""

    at: str
    study: str
    plan: Mapping[str, Any]
    failed: int
    trials: tuple[Mapping[str, Any], ...]
    best: int | None
    test: float | None


@dataclass
class Machine:
    """All that was trained and searched on one host."""

    host: str
    trainings: list[Training] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)


def read(results_dir: Path, problems: list[str]) -> list[Machine]:
    """Return machines by their hosts' names; what could not be read is added to ``problems``."""
    trained = kept.newest(results_dir / TRAINING, _training, lambda one: one.without(), problems)
    searched = kept.newest(results_dir / SEARCH, _search, lambda one: one.study, problems)
    return [
        Machine(host, trained.get(host, []), searched.get(host, []))
        for host in sorted({*trained, *searched})
    ]


def _training(line: Mapping[str, Any]) -> Training:
    band = line["band"]
    return Training(
        str(line["at"]),
        dict(line["machine"]),
        dict(line["versions"]),
        int(line["threads"]),
        dict(line["settings"]),
        line["task"]["kind"],
        float(line["target"]),
        band,
        tuple(_run(run, band) for run in line["runs"]),
    )


def _run(given: Mapping[str, Any], band: Mapping[str, Any] | None) -> Trained:
    verdict, curve = given["band"] or {}, given["curve"]
    return Trained(
        str(given["backend"]),
        str(given["status"]),
        str(given["detail"]),
        math.nan if verdict.get("share") is None else float(verdict["share"]),
        int(verdict.get("gated_steps", 0)),
        {name: curve[name] for name in ("losses", "norms", "seconds", "scores")},
        given["epochs_to_target"],
        given["seconds_to_target"],
        float(given["warm_up_seconds"]),
        given["alone"],
        {
            name: _errors(curve[name], band["curve"][name])
            for name in ("losses", "norms")
            if band is not None
        },
    )


def _errors(values: list[float], expected: list[float]) -> list[float]:
    """Return |own − oracle's| / |oracle's| in float32's roundoff; at least a hundredth of it."""
    return [
        max(abs(own - exact) / abs(exact) / UNIT, SMALLEST)
        for own, exact in zip(values, expected, strict=False)
    ]


def _search(line: Mapping[str, Any]) -> Search:
    needed = ("slot", "value", "lr", "hidden_size", "layers", "dropout", "seconds", "diverged")
    return Search(
        str(line["at"]),
        str(line["study"]),
        dict(line["plan"]),
        int(line["failed"]),
        tuple({name: trial[name] for name in needed} for trial in line["trials"]),
        line["best"],
        line["test"],
    )
