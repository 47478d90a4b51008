"""The summary of a run: counts, parity and speed per cell and backend, and the exit code."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports.data import ratios
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED
from rnnbench.judge.site.data.results import MEASURED, Status
from rnnbench.judge.site.html import text

REASONS_SHOWN = 20


@dataclass
class Line:
    """One phase of one cell on one backend, over all its cases."""

    phase: str
    cell: str
    backend: str
    cases: int
    right: int
    seconds: float | None  # geometric mean of the medians
    ratio: float | None  # geometric mean of native's time / its own


@dataclass
class Summary:
    """All that is printed; `as_dict` is the same for programs."""

    commit: str
    dirty: bool
    profile: str
    wall_seconds: float
    asv_cost: float
    page: str
    statuses: dict[str, int]
    speed: list[Line]
    unmeasured: dict[str, int]  # sentence → number of cases
    exit_code: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(rows: pd.DataFrame, **facts: Any) -> Summary:
    """Return the rows of one run in short; ``facts`` are the fields that rows do not know."""
    return Summary(
        statuses={str(status): int(n) for status, n in rows["status"].value_counts().items()},
        speed=_speed(rows[rows["group"] == "speed"]),
        unmeasured=_unmeasured(rows[~rows["status"].isin(MEASURED)]),
        exit_code=_exit_code(rows),
        **facts,
    )


def _exit_code(rows: pd.DataFrame) -> int:
    statuses = set(rows["status"])
    if Status.PARITY in statuses:
        return FAILED
    if statuses & {Status.ERROR, Status.MISSING}:
        return BROKEN
    of_backends = rows[rows["backend"].notna()]  # the control and the imports prove nothing
    judged = rows if of_backends.empty else of_backends
    return GOOD if judged["status"].isin(MEASURED).any() else NOTHING_MEASURED


def _speed(rows: pd.DataFrame) -> list[Line]:
    if rows.empty:
        return []
    means = ratios.to_baseline(rows).groupby(["kind", "cell", "backend"])["ratio"].agg(_geometric)
    lines = []
    for key, group in rows.groupby(["kind", "cell", "backend"], sort=False):
        kind, cell, backend = map(str, key)
        own = 1.0 if backend == ratios.BASELINE else means.get((kind, cell, backend), math.nan)
        right = sum(bool(parity and parity["passed"]) for parity in group["parity"])
        seconds = _geometric(group["value"].dropna())
        lines.append(Line(kind, cell, backend, len(group), right, _or_none(seconds), _or_none(own)))
    return lines


def _geometric(values: pd.Series[float]) -> float:
    """Return the geometric mean; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if len(values) else math.nan


def _or_none(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _unmeasured(rows: pd.DataFrame) -> dict[str, int]:
    """Return why cases have no number, the commonest reason first."""
    sentences = [
        f"{status}: {backend or benchmark}: {reason or 'no reason given'}"
        for status, backend, benchmark, reason in zip(
            rows["status"], rows["backend"], rows["benchmark"], rows["reason"], strict=True
        )
    ]
    return {str(k): int(n) for k, n in pd.Series(sentences, dtype=object).value_counts().items()}


def show(summary: Summary) -> None:
    """Print it for people."""
    console = Console(soft_wrap=True)
    console.print(_table(summary.speed))
    for sentence, count in list(summary.unmeasured.items())[:REASONS_SHOWN]:
        console.print(f"{count:4} × {escape(sentence)}")
    if len(summary.unmeasured) > REASONS_SHOWN:
        console.print(f"… and {len(summary.unmeasured) - REASONS_SHOWN} more; the page has all")
    counts = ", ".join(f"{n} {status}" for status, n in summary.statuses.items()) or "no cases"
    console.print(
        f"{summary.profile}: {counts}; {summary.wall_seconds:.0f} s in all, "
        f"asv's own cost {summary.asv_cost:.2f} s per case"
    )
    if summary.dirty:
        console.print(
            "[yellow]files differ from the commit: what was measured is stored under "
            f"{summary.commit[:8]} all the same[/]"
        )
    console.print(f"report: {escape(summary.page)}")


def _table(lines: list[Line]) -> Table:
    table = Table("phase", "cell", "backend")
    for heading in ("parity", "time of a call", f"against {ratios.BASELINE}"):
        table.add_column(heading, justify="right")
    table.caption = "geometric means over the cases; above 1× is faster"
    for line in lines:
        table.add_row(
            line.phase,
            line.cell,
            line.backend,
            f"{line.right} of {line.cases}",
            text.quantity(math.nan if line.seconds is None else line.seconds, "seconds"),
            text.ratio(math.nan if line.ratio is None else line.ratio),
            style=None if line.right == line.cases else "red",
        )
    return table
