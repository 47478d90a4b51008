"""Facts of a run: what ran, where, what has no number, and the control kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.data.rows import groups
from reports.sections.speed import BAD, WORDS
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.results import MEASURED
from rnnbench.judge.site.data.store import Store
from rnnbench.judge.site.html import text

SHORT = 60


@dataclass(frozen=True)
class Absence:
    """Cases of one backend and cell that have no number for the same reason."""

    words: str
    bad: bool
    benchmark: str
    backend: str
    cell: str
    cases: list[str]
    reason: str


@dataclass(frozen=True)
class Identity:
    """Kernels that really ran for a backend and cell; ``long`` values are shown on request."""

    backend: str
    cell: str
    results: int
    kernel: str
    short: dict[str, str]
    long: dict[str, str]


def absences(rows: pd.DataFrame) -> list[Absence]:
    """Return what was skipped or failed and why, failures first."""
    without = rows[~rows["status"].isin(MEASURED)]
    keys = ("status", "benchmark", "backend", "cell", "reason")
    found = [
        Absence(WORDS[status], status in BAD, benchmark, backend, cell, list(group["case"]), reason)
        for (status, benchmark, backend, cell, reason), group in groups(without, *keys)
    ]
    return sorted(found, key=lambda absence: (not absence.bad, absence.words))


def identities(rows: pd.DataFrame, series: Mapping[str, int]) -> list[Identity]:
    """Return what really ran, per backend and cell."""
    known = rows[rows["identity"].notna() & rows["backend"].notna()]
    found = []
    for (backend, cell), group in groups(known, "backend", "cell"):
        values: dict[str, list[Any]] = {}
        for identity in group["identity"]:
            for name, value in identity.items():
                values.setdefault(name, []).append(value)
        met = {name: _met(entries) for name, entries in values.items()}
        kernel = met.pop("kernel", text.NONE)
        short = {name: value for name, value in met.items() if len(value) <= SHORT}
        long = {name: value for name, value in met.items() if len(value) > SHORT}
        found.append(Identity(backend, cell, len(group), kernel, short, long))
    return sorted(found, key=lambda identity: series[identity.backend])


def environment(rows: pd.DataFrame, machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the machine in full: asv's description first, then the records' own facts."""
    met: dict[str, list[Any]] = {
        f"asv machine: {name}": [_readable(name, value)]
        for name, value in machine.items()
        if value not in ("", None) and name not in {"machine", "version"}
    }
    for facts in rows["facts"].dropna():
        for name, value in facts.items():
            if value not in (None, ""):
                met.setdefault(name, []).append(value)
    return [(name, _met(values)) for name, values in met.items()]


def _readable(name: str, value: Any) -> str:
    """Return asv's memory with its unit: a number of bytes, unless written by hand."""
    bytes_of = name == "ram" and str(value).isdecimal()
    return text.quantity(float(value), "bytes") if bytes_of else str(value)


def control(
    known: Store, commits: Mapping[str, Commit], newest: int
) -> dict[str, list[tuple[Any, ...]]]:
    """Return machine → the control kernel in its newest visits, against the median of all."""
    cases, visits = known.cases, known.visits
    figures = known.frame
    own = [n for n, case in enumerate(cases) if case.benchmark.startswith("control.")]
    figures = figures[figures["case"].isin(own) & figures["value"].notna()]
    machine = pd.Series([visits[visit].machine for visit in figures["visit"]], dtype=object)
    figures = figures.assign(machine=machine.to_numpy())
    medians = figures.groupby(["machine", "case"])["value"].transform("median")
    figures = figures.assign(drift=figures["value"] / medians - 1)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for line in figures.to_dict("records"):
        visit, case = visits[line["visit"]], cases[line["case"]]
        value = text.quantity(line["value"], "seconds")
        span = text.interval(line["low"], line["high"], "seconds")
        drift = f"{line['drift']:+.1%}".replace("-", "−")
        name = f"{case.benchmark} {', '.join(case.params)}".rstrip()
        found.setdefault(visit.machine, []).append(
            (commits[visit.commit], visit, name, line["value"], value, span, drift)
        )
    for lines in found.values():
        lines.sort(key=lambda line: (line[1].date or 0, line[1].measured_at or 0), reverse=True)
        del lines[newest:]
    return found


def _met(values: list[Any]) -> str:
    """Return equal values once; numbers that vary as a span; else all, in the order met."""
    distinct = list(dict.fromkeys(_plain(value) for value in values))
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(distinct) > 1 and len(numbers) == len(values):
        return f"{_plain(min(numbers))}–{_plain(max(numbers))}"
    return ", ".join(distinct)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(entry) for entry in value)
    if isinstance(value, float):
        return text.number(value)
    return str(value)
