"""What ran, and why a case has no number: the records the benchmarks append, a JSON object a line.

They lie in ``<results_dir>/records/<host>/*.jsonl``. A killed run leaves a half last line: that is
normal and passed over. Any other broken line is counted and reported.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

Record = dict[str, Any]
SCHEMA = 1
STATUSES = {"ok", "unsupported", "parity", "error"}


@dataclass
class Records:
    """The last record of each case, and what could not be read."""

    by_case: dict[tuple[Any, ...], Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    """Names of the machines that wrote records, whichever of them were read."""


@cache
def plain(parameter: str) -> str:
    """asv stores the ``repr`` of a parameter, the records its ``str``: both to the latter."""
    text = str(parameter)
    if text[:1] in {"'", '"'}:
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return text
    return text


def case_key(
    host: str, commit: str, environment: str, benchmark: str, params: list[Any]
) -> tuple[Any, ...]:
    """What names a measured case: the join of asv's results and the records."""
    return (host, commit, environment, benchmark, tuple(plain(value) for value in params))


def record_files(results_dir: Path) -> list[Path]:
    """``records/<host>/<commit>-<environment>.jsonl``."""
    return sorted((results_dir / "records").glob("*/*.jsonl"))


def read_records(results_dir: Path, only: Collection[str] | None = None) -> Records:
    """Read every record file below ``results_dir``, or ``only`` those of commits that begin so."""
    records = Records()
    for path in record_files(results_dir):
        if only is not None and path.name[:8] not in only:
            records.hosts.add(path.parent.name)
            continue
        broken = 0
        for record in json_lines(path):
            key = _key(record) if record is not None else None
            if record is None or key is None:
                broken += 1
            else:
                records.by_case[key] = record
                records.hosts.add(key[0])
        if broken:
            where = path.relative_to(results_dir)
            records.problems.append(f"{where}: {broken} broken record(s) passed over.")
    return records


def json_lines(path: Path) -> Iterator[Record | None]:
    """Yield the file's records, and None for each broken line but a last one cut short."""
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        record = _parse(line)
        if record is not None or number < len(lines) - 1:
            yield record


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _key(record: Record) -> tuple[Any, ...] | None:
    """The record's case, or None for a record of another schema or with a field missing."""
    texts = [record.get(name) for name in ("host", "commit", "environment", "benchmark")]
    whole = all(isinstance(text, str) for text in texts) and isinstance(record.get("params"), list)
    if not whole or record.get("schema") != SCHEMA or record.get("status") not in STATUSES:
        return None
    host, commit, environment, benchmark = (str(text) for text in texts)
    return case_key(host, commit, environment, benchmark, record["params"])
