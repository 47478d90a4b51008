"""Curves as inline SVG: a line and marks for each series, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html.dots import SHAPES, shape, words_at
from reports.charts.roofline import Scale

LEFT, PLOT_WIDTH, RIGHT = 40, 352, 14
TOP, PLOT_HEIGHT, BOTTOM = 12, 230, 36
WIDTH, HEIGHT = LEFT + PLOT_WIDTH + RIGHT, TOP + PLOT_HEIGHT + BOTTOM
STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""Ticks of the upright axis within a decade; losses seldom span a whole one."""


@dataclass(frozen=True)
class Point:
    """A place on a curve; ``words`` is what the pointer reads."""

    x: float
    y: float
    words: str


def plot(
    title: str,
    description: str,
    curves: Mapping[str, Sequence[Point]],
    ticks: Sequence[tuple[float, str]],
    axes: tuple[str, str],
) -> Markup:
    """curves by name, their series the order; every number positive.

    ticks  of the level axis: places and words
    axes   what the level and the upright axis are
    """
    points = [point for curve in curves.values() for point in curve]
    x = Scale(ticks[0][0] / 1.25, ticks[-1][0] * 1.25, LEFT, LEFT + PLOT_WIDTH)
    low, high = min(p.y for p in points), max(p.y for p in points)
    y = Scale(low / 1.05, high * 1.05, TOP + PLOT_HEIGHT, TOP)
    parts = [_grid(x, y, ticks, axes)]
    parts += [_curve(number, curve, x, y) for number, curve in enumerate(curves.values())]
    opening = Markup(
        '<svg class="chart" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(w=WIDTH, h=HEIGHT, title=title, desc=description)
    return opening + Markup("").join(parts) + Markup("</svg>")


def _upright_ticks(y: Scale) -> list[float]:
    decades = range(math.floor(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
    found = [10.0**decade * step for decade in decades for step in STEPS]
    return [value for value in found if y.low <= value <= y.high]


def _grid(x: Scale, y: Scale, ticks: Sequence[tuple[float, str]], axes: tuple[str, str]) -> Markup:
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = []
    every = math.ceil(len(ticks) / 8)  # more words would run into each other
    for number, (value, words) in enumerate(reversed(ticks)):
        at = x.place(value)
        parts.append(line.format(at, at, y.start, y.end))
        if number % every == 0:
            parts.append(words_at("tick", round(at, 1), y.start + 14, words, "middle"))
    for value in _upright_ticks(y):
        at = y.place(value)
        parts.append(line.format(x.start, x.end, at, at))
        parts.append(words_at("tick", LEFT - 5, round(at + 3.5, 1), f"{value:g}", "end"))
    level, upright = axes
    parts.append(words_at("tick", x.end, y.start + 29, f"{level} ▸", "end"))
    parts.append(words_at("tick", 2, y.start + 29, f"▴ {upright}"))
    return Markup("").join(parts)


def _curve(number: int, curve: Sequence[Point], x: Scale, y: Scale) -> Markup:
    places = [(x.place(point.x), round(y.place(point.y), 1)) for point in curve]
    line = Markup('<polyline class="whisker curve s{}" points="{}"/>').format(
        number % len(SHAPES), " ".join(f"{at:.1f},{up}" for at, up in places)
    )
    marks = [
        Markup("<g><title>{}</title>{}</g>").format(point.words, shape(number, at, up, False))
        for point, (at, up) in zip(curve, places, strict=True)
    ]
    return line + Markup("").join(marks)
