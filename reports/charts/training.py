"""Curves over steps or epochs, as inline SVG: the axis to the right linear, upwards logarithmic.

A series has its colour, its dash, and its shape at the end of the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import svg, text

LEFT, RIGHT, TOP, BOTTOM = 52, 392, 14, 214
"""Borders of the plot."""
DECADES = 30
POINTS = 240
"""More of them a curve does not need at this width."""


@dataclass(frozen=True)
class Line:
    """A curve; values that are not positive or not finite are gaps. ``series`` None: a limit."""

    name: str
    values: Sequence[float | None]
    series: int | None

    @property
    def places(self) -> list[tuple[int, float]]:
        """Steps and values, the gaps left out."""
        found = enumerate(self.values)
        return [(n, v) for n, v in found if v is not None and math.isfinite(v) and v > 0]


def plot(title: str, description: str, lines: Sequence[Line], across: str, up: str) -> Markup:
    """Return the whole picture; ``across`` and ``up`` name the axes."""
    last = max([len(line.values) for line in lines], default=1) - 1
    low, high = svg.decades([value for line in lines for _, value in line.places], DECADES)
    x = svg.Scale(0, max(last, 1), LEFT, RIGHT, log=False)
    y = svg.Scale(10.0**low, 10.0**high, BOTTOM, TOP)
    level = [(float(step), f"{step:,}") for step in sorted({0, last // 2, last})]
    powers = range(low, high + 1, max(1, math.ceil((high - low) / 6)))
    upright = [(10.0**power, f"{10.0**power:g}") for power in powers]
    parts = [_curve(line, x, y) for line in lines]
    return svg.plane(title, description, (x, y), (level, upright), (across, up), parts)


def _curve(line: Line, x: svg.Scale, y: svg.Scale) -> Markup:
    stride = max(1, math.ceil(len(line.values) / POINTS))
    end = len(line.values) - 1
    kept = [(step, value) for step, value in line.places if step % stride == 0 or step == end]
    if not kept:
        return svg.NOTHING
    points = [(x.place(step), y.place(value)) for step, value in kept]
    name = f"{line.name}: {text.number(kept[-1][1])} at the end"
    if line.series is None:
        return svg.group(name, svg.polyline("limit", points))
    trace = svg.polyline(f"trace {svg.series_class(line.series)}", points)
    return svg.group(name, trace, svg.shape(line.series, *points[-1]))
