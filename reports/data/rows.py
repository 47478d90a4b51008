"""Figures as a table: one row per commit × environment × benchmark × case.

machine, commit, date (of the commit), environment, python: where it ran
benchmark, group (``speed``), kind (``inference``), unit, version: what was measured
backend, cell, T, layers, directions, shape, cache: its parameters, missing ones None
params: all parameters as a tuple of (name, text); case: the same less backend and cell, in words
value, ci_a, ci_b (asv's 99 % interval of the median), n (samples), started_at
status, reason: see `Status`; value is NaN unless the status is ok or unrecorded
parity, identity, facts (of the machine), profile, setup_seconds: from the record, else None
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rnnbench.judge.site.data import results
from rnnbench.judge.site.data.results import Record

PROVEN = ("speed.",)
"""Benchmarks that have no time without parity."""
PARAMETERS = ["backend", "cell", "T", "layers", "directions", "shape"]
FIRST_BACKENDS = ["native", "manual", "numba", "compile"]
NUMBERS = {"T", "layers", "directions"}
MEASURES = ["date", "value", "ci_a", "ci_b", "n", "started_at", "setup_seconds"]
COLUMNS = [
    *["machine", "commit", "date", "environment", "python"],
    *["benchmark", "group", "kind", "unit", "version"],
    *PARAMETERS,
    *["cache", "params", "case"],
    *["value", "ci_a", "ci_b", "n", "started_at"],
    *["status", "reason", "parity", "identity", "facts", "profile", "setup_seconds"],
]


def load_rows(results_dir: Path) -> pd.DataFrame:
    """Return every row below ``results_dir``; an empty frame with all columns if there is none."""
    figures, _ = results.read(results_dir, proven=PROVEN)
    return frame(figures, results.read_benchmarks(results_dir, []))


def frame(
    figures: Iterable[Mapping[str, Any]], benchmarks: Mapping[str, dict[str, Any]]
) -> pd.DataFrame:
    """Return the rows of figures, but those of benchmarks that the suite has no more."""
    whole = [
        {name: row.get(name) for name in COLUMNS}
        for figure in figures
        if results.is_current(figure["benchmark"], figure.get("version"), benchmarks)
        for row in [_row(figure, benchmarks.get(figure["benchmark"], {}))]
    ]
    # Columns of objects, lest pandas turn None into NaN, but for the numbers.
    rows = pd.DataFrame(whole, columns=COLUMNS, dtype=object)
    for name in MEASURES:
        rows[name] = rows[name].astype(float)
    # A lost row knows no commit date: take it from the commit's other rows.
    rows["date"] = rows["date"].fillna(rows.groupby("commit")["date"].transform("first"))
    return rows


def latest(rows: pd.DataFrame) -> pd.DataFrame:
    """Return those of each machine's newest commit (by commit date, then by measuring)."""
    if rows.empty:
        return rows
    newest = rows.sort_values(["date", "started_at"], na_position="first", kind="stable")
    commits = newest.groupby("machine")["commit"].last()
    return rows[rows["commit"] == rows["machine"].map(commits)]


def series_of(rows: pd.DataFrame) -> dict[str, int]:
    """Return the number of each backend measured, ours in the order in which they are shown."""
    present = set(rows["backend"].dropna())
    known = [name for name in FIRST_BACKENDS if name in present]
    return {name: rank for rank, name in enumerate(known + sorted(present - set(known)))}


def groups(rows: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield rows by the values of ``columns``, in the order met; a missing value is empty text."""
    filled = rows.fillna(dict.fromkeys(columns, ""))
    yield from filled.groupby(list(columns), sort=False)


def unrecorded(count: int) -> list[str]:
    """Return the sentence on so many cases without a record."""
    if not count:
        return []
    return [f"{count} measured case(s) have no record: what ran, and its parity, is not known."]


def _row(figure: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure with what was measured in words, and the parts of its record."""
    parts = figure["benchmark"].split(".")
    return {
        **figure,
        # From a name such as ``speed.Inference.time_inference``.
        "group": parts[0],
        "kind": parts[1].lower() if len(parts) > 2 else parts[-1],
        "unit": entry.get("unit") or ("seconds" if parts[-1].startswith("time_") else ""),
        **_parameters(entry.get("param_names"), figure["combination"]),
        **_from_record(figure["record"] or {}),
    }


def _parameters(names: list[str] | None, values: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters under their own names, and the case they make in words."""
    if not names or len(names) != len(values):
        names = PARAMETERS if len(values) == len(PARAMETERS) else [f"p{i}" for i in range(9)]
    pairs = tuple(zip(names, values, strict=False))
    columns: dict[str, Any] = dict.fromkeys([*PARAMETERS, "cache"])
    columns.update({name: _number(name, text) for name, text in pairs if name in columns})
    return {**columns, "params": pairs, "case": _in_words(pairs)}


def _number(name: str, text: str) -> int | str:
    return int(text) if name in NUMBERS and text.isdecimal() else text


def _in_words(pairs: tuple[tuple[str, str], ...]) -> str:
    """Return ``T=128, 2 layers, 1 direction, medium``."""
    words = []
    for name, text in pairs:
        if name in {"layers", "directions"}:
            words.append(f"{text} {name[:-1] if text == '1' else name}")
        elif name in {"shape", "cache"}:
            words.append(text)
        elif name not in {"backend", "cell"}:
            words.append(f"{name}={text}")
    return ", ".join(words)


def _from_record(record: Record) -> dict[str, Any]:
    objects = {"parity": "parity", "identity": "identity", "facts": "machine"}
    found = {column: _object(record.get(name)) for column, name in objects.items()}
    overhead = _object(record.get("overhead")) or {}
    seconds = overhead.get("setup_seconds")
    return found | {"profile": record.get("profile"), "setup_seconds": seconds}


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
