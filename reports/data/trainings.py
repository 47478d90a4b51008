"""What ``rnnbench train --save`` and ``rnnbench search --save`` left beside asv's results.

Read are ``<results_dir>/training/<host>.jsonl``, of which the newest line of the same settings
counts, and ``<results_dir>/search/<host>.jsonl``, of which the newest of a study does. What cannot
be read becomes a problem in words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnbench.judge.site.data.records import json_lines

SCHEMA = 1
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
        """The last on the test part; NaN without one."""
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
        """The settings but for those: what two calls that differ in them only have in common."""
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


def read(results_dir: Path) -> tuple[list[Machine], list[str]]:
    """Machines by the names of their hosts, and a sentence for each file with broken lines."""
    machines: dict[str, Machine] = {}
    problems: list[str] = []

    def newest(folder: str, parse: Callable[[Any], Any], key: Callable[[Any], str]) -> None:
        for path in sorted((results_dir / folder).glob("*.jsonl")):
            found = [parse(line) for line in json_lines(path)]
            broken = sum(one is None for one in found)
            if broken:
                problems.append(f"{folder}/{path.name}: {broken} broken line(s) passed over.")
            kept = {key(one): one for one in found if one is not None}
            machine = machines.setdefault(path.stem, Machine(path.stem))
            (machine.trainings if folder == TRAINING else machine.searches).extend(kept.values())

    newest(TRAINING, _training, lambda one: json.dumps(one.settings, sort_keys=True))
    newest(SEARCH, _search, lambda one: str(one.study))
    return [machines[host] for host in sorted(machines)], problems


def _training(line: Mapping[str, Any] | None) -> Training | None:
    """None for a line of another schema, or one that lacks something."""
    try:
        if line is None or line["schema"] != SCHEMA:
            return None
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
    except (KeyError, TypeError, ValueError):
        return None


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
    """|own − oracle's| / |oracle's| in units of float32's roundoff; at least a hundredth of one."""
    return [
        max(abs(own - exact) / abs(exact) / UNIT, SMALLEST)
        for own, exact in zip(values, expected, strict=False)
    ]


def _search(line: Mapping[str, Any] | None) -> Search | None:
    """None for a line of another schema, or one that lacks something."""
    try:
        if line is None or line["schema"] != SCHEMA:
            return None
        needed = ("slot", "value", "lr", "hidden_size", "layers", "dropout", "seconds", "diverged")
        trials = tuple({name: trial[name] for name in needed} for trial in line["trials"])
        return Search(
            str(line["at"]),
            str(line["study"]),
            dict(line["plan"]),
            int(line["failed"]),
            trials,
            line["best"],
            line["test"],
        )
    except (KeyError, TypeError, ValueError):
        return None
