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

from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.dots import words_at

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
    """The picture; None without a single figure."""
    known = [point.value for point in line.points if math.isfinite(point.value)]
    if not known:
        return None
    low, high = _range([*known, *(value for *_, value in line.levels)])
    scale = _Scale(len(line.points), low, high)
    parts = [_band(line, scale), _grid(line, scale)]
    parts += [_point(number, point, scale) for number, point in enumerate(line.points)]
    parts += [_level(level, scale) for level in line.levels]
    parts += [_mark(place, words, scale) for place, words in line.marks.items()]
    opening = Markup(
        '<svg class="chart line" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(w=WIDTH, h=HEIGHT, title=title, desc=description)
    return opening + Markup("").join(parts) + Markup("</svg>")


@dataclass(frozen=True)
class _Scale:
    count: int
    low: float
    high: float

    def x(self, place: float) -> float:
        span = max(self.count - 1, 1)
        return LEFT + 6 + (WIDTH - LEFT - RIGHT - 12) * (place / span if self.count > 1 else 0.5)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - inside) / (self.high - self.low)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The figures' span with some room; noise of a thousandth does not fill the picture."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, abs(high) * 0.03, 1e-300)
    return low - room, high + room


def _grid(line: Line, scale: _Scale) -> Markup:
    parts = []
    for share in (0.08, 0.5, 0.92):
        value = scale.low + share * (scale.high - scale.low)
        at = round(scale.y(value), 1)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                LEFT, WIDTH - RIGHT, y=at
            )
        )
        words = text.quantity(value, line.unit)
        parts.append(words_at("tick", LEFT - 6, at + 3.5, words, anchor="end"))
    bottom = HEIGHT - 8
    parts.append(words_at("tick", LEFT, bottom, line.ends[0]))
    parts.append(words_at("tick", WIDTH - RIGHT, bottom, line.ends[1], anchor="end"))
    return Markup("").join(parts)


def _band(line: Line, scale: _Scale) -> Markup:
    if line.band is None:
        return Markup("")
    first, last = line.band
    left, right = scale.x(first) - 5, scale.x(last) + 5
    return Markup(
        '<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}">'
        "<title>the change began here</title></rect>"
    ).format(left, TOP - 6, right - left, HEIGHT - TOP - BOTTOM + 12)


def _point(place: int, point: Point, scale: _Scale) -> Markup:
    if not math.isfinite(point.value):
        return Markup("")
    x = round(scale.x(place), 1)
    whisker = Markup("")
    if math.isfinite(point.low) and math.isfinite(point.high):
        whisker = Markup('<line class="bar" x1="{x}" x2="{x}" y1="{:.1f}" y2="{:.1f}"/>').format(
            scale.y(point.low), scale.y(point.high), x=x
        )
    return Markup(
        '<g><title>{}</title>{}<circle class="dot" cx="{}" cy="{:.1f}" r="2.2"/></g>'
    ).format(point.words, whisker, x, scale.y(point.value))


def _level(level: tuple[int, int, float], scale: _Scale) -> Markup:
    first, last, value = level
    return Markup('<line class="level" x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
        scale.x(first), scale.x(last), y=scale.y(value)
    )


def _mark(place: int, words: str, scale: _Scale) -> Markup:
    return Markup(
        '<g><title>{}</title><path class="changed" transform="translate({:.1f},{})" '
        'd="M0,-5L4,0L0,5L-4,0Z"/></g>'
    ).format(words, scale.x(place), HEIGHT - BOTTOM + 8)
