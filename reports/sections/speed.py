"""Speed against the baseline: the glance, the panels with chart and table, and where we lose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.data.ratios import BASELINE, summary
from reports.data.rows import PARAMETERS, groups
from rnnbench.judge.site.data.results import MEASURED, Status
from rnnbench.judge.site.html import dots, text
from rnnbench.judge.site.html.figures import NOTHING, Figure

WORDS = {
    Status.UNSUPPORTED: "not supported",
    Status.PARITY: "parity failed",
    Status.ERROR: "broke",
    Status.MISSING: "not measured",
}
BAD = {Status.PARITY, Status.ERROR}
SLOWER = "{backend} is {factor} times slower than native{interval} in {kind} of {cell}, {case}."
CASE_COLUMNS = ["layers", "directions", "T"]
PHASES = ["inference", "training"]


@dataclass
class Panel:
    """One cell (gru, …) and shape in one phase: the chart, and the same figures as a table."""

    name: str
    chart: Markup
    backends: list[str]
    lines: list[tuple[list[Any], list[Figure]]]


@dataclass
class Phase:
    """One phase: the means at a glance, and a panel per cell and shape."""

    kind: str
    cells: list[str]
    glance: list[tuple[str, list[Figure]]]
    panels: list[Panel]


@dataclass
class Losses:
    """The losses of a backend to the baseline: how many, and each in a sentence, worst first."""

    backend: str
    count: int
    cases: int
    sentences: list[str]


def phases(rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> list[Phase]:
    """Return a phase per benchmark; the charts of a phase share their axis."""
    found = [
        _phase(kind, group, ratios[ratios["benchmark"] == benchmark], series)
        for (kind, benchmark), group in groups(rows[rows["group"] == "speed"], "kind", "benchmark")
    ]
    return sorted(found, key=lambda phase: (phase.kind not in PHASES, phase.kind))


def losses(ratios: pd.DataFrame, series: Mapping[str, int]) -> list[Losses]:
    """Return a sentence for every case where a backend is slower than the baseline beyond noise."""
    speed = ratios[ratios["group"] == "speed"]
    found = []
    for backend in (name for name in series if name != BASELINE):
        own = speed[speed["backend"] == backend]
        slower = own[own["verdict"] == "slower"].sort_values("ratio")
        if len(own):
            lines = [_sentence(line) for line in slower.to_dict("records")]
            found.append(Losses(backend, len(lines), len(own), lines))
    return found


def ratio_figure(line: Mapping[Any, Any], note: str = "") -> Figure:
    """Return a ratio and its interval; faster and slower are told by a sign, too."""
    sign = {"faster": "▲ ", "slower": "▼ "}.get(line["verdict"], "")
    bounds = text.interval(line["ratio_a"], line["ratio_b"])
    words = " · ".join(part for part in (bounds, note) if part)
    return Figure(sign + text.ratio(line["ratio"]), words, line["ratio"], line["verdict"])


def absent_figure(status: Status, reason: str | None) -> Figure:
    """Return words where a case has no number."""
    return Figure(WORDS[status], reason or "", None, "bad" if status in BAD else "muted")


def _sentence(line: Mapping[Any, Any]) -> str:
    bounds = text.interval(1 / line["ratio_b"], 1 / line["ratio_a"])
    return SLOWER.format(
        backend=line["backend"],
        factor=text.number(1 / line["ratio"]),
        interval=f" (99 % interval {bounds})" if bounds else "",
        kind=line["kind"],
        cell=line["cell"],
        case=line["case"],
    )


def _phase(kind: str, rows: pd.DataFrame, ratios: pd.DataFrame, series: Mapping[str, int]) -> Phase:
    axis = dots.ratio_axis(ratios["ratio"])
    cells = list(dict.fromkeys(rows["cell"].dropna()))
    panels = [
        _panel(f"{cell}, {shape}" if shape else cell, group, ratios, series, axis)
        for (cell, shape), group in groups(rows, "cell", "shape")
    ]
    return Phase(kind, cells, _glance(rows, ratios, cells, series), panels)


def _glance(
    rows: pd.DataFrame, ratios: pd.DataFrame, cells: Sequence[str], series: Mapping[str, int]
) -> list[tuple[str, list[Figure]]]:
    """Return backend × cell: the geometric mean over the cases, and their extremes."""
    means = {(line["backend"], line["cell"]): line for line in summary(ratios).to_dict("records")}
    present = [name for name in series if name != BASELINE and name in set(rows["backend"])]
    lines = []
    for backend in present:
        figures = []
        for cell in cells:
            line = means.get((backend, cell))
            own = rows[(rows["backend"] == backend) & (rows["cell"] == cell)]
            figures.append(_mean_figure(line) if line else _worst_absence(own))
        lines.append((backend, figures))
    return lines


def _mean_figure(line: Mapping[Any, Any]) -> Figure:
    note = text.interval(line["least"], line["most"])
    look = "faster" if line["mean"] > 1 else "slower"
    # An overall mean carries no interval: colour only where no case speaks against it.
    if (line["slower"] if look == "faster" else line["faster"]) or not line[look]:
        look = "unclear"
    return Figure(text.ratio(line["mean"]), note, line["mean"], look)


def _worst_absence(own: pd.DataFrame) -> Figure:
    for status in (Status.PARITY, Status.ERROR, Status.MISSING, Status.UNSUPPORTED):
        if (own["status"] == status).any():
            return absent_figure(status, None)
    return Figure(text.NONE, "no native time" if len(own) else "", None, "muted")


def _panel(
    name: str,
    rows: pd.DataFrame,
    ratios: pd.DataFrame,
    series: Mapping[str, int],
    axis: dots.Axis,
) -> Panel:
    backends = [name for name in series if name in set(rows["backend"])]
    compared = {
        (line["backend"], line["case"]): line
        for line in ratios[ratios["cell"] == rows["cell"].iloc[0]].to_dict("records")
    }
    chart_rows, lines = [], []
    for case, group in _in_order(rows):
        found = {line["backend"]: line for line in group.to_dict("records")}
        pairs = {own: (found.get(own), compared.get((own, case))) for own in backends}
        first = next(iter(found.values()))
        values = ["" if first[column] is None else first[column] for column in CASE_COLUMNS]
        lines.append((values, [_cell_figure(own, *pairs[own]) for own in backends]))
        lanes = [_lane(series[own], *pairs[own]) for own in backends if own != BASELINE]
        chart_rows.append(dots.Row(short_case(first), lanes))
    title = f"{name}: times as fast as native in {rows['kind'].iloc[0]}"
    chart = dots.dot_plot(title, _description(backends, lines), chart_rows, axis)
    return Panel(name, chart, backends, lines)


def _in_order(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return cases by layers, directions and T, as numbers."""

    def rank(group: tuple[str, pd.DataFrame]) -> list[tuple[int, int, str]]:
        values = [group[1].iloc[0][name] for name in CASE_COLUMNS]
        return [(0, v, "") if isinstance(v, int) else (1, 0, str(v)) for v in values]

    return sorted(((case, group) for (case,), group in groups(rows, "case")), key=rank)


