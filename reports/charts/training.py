"""Curves over steps or epochs, as inline SVG: the axis to the right linear, upwards logarithmic.

A series has its colour, its dash, and its shape at the end of the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.dots import SHAPES, shape, words_at

LEFT, PLOT_WIDTH, RIGHT = 52, 340, 14
TOP, PLOT_HEIGHT, BOTTOM = 14, 200, 34
WIDTH, HEIGHT = LEFT + PLOT_WIDTH + RIGHT, TOP + PLOT_HEIGHT + BOTTOM
DECADES = 30
POINTS = 240
"""More of them a curve does not need at this width."""


@dataclass(frozen=True)
class Line:
    """A curve; figures that are not positive or not finite are gaps. ``series`` None: a limit."""

    name: str
    values: Sequence[float | None]
    series: int | None


def plot(title: str, description: str, lines: Sequence[Line], across: str, up: str) -> Markup:
    """The whole picture; ``across`` and ``up`` name the axes."""
    shown = [v for line in lines for v in line.values if _shown(v)]
    length = max([len(line.values) for line in lines], default=1)
    low, high = _decades([v for v in shown if v is not None])
    parts = [_grid(low, high, length, across, up)]
    parts += [_curve(line, low, high, length) for line in lines]
    opening = Markup(
        '<svg class="chart" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(w=WIDTH, h=HEIGHT, title=title, desc=description)
    return opening + Markup("").join(parts) + Markup("</svg>")


def _shown(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around the values, at most `DECADES` below the largest."""
    high = math.ceil(math.log10(max(values, default=1.0)))
    low = math.floor(math.log10(min(values, default=0.1)))
    return min(max(low, high - DECADES), high - 1), high


def _x(step: float, length: int) -> float:
    return LEFT + PLOT_WIDTH * step / max(length - 1, 1)


def _y(value: float, low: int, high: int) -> float:
    inside = min(max(math.log10(value), low), high)
    return TOP + PLOT_HEIGHT * (high - inside) / (high - low)


def _grid(low: int, high: int, length: int, across: str, up: str) -> Markup:
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    bottom, parts = TOP + PLOT_HEIGHT, []
    for power in range(low, high + 1, max(1, math.ceil((high - low) / 6))):
        y = _y(10.0**power, low, high)
        parts.append(line.format(LEFT, LEFT + PLOT_WIDTH, y, y))
        parts.append(words_at("tick", LEFT - 5, round(y + 3.5, 1), _power(power), "end"))
    for step in sorted({0, (length - 1) // 2, length - 1}):
        x = _x(step, length)
        parts.append(line.format(x, x, TOP, bottom))
        parts.append(words_at("tick", round(x, 1), bottom + 14, f"{step:,}", "middle"))
    parts.append(words_at("tick", LEFT + PLOT_WIDTH, bottom + 29, f"{across} ▸", "end"))
    parts.append(words_at("tick", 2, bottom + 29, f"▴ {up}"))
    return Markup("").join(parts)


def _power(power: int) -> str:
    return f"{10.0**power:g}"


def _curve(line: Line, low: int, high: int, length: int) -> Markup:
    stride = max(1, math.ceil(len(line.values) / POINTS))
    kept = [
        (step, value)
        for step, value in enumerate(line.values)
        if value is not None
        and _shown(value)
        and (step % stride == 0 or step + 1 == len(line.values))
    ]
    if not kept:
        return Markup("")
    points = [(_x(step, length), _y(value, low, high)) for step, value in kept]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    last = text.number(kept[-1][1])
    kind = "limit" if line.series is None else f"trace s{line.series % len(SHAPES)}"
    end = Markup("")
    if line.series is not None:
        end = shape(line.series, points[-1][0], round(points[-1][1], 1), hollow=False)
    return Markup(
        '<g><title>{}: {} at the end</title><polyline class="{}" points="{}"/>{}</g>'
    ).format(line.name, last, kind, path, end)
