"""One-off costs (import, first call, compiling), when they are won back, and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.data.ratios import BASELINE, break_even
from reports.data.rows import groups
from reports.sections.speed import absent_figure, short_case
from rnnbench.judge.site.data.results import MEASURED
from rnnbench.judge.site.html import dots, figures, text
from rnnbench.judge.site.html.figures import NOTHING, Figure

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
    """Return everything of the group ``cold``."""
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
        extra = _extra(first, backend, cell)
        mine = ratios[(ratios["backend"] == backend) & (ratios["cell"] == cell)]
        paid = [_seconds(calls[EMPTY]), _seconds(calls[WARM])]
        paid.append(_seconds(_pick(compiling, backend, cell, None)))
        paid += [_pays_off(mine[mine["kind"] == kind], extra, backend) for kind in kinds]
        lines.append((cell, backend, paid))
    imports = own[own["kind"] == "import"].to_dict("records")
    named = [
        (" ".join(value for _, value in line["params"]), value_figure(line)) for line in imports
    ]
    return Cold(_chart(first, series), lines, named, kinds)


@dataclass
class ByCase:
    """A line per phase, cell and case, a column per backend."""

    backends: list[str]
    lines: list[tuple[tuple[str, ...], list[Figure]]]


def every_break_even(rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> ByCase:
    """Return the calls after which each backend has won back its cold first call.

    Backends whose first call was not measured have no column.
    """
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
        own_figures = [
            _won_back(found[name], extras[name, labels[1]]) if name in found else NOTHING
            for name in names
        ]
        lines.append((labels, own_figures))
    return ByCase(names, lines if names else [])


def _won_back(line: Mapping[Any, Any], extra: float) -> Figure:
    """Return the calls of one case; ``never`` only where it is slower beyond noise."""
    calls = break_even(extra, line["baseline_value"], line["value"])
    if math.isnan(calls):
        return NOTHING
    if line["verdict"] == "unclear":
        return Figure("not shown", f"{text.ratio(line['ratio'])} within noise", math.inf, "muted")
    return Figure(text.calls(calls), text.ratio(line["ratio"]), calls, line["verdict"])


def memory(rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> ByCase:
    """Return each case's peak, and how many times the baseline's it is."""
    own = rows[rows["group"] == "memory"].fillna({"backend": ""})
    backends = [name for name in (*series, "") if name in set(own["backend"])]
    shares = {
        (line["benchmark"], line["params"]): f"{text.ratio(1 / line['ratio'])} native"
        for line in ratios[ratios["group"] == "memory"].to_dict("records")
    }
    lines = []
    for labels, group in groups(own, "kind", "cell", "case"):
        found = {line["backend"]: line for line in group.to_dict("records")}
        peaks = []
        for name in backends:
            figure = value_figure(found.get(name))
            share = found.get(name) and shares.get(
                (found[name]["benchmark"], found[name]["params"])
            )
            peaks.append(replace(figure, note=share) if share else figure)
        lines.append((labels, peaks))
    return ByCase(backends, lines)


def value_figure(line: Mapping[Any, Any] | None) -> Figure:
    """Return a case's own value with its interval, or why there is none."""
    if line is None:
        return NOTHING
    if line["status"] not in MEASURED:
        return absent_figure(line["status"], None)
    note = text.interval(line["ci_a"], line["ci_b"], line["unit"])
    return figures.quantity(line["value"], line["unit"], note)


def _pick(rows: pd.DataFrame, backend: str, cell: str, cache: str | None) -> pd.DataFrame:
    """Return a backend's rows; those without a cell hold for every cell."""
    own = rows[(rows["backend"] == backend) & (rows["cell"].isna() | (rows["cell"] == cell))]
    return own if cache is None else own[own["cache"] == cache]


def _seconds(rows: pd.DataFrame) -> Figure:
    """Return one figure, or the span of several cases."""
    values = rows["value"].dropna()
    if values.empty:
        return NOTHING if rows.empty else absent_figure(rows["status"].iloc[0], None)
    low, high = float(values.min()), float(values.max())
    if len(values) == 1:
        return value_figure(rows[rows["value"].notna()].iloc[0].to_dict())
    span = text.interval(low, high, "seconds")
    return Figure(span, text.plural(len(values), "case"), high)


def _median(rows: pd.DataFrame) -> float:
    return float(rows["value"].median()) if rows["value"].notna().any() else math.nan


def _extra(first: pd.DataFrame, backend: str, cell: str) -> float:
    """Return the seconds that a first call with an empty cache costs beyond the baseline's."""
    own = _median(_pick(first, backend, cell, EMPTY))
    return own - _median(_pick(first, BASELINE, cell, EMPTY))


def _pays_off(ratios: pd.DataFrame, extra: float, backend: str) -> Figure:
    """Return the calls that win back a first call's cost, in the best case and beyond noise."""
    lines = ratios[ratios["group"] == "speed"].to_dict("records")
    if backend == BASELINE or not lines or math.isnan(extra):
        return NOTHING
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
    """Draw first calls: filled with an empty cache, hollow with a warm one."""
    measured = first[first["value"].notna() & first["backend"].notna()]
    if measured.empty:
        return None
    present = [name for name in series if name in set(measured["backend"])]
    rows = []
    for (cell,), group in groups(measured, "cell"):
        of = {name: group[group["backend"] == name].to_dict("records") for name in present}
        lanes = [[_mark(line, series[name]) for line in lines] for name, lines in of.items()]
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
