"""Everything that is not a figure of speed: what ran, where, what has no number, the control."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import text
from .commits import Commit
from .rows import FAILED, MEASURED, Status, groups
from .speed import BAD, WORDS

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
    """What really ran for one backend and cell; ``long`` values are shown on request."""

    backend: str
    cell: str
    results: int
    kernel: str
    short: dict[str, str]
    long: dict[str, str]


@dataclass
class Counts:
    """How many cases were measured, skipped and failed; ``parity`` is among ``failed``."""

    measured: int
    unrecorded: int
    skipped: int
    failed: int
    parity: int


@dataclass
class Visit:
    """One commit on one machine, for the history; ``first`` where the commit is met first."""

    commit: Commit
    machine: str
    date: float
    measured_at: float
    counts: Counts
    first: bool = False


def counts(rows: pd.DataFrame) -> Counts:
    """Count the rows by status."""
    status = rows["status"]
    return Counts(
        measured=int(status.isin(MEASURED).sum()),
        unrecorded=int((status == Status.UNRECORDED).sum()),
        skipped=int((status == Status.UNSUPPORTED).sum()),
        failed=int(status.isin(FAILED).sum()),
        parity=int((status == Status.PARITY).sum()),
    )


def absences(rows: pd.DataFrame) -> list[Absence]:
    """What was skipped or failed and why, failures first."""
    without = rows[~rows["status"].isin(MEASURED)]
    keys = ("status", "benchmark", "backend", "cell", "reason")
    found = [
        Absence(WORDS[status], status in BAD, benchmark, backend, cell, list(group["case"]), reason)
        for (status, benchmark, backend, cell, reason), group in groups(without, *keys)
    ]
    return sorted(found, key=lambda absence: (not absence.bad, absence.words))


def identities(rows: pd.DataFrame, series: Mapping[str, int]) -> list[Identity]:
    """What really ran, per backend and cell."""
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
    """The machine in full: asv's description first, the records' own facts over it."""
    met: dict[str, list[Any]] = {
        f"asv machine: {name}": [_readable(name, value)]
        for name, value in machine.items()
        if value not in ("", None) and name != "version"
    }
    for facts in rows["facts"].dropna():
        for name, value in facts.items():
            if value not in (None, ""):
                met.setdefault(name, []).append(value)
    return [(name, _met(values)) for name, values in met.items()]


def _readable(name: str, value: Any) -> str:
    """asv keeps the memory as a number of bytes, unless somebody wrote it by hand."""
    bytes_of = name == "ram" and str(value).isdecimal()
    return text.quantity(float(value), "bytes") if bytes_of else str(value)


def control(rows: pd.DataFrame, machine: str, commits: Mapping[str, Commit]) -> list[Any]:
    """The frozen kernel on this machine, commit by commit, against the median of all of them."""
    own = rows[(rows["group"] == "control") & (rows["machine"] == machine) & rows["value"].notna()]
    lines = own.sort_values(["date", "started_at"], ascending=False).to_dict("records")
    medians = own.groupby(["benchmark", "case"])["value"].median()
    found = []
    for line in lines:
        drift = line["value"] / medians[(line["benchmark"], line["case"])] - 1
        value = text.quantity(line["value"], line["unit"])
        span = text.interval(line["ci_a"], line["ci_b"], line["unit"])
        found.append(
            (commits[line["commit"]], line, value, span, f"{drift:+.1%}".replace("-", "−"))
        )
    return found


def history(rows: pd.DataFrame, commits: Mapping[str, Commit]) -> list[Visit]:
    """Every measured commit of every machine, newest first."""
    visits = [
        Visit(
            commit=commits[commit],
            machine=machine,
            date=_first(group["date"]),
            measured_at=_last(group["started_at"]),
            counts=counts(group),
        )
        for (commit, machine), group in groups(rows, "commit", "machine")
    ]
    visits.sort(key=lambda visit: (visit.date, visit.measured_at), reverse=True)
    met: set[str] = set()
    for visit in visits:
        visit.first = visit.commit.hash not in met
        met.add(visit.commit.hash)
    return visits


def _first(dates: pd.Series[float]) -> float:
    return float(dates.iloc[0]) if dates.notna().any() else -math.inf


def _last(moments: pd.Series[float]) -> float:
    return float(moments.max()) if moments.notna().any() else -math.inf


def _met(values: list[Any]) -> str:
    """Equal values once; numbers that vary as a span; else all, in the order met."""
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
