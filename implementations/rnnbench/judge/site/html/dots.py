"""Dot plots on a logarithmic axis, as inline SVG.

One row per case, one lane per series: a mark with its whisker, or words where there is no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from rnnbench.judge.site.html import svg, text

LABEL, PLOT, RIGHT = 92, 300, 14
WIDTH = LABEL + PLOT + RIGHT
DECADES = 12
TOP, LANE, GAP, BOTTOM = 26, 13, 8, 20


@dataclass(frozen=True)
class Mark:
    """A figure at its place; ``words`` is what the pointer reads."""

    series: int
    at: float
    words: str
    low: float = math.nan
    high: float = math.nan
    hollow: bool = False


@dataclass(frozen=True)
class Note:
    """Words in place of a figure."""

    words: str
    bad: bool = False


Lane = Sequence[Mark | Note]


@dataclass
class Row:
    """A label and its lanes, each with the marks of one series."""

    label: str
    lanes: Sequence[Lane] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from ``low`` to ``high``, with labelled ticks."""

    low: float
    high: float
    ticks: svg.Ticks
    reference: float | None = None
    ends: tuple[str, str] = ("", "")

    def place(self, value: float) -> float:
        """Return the horizontal position; what lies outside is put on the border."""
        return svg.Scale(self.low, self.high, LABEL, LABEL + PLOT).place(value)


def ratio_axis(
    values: Iterable[float], ends: tuple[str, str] = ("◂ slower than native", "faster ▸")
) -> Axis:
    """Return powers of two around 1, the same for all charts drawn with it."""
    logs = [math.log2(value) for value in values if value > 0 and math.isfinite(value)]
    low = math.floor(min([*logs, -0.9]))
    high = math.ceil(max([*logs, 0.9]))
    step = max(1, math.ceil((high - low) / 8))
    ticks = [exponent for exponent in range(low, high + 1) if exponent % step == 0]
    labelled = [(2.0**exponent, _power_of_two(exponent)) for exponent in ticks]
    return Axis(2.0**low, 2.0**high, labelled, 1.0, ends)


def seconds_axis(values: Iterable[float]) -> Axis:
    """Return powers of ten around the values."""
    low, high = svg.decades(values, DECADES)
    ticks = [(10.0**power, _short_seconds(10.0**power)) for power in range(low, high + 1)]
    return Axis(10.0**low, 10.0**high, ticks)


def number_axis(values: Iterable[float]) -> Axis:
    """Return powers of ten around the values, at most `DECADES` of them below the largest."""
    found = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = svg.decades(found, DECADES)
    step = max(1, math.ceil((high - low) / 6))
    ticks = [(10.0**power, f"{10.0**power:g}") for power in range(high, low - 1, -step)]
    cut = "◂ and smaller" if min(found, default=1.0) < 10.0**low else ""
    return Axis(10.0**low, 10.0**high, ticks, ends=(cut, ""))


def dot_plot(
    title: str, description: str, rows: Sequence[Row], axis: Axis, lanes: int = 1
) -> Markup:
    """Return the whole picture; a row is as high as ``lanes`` at least."""
    heights = [max(len(row.lanes), lanes) * LANE + GAP for row in rows]
    bottom = TOP + sum(heights)
    parts = [_grid(axis, bottom)]
    top = float(TOP)
    for row, height in zip(rows, heights, strict=True):
        parts.append(_row(row, top, height, axis))
        top += height
    return svg.picture(title, description, (WIDTH, bottom + BOTTOM), parts)


def _short_seconds(value: float) -> str:
    """Return ``1 s`` where `text.seconds` says ``1.00 s``."""
    number, unit = text.seconds(value).split(" ")
    return f"{float(number):g} {unit}"


def _power_of_two(exponent: int) -> str:
    return f"{2**exponent}×" if exponent >= 0 else f"1/{2**-exponent}×"


def _grid(axis: Axis, bottom: float) -> Markup:
    parts = []
    for value, said in axis.ticks:
        at = axis.place(value)
        kind = "reference" if value == axis.reference else "grid"
        parts.append(svg.line(kind, at, at, TOP - 4, bottom))
        parts.append(svg.words("tick", round(at, 1), bottom + 13, said, "middle"))
    left, right = axis.ends
    parts.append(svg.words("tick", LABEL, TOP - 10, left))
    parts.append(svg.words("tick", LABEL + PLOT, TOP - 10, right, "end"))
    return svg.NOTHING.join(parts)


def _row(row: Row, top: float, height: float, axis: Axis) -> Markup:
    middle = top + height / 2
    parts = [
        Markup('<line class="rule" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(WIDTH, y=top),
        svg.words("label", LABEL - 10, middle + 4, row.label, "end"),
    ]
    first = middle - LANE * len(row.lanes) / 2
    for number, lane in enumerate(row.lanes):
        y = first + LANE * (number + 0.5)
        parts += [_item(item, y, axis) for item in lane]
    return svg.NOTHING.join(parts)


def _item(item: Mark | Note, y: float, axis: Axis) -> Markup:
    if isinstance(item, Note):
        return svg.words("bad note" if item.bad else "note", LABEL + 4, y + 3.5, item.words)
    whisker = svg.NOTHING
    if math.isfinite(item.low) and math.isfinite(item.high):
        kind = f"whisker {svg.series_class(item.series)}"
        whisker = svg.line(kind, axis.place(item.low), axis.place(item.high), y, y)
    mark = svg.shape(item.series, axis.place(item.at), y, item.hollow)
    return svg.group(item.words, whisker, mark)
