"""Each case's figures over the commits of a machine, and since when they are what they are.

Machines are never mixed. A commit measured in several environments of one machine counts with what
was measured last.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rnnbench.judge.history import WINDOW, Change, Series, changes
from rnnbench.judge.site.data.results import is_current, plain
from rnnbench.judge.site.data.store import Case, Store, Visit

CONTROL = "control."
Values = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[str, tuple[str, ...]]
"""A benchmark and the values of its parameters."""


@dataclass
class Machine:
    """One machine: its visits in the order of the commits, and a column of figures per case."""

    name: str
    visits: list[Visit]
    places: dict[Key, int]
    values: Values
    low: Values
    high: Values

    def of(self, key: Key) -> tuple[Values, Values, Values] | None:
        """Return figures and bounds of their intervals over the visits; NaN where there is none."""
        place = self.places.get(key)
        if place is None:
            return None
        return self.values[:, place], self.low[:, place], self.high[:, place]

    @cached_property
    def control(self) -> Values | None:
        """Figures of the frozen kernel that no commit can change."""
        own = sorted(key for key in self.places if key[0].startswith(CONTROL))
        return self.values[:, self.places[own[0]]] if own else None


@dataclass(frozen=True)
class Since:
    """A case, the last change of its level, and the visits that it may have begun in."""

    key: Key
    change: Change
    last_before: Visit
    suspects: tuple[Visit, ...]


@dataclass(frozen=True)
class Changed:
    """A fact that is another at this commit than at the one measured before it."""

    visit: Visit
    name: str
    before: str
    after: str

    @property
    def words(self) -> str:
        return f"{self.name} {self.before} → {self.after}"


def key(benchmark: str, params: tuple[tuple[str, str], ...]) -> Key:
    """Return the key of a case in a verdict, whose values are in asv's words or as they are."""
    return benchmark, tuple(plain(value) for _, value in params)


def machines(
    known: Store, revisions: Mapping[str, int], benchmarks: Mapping[str, Any]
) -> dict[str, Machine]:
    """Return every machine by its name, with the commits that git knows, oldest first."""
    visits, cases = known.visits, known.cases
    current = [
        number
        for number, case in enumerate(cases)
        if is_current(case.benchmark, case.version, benchmarks)
    ]
    figures = known.measured[known.measured["case"].isin(current)]
    found = {}
    for name in sorted({visit.machine for visit in visits}):
        own = [
            number
            for number, visit in enumerate(visits)
            if visit.machine == name and visit.commit in revisions
        ]
        found[name] = _machine(name, own, visits, cases, figures, revisions)
    return found


def _machine(
    name: str,
    own: list[int],
    visits: list[Visit],
    cases: list[Case],
    figures: pd.DataFrame,
    revisions: Mapping[str, int],
) -> Machine:
    """Return a row per commit, filled in the order of measuring, so that the last figure stays."""
    commits = sorted(
        {visits[number].commit for number in own}, key=lambda commit: revisions[commit]
    )
    rows = {commit: number for number, commit in enumerate(commits)}
    newest: list[Visit | None] = [None] * len(commits)
    ordered = sorted(own, key=lambda number: visits[number].measured_at or 0.0)
    row_of = np.full(len(visits), -1)
    rank_of = np.zeros(len(visits), dtype=int)
    for rank, number in enumerate(ordered):
        row_of[number], rank_of[number] = rows[visits[number].commit], rank
        newest[rows[visits[number].commit]] = visits[number]
    mine = figures[row_of[figures["visit"]] >= 0]
    mine = mine.iloc[np.argsort(rank_of[mine["visit"]], kind="stable")]
    used = np.unique(mine["case"])
    places: dict[Key, int] = {}
    column_of = np.zeros(len(cases), dtype=int)
    for number in used:
        case = cases[number]
        column_of[number] = places.setdefault((case.benchmark, case.params), len(places))
    at = (row_of[mine["visit"]], column_of[mine["case"]])
    columns = []
    for column in ("value", "low", "high"):
        table = np.full((len(commits), len(places)), np.nan)
        table[at] = mine[column]
        columns.append(table)
    return Machine(name, [visit for visit in newest if visit], places, *columns)


def since(machine: Machine) -> list[Since]:
    """Return the last change of each case's level in the last nights, the worst first."""
    recent = slice(max(len(machine.visits) - WINDOW, 0), None)
    visits = machine.visits[recent]
    control = None if machine.control is None else _list(machine.control[recent])
    found = []
    for case, place in machine.places.items():
        values = machine.values[recent, place]
        if case[0].startswith(CONTROL) or not np.all((values > 0) | np.isnan(values)):
            continue
        met = changes(Series(_list(values), control))
        if met:
            last = met[-1]
            suspects = tuple(visits[last.earliest : last.latest + 1])
            found.append(Since(case, last, visits[max(last.earliest - 1, 0)], suspects))
    return sorted(found, key=lambda one: -one.change.ratio)


def environment_changes(machine: Machine) -> list[list[Changed]]:
    """Return for each visit what changed since the last one that knows the fact."""
    known: dict[str, Any] = {}
    found = []
    for visit in machine.visits:
        facts = {**visit.facts, "asv's environment": visit.environment}
        found.append(
            [
                Changed(visit, name, in_words(known[name]), in_words(value))
                for name, value in facts.items()
                if name in known and known[name] != value
            ]
        )
        known |= facts
    return found


def in_words(fact: Any) -> str:
    """Return a fact's value, or all of them where the records of a visit disagree."""
    return ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)


def _list(values: Values) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def grid(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the cases of a benchmark of today, in asv's order."""
    axes = [[plain(value) for value in values] for values in entry["params"]]
    return list(itertools.product(*axes))
