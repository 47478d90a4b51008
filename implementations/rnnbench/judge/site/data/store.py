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
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rnnbench.judge.site.data import records
from reports.data import rows
from reports.data.rows import MEASURED, PREFIX, Status

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
class Part:
    """What the files of one commit hold."""

    stamp: Stamp
    visits: list[Visit]
    cases: list[Case]
    columns: Columns
    problems: list[str]


@dataclass
class Store:
    """All parts by the first digits of their commits; ``parsed`` of them just now."""

    parts: dict[str, Part]
    parsed: int = 0

    @cached_property
    def visits(self) -> list[Visit]:
        return [visit for part in self.parts.values() for visit in part.visits]

    @property
    def problems(self) -> list[str]:
        """What could not be read, in the order of the files' names."""
        return sorted({problem for part in self.parts.values() for problem in part.problems})

    def counts(self, status: Status) -> int:
        """Figures of one status."""
        code = STATUSES.index(status)
        return int(sum((part.columns["status"] == code).sum() for part in self.parts.values()))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All figures: visit and case as indices into `visits` and `cases`, status as a number."""
        offsets = _offsets(self.parts.values())
        cases = {case: number for number, case in enumerate(self.cases)}
        found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for part, offset in zip(self.parts.values(), offsets, strict=True):
            places = np.array([cases[case] for case in part.cases], dtype=np.int32)
            found["visit"].append(part.columns["visit"] + offset)
            found["case"].append(places[part.columns["case"]] if len(places) else places)
            for name in ("status", "value", "low", "high"):
                found[name].append(part.columns[name])
        return pd.DataFrame(
            {
                name: np.concatenate(columns) if columns else np.empty(0, dtype=COLUMNS[name])
                for name, columns in found.items()
            }
        )

    @cached_property
    def cases(self) -> list[Case]:
        """Every case met, in the order met."""
        return list(dict.fromkeys(case for part in self.parts.values() for case in part.cases))


def path(results_dir: Path) -> Path:
    """Where the store of a results directory lies."""
    return results_dir.with_name(results_dir.name + SUFFIX)


def update(results_dir: Path, processes: int | None = None) -> Store:
    """The store of all that lies below ``results_dir`` now; only what changed is parsed."""
    target = path(results_dir)
    known = _read(target)
    stamps = _stamps(results_dir)
    stale = [name for name, stamp in stamps.items() if _stamp_of(known, name) != stamp]
    fresh = dict(_parse_all(results_dir, stale, stamps, processes))
    store = Store({name: fresh.get(name) or known[name] for name in stamps}, len(fresh))
    if fresh or set(known) != set(stamps):
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, store)
    return store


def _stamp_of(known: Mapping[str, Part], name: str) -> Stamp | None:
    return known[name].stamp if name in known else None


def _stamps(results_dir: Path) -> dict[str, Stamp]:
    """Commit's first digits → name, size and time of each of its files."""
    found: defaultdict[str, Stamp] = defaultdict(list)
    for file in [*rows.result_files(results_dir), *records.record_files(results_dir)]:
        about = file.stat()
        name = file.relative_to(results_dir).as_posix()
        found[file.name[:PREFIX]].append([name, about.st_size, about.st_mtime_ns])
    return dict(sorted(found.items()))


def _parse_all(
    results_dir: Path, stale: list[str], stamps: Mapping[str, Stamp], processes: int | None
) -> Iterator[tuple[str, Part]]:
    given = [(results_dir, name, stamps[name]) for name in stale]
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1 or len(stale) < IN_PARALLEL:
        parts: Iterable[Part] = map(_parse, given)
        yield from zip(stale, parts, strict=True)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from zip(stale, pool.map(_parse, given, chunksize=4), strict=True)


def _parse(given: tuple[Path, str, Stamp]) -> Part:
    results_dir, name, stamp = given
    figures, problems = rows.read_figures(results_dir, {}, {name})
    visits: dict[tuple[str, ...], Visit] = {}
    numbers: dict[tuple[str, ...], int] = {}
    cases: dict[Case, int] = {}
    columns: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    for figure in figures:
        where = (figure["machine"], figure["commit"], figure["environment"])
        _note(visits.setdefault(where, Visit(*where)), figure)
        case = Case(figure["benchmark"], figure.get("version"), figure["combination"])
        columns["visit"].append(numbers.setdefault(where, len(numbers)))
        columns["case"].append(cases.setdefault(case, len(cases)))
        columns["status"].append(STATUSES.index(figure["status"]))
        columns["value"].append(figure["value"])
        columns["low"].append(figure.get("ci_a", math.nan))
        columns["high"].append(figure.get("ci_b", math.nan))
    for visit in visits.values():
        visit.facts = {
            fact: met[0] if len(met) == 1 else met for fact, met in visit.facts.items() if met
        }
    arrays = {
        column: np.array([math.nan if v is None else v for v in columns[column]], dtype=kind)
        for column, kind in COLUMNS.items()
    }
    return Part(stamp, list(visits.values()), list(cases), arrays, problems)


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


def _offsets(parts: Iterable[Part]) -> list[int]:
    offsets, total = [], 0
    for part in parts:
        offsets.append(total)
        total += len(part.visits)
    return offsets


def _code() -> str:
    """Digest of the code that parses."""
    files = [Path(module.__file__ or "") for module in (rows, records)]
    texts = [file.read_bytes() for file in [*files, Path(__file__)]]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _write(target: Path, store: Store) -> None:
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
    about = {"code": _code(), "cases": list(cases), "parts": parts, "facts": list(facts)}
    columns: Columns = {
        name: np.concatenate(
            [np.empty(0, kind), *(part.columns[name] for part in store.parts.values())]
        )
        for name, kind in COLUMNS.items()
    }
    part_file = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with part_file.open("wb") as stream:
            text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
            np.savez(stream, allow_pickle=False, about=text, **columns)
        part_file.replace(target)
    finally:
        part_file.unlink(missing_ok=True)


def _read(target: Path) -> dict[str, Part]:
    """The parts as they were written; none where the file is missing, broken or of other code."""
    try:
        with np.load(target, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["code"] != _code():
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


def measured(status: Collection[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of the status numbers stand for a figure."""
    return np.isin(np.asarray(status), [STATUSES.index(one) for one in MEASURED])
