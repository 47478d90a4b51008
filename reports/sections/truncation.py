"""Truncated BPTT: seconds and memory of a pass, the gradient's bias over K, its norm over lags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reports.sections.costs import value_figure
from rnnbench.judge.site.data.results import MEASURED
from rnnbench.judge.site.html import dots, figures
from rnnbench.judge.site.html.figures import NOTHING, Figure, Panel

STRONG = "windows"
"""The mode that the others' seconds are compared with: every window in one batched call."""

Line = dict[Any, Any]


def truncation(rows: pd.DataFrame) -> list[Panel]:
    """Return everything of the group ``truncation``."""
    own = [
        line | dict(line["params"])
        for line in rows[rows["group"] == "truncation"].to_dict("records")
    ]
    return [*_passes(own), *_biases(own), *_lags(own)]


def _grouped(lines: Sequence[Line], kind: str, *keys: str) -> dict[tuple[str, ...], list[Line]]:
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if line["kind"] == kind:
            found.setdefault(tuple(str(line[key]) for key in keys), []).append(line)
    return found


def _passes(lines: Sequence[Line]) -> list[Panel]:
    memory = _grouped(lines, "memory", "cell", "T", "K", "shape")
    panels = []
    for key, own in _grouped(lines, "seconds", "cell", "T", "K", "shape").items():
        cell, T, K, shape = key
        seconds = {line["mode"]: line for line in own}
        peaks = {line["mode"]: line for line in memory.get(key, [])}
        table = [
            (
                mode,
                [
                    value_figure(line),
                    _ratio(line, seconds.get(STRONG)),
                    value_figure(peaks.get(mode)),
                ],
            )
            for mode, line in seconds.items()
        ]
        title = f"One pass: {cell}, T={T}, K={K}, {shape}"
        marks = [
            dots.Row(mode, [[_mark(line, 0, value_figure(line))]]) for mode, line in seconds.items()
        ]
        axis = dots.seconds_axis(line["value"] for line in own)
        chart = dots.dot_plot(title, "Seconds of a forward and backward pass.", marks, axis)
        heads = ["Time", f"{STRONG} / own", "Peak memory"]
        panels.append(Panel(title, chart, {}, "Mode", heads, table))
    return panels


def _biases(lines: Sequence[Line]) -> list[Panel]:
    return [
        _panel(f"Bias of the gradient: {cell}, T={T}, {shape}", own, "K", "mode")
        for (cell, T, shape), own in _grouped(lines, "bias", "cell", "T", "shape").items()
    ]


def _lags(lines: Sequence[Line]) -> list[Panel]:
    return [
        _panel(f"Norm of ∂h_T/∂s_t over the lag T − t: {shape}", own, "lag", "cell")
        for (shape,), own in _grouped(lines, "lag", "shape").items()
    ]


def _panel(title: str, lines: Sequence[Line], down: str, across: str) -> Panel:
    """Return values over ``down``, a number; a mark and a column for each of ``across``."""
    heads = list(dict.fromkeys(str(line[across]) for line in lines))
    series = {name: number for number, name in enumerate(heads)}
    at = {(int(line[down]), str(line[across])): line for line in lines}
    steps = sorted({step for step, _ in at})
    table = [(str(step), [_number(at.get((step, name))) for name in heads]) for step in steps]
    marks = [
        dots.Row(
            f"{down}={step}",
            [
                [_mark(at[step, name], series[name], _number(at[step, name]))]
                for name in heads
                if (step, name) in at
            ],
        )
        for step in steps
    ]
    axis = dots.number_axis(line["value"] for line in lines)
    chart = dots.dot_plot(title, f"A row for each {down}, a mark for each {across}.", marks, axis)
    return Panel(title, chart, series, down, heads, table)


def _number(line: Line | None) -> Figure:
    """Return a value without its unit, which the panel's title says."""
    figure = value_figure(line)
    if line is None or line["status"] not in MEASURED:
        return figure
    return figures.number(line["value"], figure.note)


def _ratio(line: Line, strong: Line | None) -> Figure:
    if strong is None or not line["value"] > 0 or not strong["value"] > 0:
        return NOTHING
    return figures.times(strong["value"] / line["value"])


def _mark(line: Mapping[Any, Any], series: int, figure: Figure) -> dots.Mark | dots.Note:
    """Return a mark at the value, on the axis's end where it is zero; words if there is none."""
    if line["status"] not in MEASURED:
        return dots.Note(figure.text)
    name = line["mode"] if "mode" in line else line["cell"]
    return dots.Mark(series, max(line["value"], 1e-300), f"{name}: {figure.text}")