def short_case(line: Mapping[Any, Any]) -> str:
    """Return ``T128 L2 D1``, where there is little room."""
    short = {"layers": "L", "directions": "D", "T": "T"}
    known = [f"{letter}{line[name]}" for name, letter in short.items() if line[name] is not None]
    return " ".join([*known, *(value for name, value in line["params"] if name not in PARAMETERS)])


def _cell_figure(
    backend: str, line: Mapping[Any, Any] | None, compared: Mapping[Any, Any] | None
) -> Figure:
    if line is None:
        return NOTHING
    if line["status"] not in MEASURED:
        return absent_figure(line["status"], None)
    own = text.quantity(line["value"], line["unit"])
    if compared is not None:
        return ratio_figure(compared, own)
    note = text.interval(line["ci_a"], line["ci_b"], line["unit"])
    return Figure(own, note if backend == BASELINE else "no native time", line["value"])


def _lane(
    series: int, line: Mapping[Any, Any] | None, compared: Mapping[Any, Any] | None
) -> list[dots.Mark | dots.Note]:
    if line is None:
        return []
    if compared is not None:
        bounds = text.interval(compared["ratio_a"], compared["ratio_b"])
        words = f"{line['backend']}: {text.ratio(compared['ratio'])} {bounds}".strip()
        return [
            dots.Mark(series, compared["ratio"], words, compared["ratio_a"], compared["ratio_b"])
        ]
    if line["status"] in MEASURED:
        return []
    return [dots.Note(f"{line['backend']}: {WORDS[line['status']]}", line["status"] in BAD)]


def _description(backends: Sequence[str], lines: Sequence[tuple[list[Any], list[Figure]]]) -> str:
    """Return the chart in a sentence or two; the table beside it has all its figures."""
    parts = []
    for number, backend in enumerate(backends):
        ratios = [
            figures[number].sort
            for _, figures in lines
            if figures[number].look in {"faster", "slower", "unclear"}
        ]
        known = [ratio for ratio in ratios if ratio is not None and math.isfinite(ratio)]
        if known:
            parts.append(f"{backend} {text.ratio(min(known))} to {text.ratio(max(known))}")
    return f"{text.plural(len(lines), 'case')}. " + "; ".join(parts) + "."
