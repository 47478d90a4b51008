"""Every figure ever measured, in columns: each commit's result files are parsed once.

The store is one file beside asv's results directory, ``<results_dir>.columns.npz``: what it holds
follows from the results, so that it can be deleted at any time. A commit's figures are parsed again
where one of its result or record files has another size or time than it had, or where the code
that parses has changed; a store that cannot be read is built anew.

A *visit* is one commit on one machine in one environment. A *case* is a benchmark in one of its
versions with the values of its parameters.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rnnbench.files import atomic
from rnnbench.judge.site.data import results
from rnnbench.judge.site.data.results import FAILED, MEASURED, PREFIX, Status

SUFFIX = ".columns.npz"
STATUSES = list(Status)
IN_PARALLEL = 16
"""Commits from which on processes of their own pay off."""
NOT_VERSIONS = ("threads_", "cores")
"""Facts of the machine that are settings of a run."""
FACTS = 5
"""Values of one fact that are kept where the records of a visit disagree."""
COLUMNS = {
    "visit": np.int32, "case": np.int32, "status": np.int8,
    "value": np.float64, "low": np.float64, "high": np.float64,
}  # fmt: skip
Columns = dict[str, np.ndarray[Any, Any]]
Stamp = list[list[Any]]


class Case(NamedTuple):
    """``params``: the values, as text; ``version`` is None where no result file knows it."""

    benchmark: str
    version: str | None
    params: tuple[str, ...]


@dataclass
class Visit:
    """One commit on one machine in one environment.

    date      of the commit, milliseconds; None where asv never saved a result of it
    asv       asv's parameters and variables of the environment, which name its graphs
    facts     the machine and the versions on it, from the records: one value or a list of those met
    """

    machine: str
    commit: str
    environment: str
    date: float | None = None
    measured_at: float | None = None
    python: str | None = None
    profiles: list[str] = field(default_factory=list)
    asv: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Counts:
    """Numbers of cases by what became of them; ``parity`` is among ``failed``."""

    measured: int
    unrecorded: int
    skipped: int
    failed: int
    parity: int


def counts(statuses: Collection[Status]) -> Counts:
    """Count cases by their status."""
    number = Counter(statuses)
    return Counts(
        measured=sum(number[status] for status in MEASURED),
        unrecorded=number[Status.UNRECORDED],
        skipped=number[Status.UNSUPPORTED],
        failed=sum(number[status] for status in FAILED),
        parity=number[Status.PARITY],
    )


@dataclass
class Part:
    """The contents of the files of one commit."""

    stamp: Stamp
    visits: list[Visit]
    cases: list[Case]
    columns: Columns
    problems: list[str]

    def statuses(self, visit: int) -> list[Status]:
        """Return the status of each case of a visit."""
        own = self.columns["status"][self.columns["visit"] == visit]
        return [STATUSES[code] for code in own]


@dataclass
class Store:
    """All parts by the first digits of their commits; ``parsed`` of them just now."""

    parts: dict[str, Part]
    parsed: int = 0

    @cached_property
    def visits(self) -> list[Visit]:
        return [visit for part in self.parts.values() for visit in part.visits]

    @cached_property
    def cases(self) -> list[Case]:
        """Every case met, in the order met."""
        return list(dict.fromkeys(case for part in self.parts.values() for case in part.cases))

    @property
    def problems(self) -> list[str]:
        """Return what could not be read, in the order of the files' names."""
        return sorted({problem for part in self.parts.values() for problem in part.problems})

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All figures: visit and case as indices into `visits` and `cases`, status as a number."""
        cases = {case: number for number, case in enumerate(self.cases)}
        columns = _joined(self.parts.values())
        visits = 0
        start = 0
        for part in self.parts.values():
            own = slice(start, start + len(part.columns["value"]))
            columns["visit"][own] += visits
            places = np.array([cases[case] for case in part.cases], dtype=np.int32)
            columns["case"][own] = places[part.columns["case"]] if len(places) else []
            visits, start = visits + len(part.visits), own.stop
        return pd.DataFrame(columns)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """Those of `frame` that have a value."""
        known = [STATUSES.index(status) for status in MEASURED]
        return self.frame[self.frame["status"].isin(known)]


def path(results_dir: Path) -> Path:
    """Return where the store of a results directory lies."""
    return results_dir.with_name(results_dir.name + SUFFIX)


def update(results_dir: Path, proven: tuple[str, ...] = (), processes: int | None = None) -> Store:
    """Return the store of all below ``results_dir`` now; only what changed is parsed.

    ``proven`` is that of `results.read`.
    """
    target = path(results_dir)
    known = _read(target, proven)
    stamps = _stamps(results_dir)
    stale = [name for name, stamp in stamps.items() if _stamp_of(known, name) != stamp]
    parse = partial(_parse, results_dir, proven)
    fresh = {
        name: Part(stamps[name], *found) for name, found in _parse_all(parse, stale, processes)
    }
    store = Store({name: fresh.get(name) or known[name] for name in stamps}, len(fresh))
    if fresh or set(known) != set(stamps):
        _write(target, store, proven)
    return store


def _stamp_of(known: Mapping[str, Part], name: str) -> Stamp | None:
    return known[name].stamp if name in known else None


def _stamps(results_dir: Path) -> dict[str, Stamp]:
    """Return a commit's first digits → name, size and time of each of its files."""
    found: defaultdict[str, Stamp] = defaultdict(list)
    for file in [*results.result_files(results_dir), *results.record_files(results_dir)]:
        about = file.stat()
        name = file.relative_to(results_dir).as_posix()
        found[file.name[:PREFIX]].append([name, about.st_size, about.st_mtime_ns])
    return dict(sorted(found.items()))


