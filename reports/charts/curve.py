"""Curves as inline SVG: a line and marks for each series, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import svg

LEFT, RIGHT, TOP, BOTTOM = 40, 392, 12, 242
"""Borders of the plot."""
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
    """Draw curves by name, their series the order; every number is positive.

    ticks  of the level axis: places and words
    axes   names of the level and the upright axis
    """
    heights = [point.y for curve in curves.values() for point in curve]
    x = svg.Scale(ticks[0][0] / 1.25, ticks[-1][0] * 1.25, LEFT, RIGHT)
    y = svg.Scale(min(heights) / 1.05, max(heights) * 1.05, BOTTOM, TOP)
    every = math.ceil(len(ticks) / 8)  # more words would run into each other
    level = [
        (value, words if number % every == 0 else "")
        for number, (value, words) in enumerate(reversed(ticks))
    ]
    upright = [(value, f"{value:g}") for value in _upright_ticks(y)]
    parts = [_curve(number, curve, x, y) for number, curve in enumerate(curves.values())]
    return svg.plane(title, description, (x, y), (level, upright), axes, parts)


def _upright_ticks(y: svg.Scale) -> list[float]:
    decades = range(math.floor(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
    found = [10.0**decade * step for decade in decades for step in STEPS]
    return [value for value in found if y.low <= value <= y.high]


def _curve(number: int, curve: Sequence[Point], x: svg.Scale, y: svg.Scale) -> Markup:
    places = [(x.place(point.x), y.place(point.y)) for point in curve]
    line = svg.polyline(f"whisker curve {svg.series_class(number)}", places)
    marks = [
        svg.group(point.words, svg.shape(number, *place))
        for point, place in zip(curve, places, strict=True)
    ]
    return line + svg.NOTHING.join(marks)
