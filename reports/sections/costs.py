"""What is paid once: import, first call, compiling; when that is won back; and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from rnnbench.judge.site.html import dots, text
from reports.data.ratios import BASELINE, break_even
from reports.data.rows import MEASURED, groups
from reports.sections.speed import Figure, absent_figure, short_case

EMPTY, WARM = "empty", "warm"


@dataclass
class Cold:
    """The chart of first calls, the table of one-off costs and the import times."""

    chart: Markup | None
    lines: list[tuple[str, str, list[Figure]]]
    imports: list[tuple[str, Figure]]
    kinds: list[str]

    def __bool__(self) -> bool:
        return bool(self.lines or self.imports)


def cold(rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> Cold:
    """Everything of the group ``cold``."""
    own = rows[rows["group"] == "cold"]
    first = own[own["kind"] == "firstcall"]
    compiling = own[own["kind"] == "compile"]
    kinds = [kind for kind in ("inference", "training") if kind in set(ratios["kind"])]
    keys = dict.fromkeys(
        (line["cell"] or "", line["backend"])
        for line in pd.concat([first, compiling]).to_dict("records")
        if line["backend"] is not None
    )
    lines = []
    cells = list(dict.fromkeys(cell for cell, _ in keys))
    for cell, backend in sorted(keys, key=lambda key: (cells.index(key[0]), series[key[1]])):
        calls = {cache: _pick(first, backend, cell, cache) for cache in (EMPTY, WARM)}
        figures = [_seconds(calls[EMPTY]), _seconds(calls[WARM])]
        figures.append(_seconds(_pick(compiling, backend, cell, None)))
        extra = _extra(first, backend, cell)
        mine = ratios[(ratios["backend"] == backend) & (ratios["cell"] == cell)]
        figures += [_pays_off(mine[mine["kind"] == kind], extra, backend) for kind in kinds]
        lines.append((cell, backend, figures))
    imports = own[own["kind"] == "import"].to_dict("records")
    named = [
        (" ".join(value for _, value in line["params"]), value_figure(line)) for line in imports
    ]
    return Cold(_chart(first, series), lines, named, kinds)


@dataclass
class BreakEven:
    """Every timed case: calls after which each backend has won back its cold first call."""

    backends: list[str]
    lines: list[tuple[tuple[str, ...], list[Figure]]]


def every_break_even(
    rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]
) -> BreakEven:
    """A line per phase, cell and case; backends whose first call was not measured have none."""
    own = rows[rows["group"] == "cold"]
    first = own[own["kind"] == "firstcall"]
    speed = ratios[ratios["group"] == "speed"]
    names = [name for name in series if name in set(first["backend"]) & set(speed["backend"])]
    extras = {
        (name, cell): _extra(first, name, cell) for name in names for cell in speed["cell"].unique()
    }
    lines = []
    for labels, group in groups(speed, "kind", "cell", "case"):
        found = {line["backend"]: line for line in group.to_dict("records")}
        absent = Figure(text.NONE, look="muted")
        figures = [
            _won_back(found[name], extras[name, labels[1]]) if name in found else absent
            for name in names
        ]
        lines.append((labels, figures))
    return BreakEven(names, lines if names else [])


def _won_back(line: Mapping[Any, Any], extra: float) -> Figure:
    """Of one case; ``never`` only where it is slower beyond noise."""
    calls = break_even(extra, line["baseline_value"], line["value"])
    if math.isnan(calls):
        return Figure(text.NONE, look="muted")
    if line["verdict"] == "unclear":
        return Figure("not shown", f"{text.ratio(line['ratio'])} within noise", math.inf, "muted")
    return Figure(text.calls(calls), text.ratio(line["ratio"]), calls, line["verdict"])


@dataclass
class Memory:
    """Peaks, a line per phase, cell and case, a column per backend."""

    backends: list[str]
    lines: list[tuple[tuple[str, ...], list[Figure]]]


def memory(rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> Memory:
    """Each case's peak, and how many times the baseline's it is."""
    own = rows[rows["group"] == "memory"].fillna({"backend": ""})
    backends = [name for name in (*series, "") if name in set(own["backend"])]
    shares = {
        (line["benchmark"], line["params"]): f"{text.ratio(1 / line['ratio'])} native"
        for line in ratios[ratios["group"] == "memory"].to_dict("records")
    }
    lines = []
    for labels, group in groups(own, "kind", "cell", "case"):
        found = {line["backend"]: line for line in group.to_dict("records")}
        figures = []
        for name in backends:
            if name not in found:
                figures.append(Figure(text.NONE, look="muted"))
                continue
            figure = value_figure(found[name])
            share = shares.get((found[name]["benchmark"], found[name]["params"]))
            figures.append(replace(figure, note=share) if share else figure)
        lines.append((labels, figures))
    return Memory(backends, lines)


def value_figure(line: Mapping[Any, Any]) -> Figure:
    """A case's own value with its interval, or why there is none."""
    if line["status"] not in MEASURED:
        return absent_figure(line["status"], None)
    note = text.interval(line["ci_a"], line["ci_b"], line["unit"])
    return Figure(text.quantity(line["value"], line["unit"]), note, line["value"])