def _parse_all(parse: Any, stale: list[str], processes: int | None) -> Iterator[tuple[str, Any]]:
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1 or len(stale) < IN_PARALLEL:
        yield from zip(stale, map(parse, stale), strict=True)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from zip(stale, pool.map(parse, stale, chunksize=4), strict=True)


def _parse(
    results_dir: Path, proven: tuple[str, ...], name: str
) -> tuple[list[Visit], list[Case], Columns, list[str]]:
    """Return all fields of a commit's `Part` but its stamp."""
    figures, problems = results.read(results_dir, {name}, proven)
    visits: dict[tuple[str, ...], Visit] = {}
    numbers: dict[tuple[str, ...], int] = {}
    cases: dict[Case, int] = {}
    rows = []
    for figure in figures:
        where = (figure["machine"], figure["commit"], figure["environment"])
        _note(visits.setdefault(where, Visit(*where)), figure)
        case = Case(figure["benchmark"], figure.get("version"), figure["combination"])
        rows.append(
            (
                numbers.setdefault(where, len(numbers)),
                cases.setdefault(case, len(cases)),
                STATUSES.index(figure["status"]),
                figure["value"],
                figure.get("ci_a"),
                figure.get("ci_b"),
            )
        )
    for visit in visits.values():
        visit.facts = {
            fact: met[0] if len(met) == 1 else met for fact, met in visit.facts.items() if met
        }
    columns = {
        column: np.array([math.nan if row[n] is None else row[n] for row in rows], dtype=kind)
        for n, (column, kind) in enumerate(COLUMNS.items())
    }
    return list(visits.values()), list(cases), columns, problems


def _note(visit: Visit, figure: Mapping[str, Any]) -> None:
    """Add what one figure tells of its visit."""
    if figure.get("date") is not None:
        visit.date, visit.python, visit.asv = figure["date"], figure["python"], figure["asv"]
    started = figure.get("started_at")
    if started is not None:
        visit.measured_at = max(visit.measured_at or 0.0, started)
    record = figure["record"] or {}
    profile = record.get("profile")
    if profile is not None and profile not in visit.profiles:
        visit.profiles.append(profile)
    facts = record.get("machine")
    if not isinstance(facts, dict):
        return
    for name, value in facts.items():
        known = visit.facts.setdefault(name, [])
        told = isinstance(value, str | int | float) and value != "" and len(known) < FACTS
        if told and value not in known and not name.startswith(NOT_VERSIONS):
            known.append(value)


def _joined(parts: Collection[Part]) -> Columns:
    return {
        name: np.concatenate([np.empty(0, kind), *(part.columns[name] for part in parts)])
        for name, kind in COLUMNS.items()
    }


def _code(proven: tuple[str, ...]) -> str:
    """Return a digest of the code that parses, and of what it is given."""
    files = [Path(results.__file__), Path(__file__)]
    texts = [*(file.read_bytes() for file in files), repr(proven).encode()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _write(target: Path, store: Store, proven: tuple[str, ...]) -> None:
    """Write it whole or not at all."""
    facts: dict[str, int] = {}
    cases = {case: number for number, case in enumerate(store.cases)}

    def once(value: Any) -> int:
        return facts.setdefault(json.dumps(value), len(facts))

    parts = {
        name: {
            "stamp": part.stamp,
            "problems": part.problems,
            "cases": [cases[case] for case in part.cases],
            "length": len(part.columns["value"]),
            "visits": [
                asdict(visit) | {"asv": once(visit.asv), "facts": once(visit.facts)}
                for visit in part.visits
            ],
        }
        for name, part in store.parts.items()
    }
    about = {"code": _code(proven), "cases": list(cases), "parts": parts, "facts": list(facts)}
    with atomic.replacing(target) as part_file, part_file.open("wb") as stream:
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez(stream, allow_pickle=False, about=text, **_joined(store.parts.values()))


def _read(target: Path, proven: tuple[str, ...]) -> dict[str, Part]:
    """Return the parts as they were written; none where the file is missing, broken or outdated."""
    try:
        with np.load(target, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["code"] != _code(proven):
                return {}
            columns = {name: file[name].astype(kind) for name, kind in COLUMNS.items()}
        cases = [Case(name, version, tuple(params)) for name, version, params in about["cases"]]
        facts = [json.loads(text) for text in about["facts"]]
        parts, start = {}, 0
        for name, given in about["parts"].items():
            end = start + given["length"]
            visits = [
                Visit(**visit | {"asv": facts[visit["asv"]], "facts": facts[visit["facts"]]})
                for visit in given["visits"]
            ]
            own = {key: column[start:end] for key, column in columns.items()}
            if any(len(column) != given["length"] for column in own.values()):
                return {}
            known = [cases[number] for number in given["cases"]]
            parts[name] = Part(given["stamp"], visits, known, own, given["problems"])
            start = end
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile):
        return {}
    return parts
