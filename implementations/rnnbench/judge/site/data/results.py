"""asv's results joined with the records that the benchmarks keep: one figure per measured case.

asv's are ``<results_dir>/<machine>/<commit>-<environment>.json``. Records, a JSON object per line
of ``<results_dir>/records/<host>/<commit>-<environment>.jsonl``, say what ran and why a case has no
number; a suite may have none. A figure is a mapping:

machine, commit, environment, benchmark, version, combination (the values of its parameters as text)
date (of the commit), python, asv (its parameters and variables of the environment), started_at
value, ci_a, ci_b (asv's 99 % interval of the median), n (samples)
status, reason: see `Status`; value is NaN unless the status is in `MEASURED`
record: as it was written, or None
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from asv import results as asv_results
from asv import util as asv_util

from rnnbench.files import jsonl

PREFIX = 8
"""Digits of the commit that the names of result and record files begin with."""
RESULT_FILE = re.compile(r"[0-9a-f]{8}-")
SCHEMA = 1
"""Of a record."""

Record = dict[str, Any]
Key = tuple[str, str, str, str, tuple[str, ...]]
"""Machine or host, commit, environment, benchmark, values of its parameters."""


class Status(StrEnum):
    """Why a case has its number, or has none."""

    OK = "ok"
    UNRECORDED = "unrecorded"  # a number, but the record that proves it is lost
    UNSUPPORTED = "unsupported"  # the benchmark said that it does not do this case
    PARITY = "parity"  # its result was checked and is wrong: no time
    ERROR = "error"  # it broke
    MISSING = "missing"  # not measured: cut off, or not selected


MEASURED = [Status.OK, Status.UNRECORDED]
FAILED = [Status.PARITY, Status.ERROR, Status.MISSING]
RECORDED = {Status.OK, Status.UNSUPPORTED, Status.PARITY, Status.ERROR}


@dataclass
class Records:
    """The last record of each case, and what could not be read."""

    by_case: dict[Key, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    """Names of the machines that wrote records, whichever of them were read."""


@cache
def plain(parameter: str) -> str:
    """Return a parameter as records have it, its ``str``; asv stores its ``repr``."""
    text = str(parameter)
    if text[:1] in {"'", '"'}:
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return text
    return text


def is_current(benchmark: str, version: str | None, benchmarks: Mapping[str, Any]) -> bool:
    """Return whether a figure is of the version that the suite has today: asv shows no other."""
    if benchmark not in benchmarks:
        return not benchmarks
    return version in (None, benchmarks[benchmark].get("version"))


def read(
    results_dir: Path, only: Collection[str] | None = None, proven: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the figures of every version of each benchmark, and what could not be read.

    only    the commits of interest, by their first eight digits; all where it is None
    proven  beginnings of the names of benchmarks that have no value without a passed check
    """
    records = read_records(results_dir, only)
    problems = list(records.problems)
    found: list[dict[str, Any]] = []
    seen: set[Key] = set()
    for path in result_files(results_dir):
        if only is not None and path.name[:PREFIX] not in only:
            continue
        try:
            results = asv_results.Results.load(str(path))
            found += _figures_of(results, records, seen, proven)
        except (asv_util.UserError, OSError, ValueError, TypeError, KeyError, AttributeError) as e:
            problems.append(f"{path.relative_to(results_dir)} cannot be read: {_one_line(e)}")
    found += [_lost(key, record) for key, record in records.by_case.items() if key not in seen]
    return found, problems


def result_files(results_dir: Path) -> list[Path]:
    """Return asv's result files; files of other tools beside them are left out."""
    found = sorted(results_dir.glob("*/*-*.json"))
    return [path for path in found if RESULT_FILE.match(path.name)]


def record_files(results_dir: Path) -> list[Path]:
    """Return the files of records."""
    return sorted(results_dir.glob("records/*/*.jsonl"))


def read_benchmarks(results_dir: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return names of parameters, units and versions, as asv last discovered them."""
    found = _read_object(results_dir / "benchmarks.json", problems)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def read_machines(results_dir: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return asv's description of each machine, by its name."""
    found = [_read_object(path, problems) for path in sorted(results_dir.glob("*/machine.json"))]
    return {str(machine.get("machine", "")): machine for machine in found}


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return a JSON object, empty where there is none."""
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


def read_records(results_dir: Path, only: Collection[str] | None = None) -> Records:
    """Read every file of records, or ``only`` those of commits that begin so."""
    records = Records()
    for path in record_files(results_dir):
        if only is not None and path.name[:PREFIX] not in only:
            records.hosts.add(path.parent.name)
            continue
        broken = 0
        for record in jsonl.read(path, SCHEMA):
            key = None if isinstance(record, str) else _key(record)
            if key is None or isinstance(record, str):
                broken += 1
            else:
                records.by_case[key] = record
                records.hosts.add(key[0])
        if broken:
            where = path.relative_to(results_dir)
            records.problems.append(f"{where}: {broken} broken record(s) passed over.")
    return records


def _key(record: Record) -> Key | None:
    """Return the record's case, or None for a record with a field missing."""
    texts = [record.get(name) for name in ("host", "commit", "environment", "benchmark")]
    whole = all(isinstance(text, str) for text in texts) and isinstance(record.get("params"), list)
    if not whole or record.get("status") not in RECORDED:
        return None
    host, commit, environment, benchmark = map(str, texts)
    return host, commit, environment, benchmark, tuple(map(plain, record["params"]))


def _figures_of(
    results: Any, records: Records, seen: set[Key], proven: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield those of one result file; keys of the cases it covers are added to ``seen``."""
    machine = results.params["machine"]
    # asv's machine may be called otherwise than its host; with one host there is no doubt.
    host = next(iter(records.hosts)) if len(records.hosts) == 1 else machine
    asv = results.params | {f"env-{name}": value for name, value in results.env_vars.items()}
    for name in sorted(results.get_all_result_keys()):
        parameters = results.get_result_params(name) or []
        of_file = {
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
        for combination, value, stat, sample in zip(
            itertools.product(*parameters),
            results.get_result_value(name, parameters),
            results.get_result_stats(name, parameters),
            results.get_result_samples(name, parameters),
            strict=True,
        ):
            texts = tuple(map(plain, combination))
            key = (machine, results.commit_hash, results.env_name, name, texts)
            of_host = (host, *key[1:])
            seen.update((key, of_host))
            record = records.by_case.get(key) or records.by_case.get(of_host)
            bounds = stat or {}
            yield {
                **of_file,
                "combination": texts,
                "ci_a": bounds.get("ci_99_a", math.nan),
                "ci_b": bounds.get("ci_99_b", math.nan),
                "n": len(sample) if sample else bounds.get("repeat"),
                **_outcome(value, record, name.startswith(proven)),
            }


def _outcome(value: Any, record: Record | None, needs_proof: bool) -> dict[str, Any]:
    """Return status, reason and the value: a number only where nothing speaks against it."""
    number = float(value) if isinstance(value, int | float) else math.nan
    if record is None:
        status, reason = _judge_unrecorded(value, number)
    else:
        status, reason = _judge(number, record, needs_proof)
    kept = number if status in MEASURED else math.nan
    return {"value": kept, "status": status, "reason": reason, "record": record}


def _judge(number: float, record: Record, needs_proof: bool) -> tuple[Status, str | None]:
    reason, parity = record.get("reason"), record.get("parity")
    # The record is the judge: a time that asv kept from before a check failed is not shown.
    unproven = isinstance(parity, dict) and parity.get("passed") is not True
    if unproven or record["status"] == Status.PARITY:
        return Status.PARITY, reason or "the result is not that of the oracle"
    if record["status"] != Status.OK:
        return Status(record["status"]), reason
    if math.isnan(number):
        return Status.ERROR, reason or "no value, though its set-up was good"
    if needs_proof and not parity:
        return Status.UNRECORDED, "the record holds no parity"
    return Status.OK, reason


def _judge_unrecorded(value: Any, number: float) -> tuple[Status, str | None]:
    if value is None:
        return Status.MISSING, "not measured, or it broke before it could say why"
    if math.isnan(number):
        return Status.UNSUPPORTED, "skipped; no record says why"
    return Status.UNRECORDED, "no record of what ran"


def _lost(key: Key, record: Record) -> dict[str, Any]:
    """Return a case with a record of which asv saved no value: the run was cut off before."""
    machine, commit, environment, benchmark, params = key
    figure = {
        **{"machine": machine, "commit": commit, "environment": environment},
        **{"benchmark": benchmark, "combination": params},
        **_outcome(None, record, False),
    }
    if record["status"] == Status.OK and figure["status"] == Status.ERROR:
        figure.update(status=Status.MISSING, reason="cut off before asv saved its value")
    return figure