def _pick(rows: pd.DataFrame, backend: str, cell: str, cache: str | None) -> pd.DataFrame:
    """A backend's rows; those without a cell hold for every cell."""
    own = rows[(rows["backend"] == backend) & (rows["cell"].isna() | (rows["cell"] == cell))]
    return own if cache is None else own[own["cache"] == cache]


def _seconds(rows: pd.DataFrame) -> Figure:
    """One figure, or the span of several cases."""
    values = rows["value"].dropna()
    if values.empty:
        if rows.empty:
            return Figure(text.NONE, look="muted")
        line = rows.iloc[0]
        return absent_figure(line["status"], None)
    low, high = float(values.min()), float(values.max())
    if len(values) == 1:
        return value_figure(rows[rows["value"].notna()].iloc[0].to_dict())
    span = text.interval(low, high, "seconds")
    return Figure(span, text.plural(len(values), "case"), high)


def _median(rows: pd.DataFrame) -> float:
    return float(rows["value"].median()) if rows["value"].notna().any() else math.nan


def _extra(first: pd.DataFrame, backend: str, cell: str) -> float:
    """Seconds that a first call with an empty cache costs beyond the baseline's."""
    own = _median(_pick(first, backend, cell, EMPTY))
    return own - _median(_pick(first, BASELINE, cell, EMPTY))


def _pays_off(ratios: pd.DataFrame, extra: float, backend: str) -> Figure:
    """After how many calls the first call's cost is won back, in the best case and beyond noise."""
    lines = ratios[ratios["group"] == "speed"].to_dict("records")
    if backend == BASELINE or not lines or math.isnan(extra):
        return Figure(text.NONE, look="muted")
    faster = [line for line in lines if line["verdict"] == "faster"]
    if not faster:
        slower = all(line["verdict"] == "slower" for line in lines)
        words, look = ("never", "slower") if slower else ("not shown", "muted")
        return Figure(words, f"0 of {text.plural(len(lines), 'case')} faster", math.inf, look)
    least, case = min(
        (break_even(extra, line["baseline_value"], line["value"]), _label(line)) for line in faster
    )
    note = f"{case}\n{len(faster)} of {text.plural(len(lines), 'case')} faster"
    return Figure(text.calls(least), note, least)


def _label(line: Mapping[Any, Any]) -> str:
    return f"{line['shape']} {short_case(line)}"


def _chart(first: pd.DataFrame, series: Mapping[str, int]) -> Markup | None:
    """First calls: filled with an empty cache, hollow with a warm one."""
    measured = first[first["value"].notna() & first["backend"].notna()]
    if measured.empty:
        return None
    present = [name for name in series if name in set(measured["backend"])]
    rows = []
    for (cell,), group in groups(measured, "cell"):
        lanes: list[list[dots.Mark | dots.Note]] = []
        for backend in present:
            lines = group[group["backend"] == backend].to_dict("records")
            lanes.append([_mark(line, series[backend]) for line in lines])
        rows.append(dots.Row(cell, lanes))
    low, high = measured["value"].min(), measured["value"].max()
    words = f"{text.plural(len(measured), 'first call')} of {', '.join(present)}, from "
    description = f"{words}{text.quantity(low, 'seconds')} to {text.quantity(high, 'seconds')}."
    axis = dots.seconds_axis(measured["value"])
    return dots.dot_plot("Seconds to the end of the first call", description, rows, axis)


def _mark(line: Mapping[Any, Any], series: int) -> dots.Mark:
    value = text.quantity(line["value"], "seconds")
    words = f"{line['backend']}, {line['cache']} cache: {value}"
    return dots.Mark(series, line["value"], words, hollow=line["cache"] == WARM)
