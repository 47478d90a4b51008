"""asv's results and the records, joined: one row per commit × environment × benchmark × case.

``load_rows`` gives the frame, ``read_results`` also what could not be read, ``latest`` the rows of
each machine's newest commit. Columns:

machine, commit, date (of the commit), environment, python: where it ran
benchmark, group (``speed``), kind (``inference``), unit, version: what was measured
backend, cell, T, layers, directions, shape, cache: its parameters, missing ones None
params: all parameters as a tuple of (name, text); case: the same less backend and cell, in words
value, ci_a, ci_b (asv's 99 % interval of the median), n (samples), started_at
status, reason: see ``Status``; value is NaN unless the status is ok or unrecorded
parity, identity, facts (of the machine), profile, setup_seconds: from the record, else None
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
from asv import results as asv_results
from asv import util as asv_util

from rnnbench.judge.site.data.records import Record, Records, plain, read_records

PARAMETERS = ["backend", "cell", "T", "layers", "directions", "shape"]
FIRST_BACKENDS = ["native", "manual", "numba", "compile"]
NUMBERS = {"T", "layers", "directions"}
PREFIX = 8
"""Digits of the commit that the names of result and record files begin with."""
RESULT_FILE = re.compile(r"[0-9a-f]{8}-")
MEASURES = ["date", "value", "ci_a", "ci_b", "n", "started_at", "setup_seconds"]
COLUMNS = [
    *["machine", "commit", "date", "environment", "python"],
    *["benchmark", "group", "kind", "unit", "version"],
    *PARAMETERS,
    *["cache", "params", "case"],
    *["value", "ci_a", "ci_b", "n", "started_at"],
    *["status", "reason", "parity", "identity", "facts", "profile", "setup_seconds"],
]


class Status(StrEnum):
    """Why a case has its number, or has none."""

    OK = "ok"
    UNRECORDED = "unrecorded"  # a number, but the record that proves parity is lost
    UNSUPPORTED = "unsupported"  # the backend said that it does not do this case
    PARITY = "parity"  # failed parity: no time
    ERROR = "error"  # it broke
    MISSING = "missing"  # not measured: cut off, or not selected


MEASURED = [Status.OK, Status.UNRECORDED]
FAILED = [Status.PARITY, Status.ERROR, Status.MISSING]


@dataclass
class Loaded:
    """Rows, a sentence for each thing that could not be read, and asv's word on each machine."""

    rows: pd.DataFrame
    problems: list[str]
    machines: dict[str, dict[str, Any]]


def load_rows(results_dir: Path, benchmarks_json: Path | None = None) -> pd.DataFrame:
    """Every row below ``results_dir``; an empty frame with all columns where there is none."""
    return read_results(results_dir, benchmarks_json).rows


def latest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each machine's newest commit (by commit date, then by when it was measured)."""
    if rows.empty:
        return rows
    newest = rows.sort_values(["date", "started_at"], na_position="first", kind="stable")
    commits = newest.groupby("machine")["commit"].last()
    return rows[rows["commit"] == rows["machine"].map(commits)]


def backends(rows: pd.DataFrame) -> list[str]:
    """The backends measured, ours in the order in which they are always shown."""
    present = set(rows["backend"].dropna())
    known = [name for name in FIRST_BACKENDS if name in present]
    return known + sorted(present - set(known))


def groups(rows: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows by the values of ``columns``, in the order met; a missing value is an empty text."""
    filled = rows.fillna(dict.fromkeys(columns, ""))
    for key, group in filled.groupby(list(columns), sort=False):
        yield key if isinstance(key, tuple) else (key,), group


def read_results(
    results_dir: Path,
    benchmarks_json: Path | None = None,
    only: Collection[str] | None = None,
) -> Loaded:
    """Read results and records; what cannot be read becomes a problem, not an exception.

    ``only``: the commits of interest, by their first eight digits; all where it is None.
    """
    problems: list[str] = []
    benchmarks = read_benchmarks(benchmarks_json or results_dir / "benchmarks.json", problems)
    rows, found = read_rows(results_dir, benchmarks, only)
    problems = found + problems + unrecorded(int((rows["status"] == Status.UNRECORDED).sum()))
    return Loaded(rows, problems, read_machines(results_dir, problems))


def read_rows(
    results_dir: Path, benchmarks: Mapping[str, Any], only: Collection[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows, and what could not be read."""
    found, problems = read_figures(results_dir, benchmarks, only)
    return _frame([_described(figure, benchmarks) for figure in found]), problems


def read_figures(
    results_dir: Path, benchmarks: Mapping[str, Any], only: Collection[str] | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """What rows are made of, each with its ``record``; without benchmarks, of every version."""
    records = read_records(results_dir, only)
    problems = list(records.problems)
    found: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for path in result_files(results_dir):
        if only is not None and path.name[:PREFIX] not in only:
            continue
        try:
            results = asv_results.Results.load(str(path))
            found += _figures_of(results, benchmarks, records, seen)
        except (asv_util.UserError, OSError, ValueError, TypeError, KeyError, AttributeError) as e:
            problems.append(f"{path.relative_to(results_dir)} cannot be read: {_one_line(e)}")
    found += [_lost(key, records.by_case[key]) for key in records.by_case if key not in seen]
    return found, problems


def result_files(results_dir: Path) -> Iterator[Path]:
    """asv's result files, ``<machine>/<commit>-<environment>.json``; other tools keep theirs."""
    for path in sorted(results_dir.glob("*/*-*.json")):
        if RESULT_FILE.match(path.name):
            yield path


def read_benchmarks(path: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Names of parameters, units and versions, as asv last discovered them."""
    found = _read_object(path, problems)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def read_machines(results_dir: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """asv's description of each machine, by its name."""
    found = [_read_object(path, problems) for path in sorted(results_dir.glob("*/machine.json"))]
    return {str(machine.pop("machine", "")): machine for machine in found}


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        found = asv_util.load_json(str(path))
    except FileNotFoundError:
        return {}
    except (asv_util.UserError, OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {_one_line(error)}")
        return {}
    return found if isinstance(found, dict) else {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def unrecorded(count: int) -> list[str]:
    """The sentence on so many cases without a record."""
    if not count:
        return []
    return [f"{count} measured case(s) have no record: what ran, and its parity, is not known."]


def _frame(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Columns of objects, lest pandas turn None into NaN, but for the numbers."""
    whole = [{name: row.get(name) for name in COLUMNS} for row in found]
    rows = pd.DataFrame(whole, columns=COLUMNS, dtype=object)
    for name in MEASURES:
        rows[name] = rows[name].astype(float)
    # A lost row knows no commit date: take it from the commit's other rows.
    rows["date"] = rows["date"].fillna(rows.groupby("commit")["date"].transform("first"))
    return rows


def _figures_of(
    results: Any,
    benchmarks: Mapping[str, dict[str, Any]],
    records: Records,
    seen: set[tuple[Any, ...]],
) -> Iterator[dict[str, Any]]:
    """Those of one result file; keys of the cases it covers are added to ``seen``."""
    machine = results.params["machine"]
    host = _only_host(records, machine)
    named = {f"env-{name}": value for name, value in results.env_vars.items()}
    asv = {**results.params, **named}
    for name in _current(results, benchmarks):
        parameters = results.get_result_params(name) or []
        values = results.get_result_value(name, parameters)
        stats = results.get_result_stats(name, parameters)
        samples = results.get_result_samples(name, parameters)
        where = {
            "machine": machine,
            "commit": results.commit_hash,
            "date": results.date,
            "environment": results.env_name,
            "python": results.params.get("python"),
            "asv": asv,
            "started_at": results.started_at.get(name),
            "version": results.benchmark_version.get(name),
            "benchmark": name,
        }
        group = name.split(".")[0]
        for combination, value, stat, sample in zip(
            itertools.product(*parameters), values, stats, samples, strict=True
        ):
            texts = tuple(plain(text) for text in combination)
            key = (machine, results.commit_hash, results.env_name, name, texts)
            of_host = (host, *key[1:])
            seen.update((key, of_host))
            record = records.by_case.get(key) or records.by_case.get(of_host)
            yield {
                **where,
                "combination": texts,
                **_numbers(stat, sample),
                **_outcome(value, record, group),
                "record": record,
            }


def _described(figure: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> dict[str, Any]:
    """A figure with what was measured in words, and the parts of its record."""
    entry = benchmarks.get(figure["benchmark"], {})
    return {
        **figure,
        **_what(figure["benchmark"], entry),
        **_parameters(entry.get("param_names"), figure["combination"]),
        **_from_record(figure["record"]),
    }


def _only_host(records: Records, machine: str) -> str:
    """asv's machine may be called otherwise than its host; with one host there is no doubt."""
    return next(iter(records.hosts)) if len(records.hosts) == 1 else machine


def _current(results: Any, benchmarks: Mapping[str, dict[str, Any]]) -> list[str]:
    """Benchmarks of this file in the version of today; asv hides the others too."""
    if not benchmarks:
        return sorted(results.get_all_result_keys())
    return sorted(results.get_result_keys(benchmarks))


def _what(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Group and kind from a name such as ``speed.Inference.time_inference``."""
    parts = name.split(".")
    return {
        "benchmark": name,
        "group": parts[0],
        "kind": parts[1].lower() if len(parts) > 2 else parts[-1],
        "unit": entry.get("unit") or ("seconds" if parts[-1].startswith("time_") else ""),
    }


def _parameters(names: list[str] | None, values: tuple[str, ...]) -> dict[str, Any]:
    """Parameters under their own names, and the case they make in words."""
    if not names or len(names) != len(values):
        names = PARAMETERS if len(values) == len(PARAMETERS) else [f"p{i}" for i in range(9)]
    pairs = tuple(zip(names, values, strict=False))
    columns: dict[str, Any] = dict.fromkeys([*PARAMETERS, "cache"])
    columns.update({name: _number(name, text) for name, text in pairs if name in columns})
    return {**columns, "params": pairs, "case": _in_words(pairs)}


def _number(name: str, text: str) -> int | str:
    return int(text) if name in NUMBERS and text.isdecimal() else text


def _in_words(pairs: tuple[tuple[str, str], ...]) -> str:
    """``T=128, 2 layers, 1 direction, medium``."""
    words = []
    for name, text in pairs:
        if name in {"layers", "directions"}:
            words.append(f"{text} {name[:-1] if text == '1' else name}")
        elif name in {"shape", "cache"}:
            words.append(text)
        elif name not in {"backend", "cell"}:
            words.append(f"{name}={text}")
    return ", ".join(words)


def _numbers(stat: dict[str, Any] | None, samples: list[float] | None) -> dict[str, Any]:
    stat = stat or {}
    return {
        "ci_a": stat.get("ci_99_a", math.nan),
        "ci_b": stat.get("ci_99_b", math.nan),
        "n": len(samples) if samples else stat.get("repeat"),
    }


def _outcome(value: Any, record: Record | None, group: str) -> dict[str, Any]:
    """Status, reason and the value: a number only where nothing speaks against it."""
    number = float(value) if isinstance(value, int | float) else math.nan
    status, reason = _judge(value, number, record, group)
    return {
        "value": number if status in MEASURED else math.nan,
        "status": status,
        "reason": reason,
    }


def _judge(
    value: Any, number: float, record: Record | None, group: str
) -> tuple[Status, str | None]:
    if record is None:
        return _judge_unrecorded(value, number)
    reason = record.get("reason")
    # The record is the judge: a time that asv kept from before parity failed is not shown.
    if _failed_parity(record):
        return Status.PARITY, reason or "the result is not that of the oracle"
    if record["status"] != Status.OK:
        return Status(record["status"]), reason
    if math.isnan(number):
        return Status.ERROR, reason or "no value, though its set-up was good"
    if group == "speed" and not record.get("parity"):
        return Status.UNRECORDED, "the record holds no parity"
    return Status.OK, reason


def _judge_unrecorded(value: Any, number: float) -> tuple[Status, str]:
    if value is None:
        return Status.MISSING, "not measured, or it broke before it could say why"
    if math.isnan(number):
        return Status.UNSUPPORTED, "skipped; no record says why"
    return Status.UNRECORDED, "no record of what ran"


def _failed_parity(record: Record) -> bool:
    parity = record.get("parity")
    unproven = isinstance(parity, dict) and parity.get("passed") is not True
    return unproven or record["status"] == Status.PARITY


def _from_record(record: Record | None) -> dict[str, Any]:
    record = record or {}
    overhead = record.get("overhead")
    return {
        "parity": _dict_or_none(record.get("parity")),
        "identity": _dict_or_none(record.get("identity")),
        "facts": _dict_or_none(record.get("machine")),
        "profile": record.get("profile"),
        "setup_seconds": overhead.get("setup_seconds") if isinstance(overhead, dict) else None,
    }


def _dict_or_none(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _lost(key: tuple[Any, ...], record: Record) -> dict[str, Any]:
    """A case with a record of which asv saved no value: the run was cut off before it could."""
    machine, commit, environment, benchmark, params = key
    figure = {
        **{"machine": machine, "commit": commit, "environment": environment},
        **{"benchmark": benchmark, "combination": params, "record": record},
        **_outcome(None, record, benchmark.split(".")[0]),
    }
    if record["status"] == Status.OK and figure["status"] == Status.ERROR:
        figure.update(status=Status.MISSING, reason="cut off before asv saved its value")
    return figure
