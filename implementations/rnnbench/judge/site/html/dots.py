"""Dot plots on a logarithmic axis, as inline SVG.

One row per case, one lane per backend: a mark with its whisker, or words where there is no number.
A backend is told by colour, shape and dash alike. Colours come from the page's style sheet (classes
``s0`` …), so that one picture serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from rnnbench.judge.site.html import text

LABEL, PLOT, RIGHT = 92, 300, 14
WIDTH = LABEL + PLOT + RIGHT
DECADES = 12
TOP, LANE, GAP, BOTTOM = 26, 13, 8, 20
SHAPES = [
    "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0Z",
    "M-3,-3h6v6h-6Z",
    "M0,-4.2L4.2,0L0,4.2L-4.2,0Z",
    "M0,-4L4,3H-4Z",
    "M0,4L4,-3H-4Z",
    "M-1.2,-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8Z",
]


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


@dataclass
class Row:
    """A label and its lanes, each with the marks of one backend."""

    label: str
    lanes: list[list[Mark | Note]] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from ``low`` to ``high``, with labelled ticks."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    reference: float | None = None
    ends: tuple[str, str] = ("", "")

    def place(self, value: float) -> float:
        """Horizontal position; what lies outside is put on the border."""
        inside = min(max(value, self.low), self.high)
        span = math.log(self.high / self.low)
        return LABEL + PLOT * math.log(inside / self.low) / span


def ratio_axis(
    values: Iterable[float], ends: tuple[str, str] = ("◂ slower than native", "faster ▸")
) -> Axis:
    """Powers of two around 1, the same for all charts drawn with it."""
    logs = [math.log2(value) for value in values if value > 0 and math.isfinite(value)]
    low = math.floor(min([*logs, -0.9]))
    high = math.ceil(max([*logs, 0.9]))
    step = max(1, math.ceil((high - low) / 8))
    ticks = [exponent for exponent in range(low, high + 1) if exponent % step == 0]
    labelled = [(2.0**exponent, _power_of_two(exponent)) for exponent in ticks]
    return Axis(2.0**low, 2.0**high, labelled, 1.0, ends)


def seconds_axis(values: Iterable[float]) -> Axis:
    """Powers of ten around the values."""
    return _decimal_axis([value for value in values if value > 0 and math.isfinite(value)])


def number_axis(values: Iterable[float]) -> Axis:
    """Powers of ten around the values, at most `DECADES` of them below the largest."""
    found = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    high = math.ceil(math.log10(max(found)))
    low = min(max(math.floor(math.log10(min(found))), high - DECADES), high - 1)
    step = max(1, math.ceil((high - low) / 6))
    ticks = [(10.0**power, f"{10.0**power:g}") for power in range(high, low - 1, -step)]
    cut = "◂ and smaller" if min(found) < 10.0**low else ""
    return Axis(10.0**low, 10.0**high, ticks, ends=(cut, ""))


def dot_plot(
    title: str, description: str, rows: Sequence[Row], axis: Axis, lanes: int = 1
) -> Markup:
    """The whole picture; a row is as high as ``lanes`` at least."""
    heights = [max(len(row.lanes), lanes) * LANE + GAP for row in rows]
    bottom = TOP + sum(heights)
    parts = [_grid(axis, bottom)]
    top = float(TOP)
    for row, height in zip(rows, heights, strict=True):
        parts.append(_row(row, top, height, axis))
        top += height
    opening = Markup(
        '<svg class="chart" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(w=WIDTH, h=bottom + BOTTOM, title=title, desc=description)
    return opening + Markup("").join(parts) + Markup("</svg>")


def legend_mark(series: int, hollow: bool = False) -> Markup:
    """A backend's mark, to stand before its name."""
    return Markup(
        '<svg class="key" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="-11 -6 22 12" width="22" height="12">{whisker}{shape}</svg>'
    ).format(whisker=_line(series, -11, 11, 0), shape=shape(series, 0, 0, hollow))


def _decimal_axis(values: Sequence[float]) -> Axis:
    logs = [math.log10(value) for value in values] or [0.0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    high = max(high, low + 1)
    ticks = [(10.0**power, text.quantity(10.0**power, "seconds")) for power in range(low, high + 1)]
    return Axis(10.0**low, 10.0**high, [(at, _short(words)) for at, words in ticks])


def _short(words: str) -> str:
    """``100 ms`` for ``100 ms``, ``1 s`` for ``1.00 s``."""
    value, unit = words.split(" ")
    return f"{float(value):g} {unit}"


def _power_of_two(exponent: int) -> str:
    return f"{2**exponent}×" if exponent >= 0 else f"1/{2**-exponent}×"


def _grid(axis: Axis, bottom: float) -> Markup:
    parts = []
    for value, words in axis.ticks:
        at = round(axis.place(value), 1)
        kind = "reference" if value == axis.reference else "grid"
        parts.append(
            Markup(
                '<line class="{kind}" x1="{at}" x2="{at}" y1="{y1}" y2="{y2}"/>'
                '<text class="tick" x="{at}" y="{ty}" text-anchor="middle">{words}</text>'
            ).format(kind=kind, at=at, y1=TOP - 4, y2=bottom, ty=bottom + 13, words=words)
        )
    left, right = axis.ends
    parts.append(words_at("tick", LABEL, TOP - 10, left))
    parts.append(words_at("tick", LABEL + PLOT, TOP - 10, right, anchor="end"))
    return Markup("").join(parts)


def _row(row: Row, top: float, height: float, axis: Axis) -> Markup:
    middle = top + height / 2
    parts = [
        Markup('<line class="rule" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(WIDTH, y=top),
        words_at("label", LABEL - 10, middle + 4, row.label, anchor="end"),
    ]
    first = middle - LANE * len(row.lanes) / 2
    for number, lane in enumerate(row.lanes):
        y = first + LANE * (number + 0.5)
        parts += [_item(item, y, axis) for item in lane]
    return Markup("").join(parts)


def _item(item: Mark | Note, y: float, axis: Axis) -> Markup:
    if isinstance(item, Note):
        return words_at("bad note" if item.bad else "note", LABEL + 4, y + 3.5, item.words)
    at = axis.place(item.at)
    whisker = Markup("")
    if math.isfinite(item.low) and math.isfinite(item.high):
        whisker = _line(item.series, axis.place(item.low), axis.place(item.high), y)
    return Markup("<g><title>{}</title>{}{}</g>").format(
        item.words, whisker, shape(item.series, at, y, item.hollow)
    )


def _line(series: int, left: float, right: float, y: float) -> Markup:
    return Markup('<line class="whisker s{}" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>').format(
        series % len(SHAPES), left, right, y=y
    )


def shape(series: int, at: float, y: float, hollow: bool) -> Markup:
    """The mark of a series, in the middle of which the place is."""
    number = series % len(SHAPES)
    return Markup('<path class="{} s{}" transform="translate({:.1f},{})" d="{}"/>').format(
        "hollow" if hollow else "mark", number, at, y, SHAPES[number]
    )


def words_at(kind: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Words that begin, end or have their middle at the place."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )
