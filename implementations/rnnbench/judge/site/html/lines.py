"""A case's figures over the commits as inline SVG: points, intervals, levels, and what changed.

A linear axis that need not begin at zero: the question is whether a level moved. The commits that
a change may have begun in are a shaded band; a rhomb on the axis marks a commit from which on the
environment was another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from rnnbench.judge.site.html import svg, text

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 10, 12, 30


@dataclass(frozen=True)
class Point:
    """One commit's figure; NaN where there is none. ``words``: what the pointer reads."""

    value: float
    low: float
    high: float
    words: str


@dataclass
class Line:
    """A history.

    band    first and last place of the commits that a change may have begun in
    levels  from place, to place, value
    marks   place → what changed in the environment
    """

    points: Sequence[Point]
    unit: str
    ends: tuple[str, str] = ("", "")
    band: tuple[int, int] | None = None
    levels: Sequence[tuple[int, int, float]] = ()
    marks: dict[int, str] = field(default_factory=dict)


def line_chart(title: str, description: str, line: Line) -> Markup | None:
    """Return the picture; None without a single figure."""
    known = [point.value for point in line.points if math.isfinite(point.value)]
    if not known:
        return None
    low, high = _range([*known, *(value for *_, value in line.levels)])
    last = len(line.points) - 1
    x = svg.Scale(0 if last else -1, last or 1, LEFT + 6, WIDTH - RIGHT - 6, log=False)
    y = svg.Scale(low, high, HEIGHT - BOTTOM, TOP, log=False)
    parts = [_band(line, x), _grid(line, y)]
    parts += [_point(place, point, x, y) for place, point in enumerate(line.points)]
    parts += [
        svg.line("level", x.place(first), x.place(last), y.place(value), y.place(value))
        for first, last, value in line.levels
    ]
    parts += [_mark(x.place(place), words) for place, words in line.marks.items()]
    return svg.picture(title, description, (WIDTH, HEIGHT), parts, kind="chart line")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the figures' span with some room; noise of a thousandth must not fill the picture."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, abs(high) * 0.03, 1e-300)
    return low - room, high + room


def _grid(line: Line, y: svg.Scale) -> Markup:
    parts = []
    for share in (0.08, 0.5, 0.92):
        value = y.low + share * (y.high - y.low)
        at = round(y.place(value), 1)
        parts.append(svg.line("grid", LEFT, WIDTH - RIGHT, at, at))
        parts.append(svg.words("tick", LEFT - 6, at + 3.5, text.quantity(value, line.unit), "end"))
    parts.append(svg.words("tick", LEFT, HEIGHT - 8, line.ends[0]))
    parts.append(svg.words("tick", WIDTH - RIGHT, HEIGHT - 8, line.ends[1], "end"))
    return svg.NOTHING.join(parts)


def _band(line: Line, x: svg.Scale) -> Markup:
    if line.band is None:
        return svg.NOTHING
    left, right = (x.place(place) for place in line.band)
    return Markup(
        '<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}">'
        "<title>the change began here</title></rect>"
    ).format(left - 5, TOP - 6, right - left + 10, HEIGHT - TOP - BOTTOM + 12)


def _point(place: int, point: Point, x: svg.Scale, y: svg.Scale) -> Markup:
    if not math.isfinite(point.value):
        return svg.NOTHING
    at, whisker = x.place(place), svg.NOTHING
    if math.isfinite(point.low) and math.isfinite(point.high):
        whisker = svg.line("bar", at, at, y.place(point.low), y.place(point.high))
    dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.2"/>')
    return svg.group(point.words, whisker, dot.format(at, y.place(point.value)))


def _mark(at: float, words: str) -> Markup:
    rhomb = Markup(
        '<path class="changed" transform="translate({:.1f},{})" d="M0,-5L4,0L0,5L-4,0Z"/>'
    )
    return svg.group(words, rhomb.format(at, HEIGHT - BOTTOM + 8))
