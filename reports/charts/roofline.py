"""The roofline as inline SVG: operations per byte to the right, GFLOP/s upwards, both logarithmic.

A slanted line is the bandwidth of a level, the flat one the peak of multiply-adds: no case can be
above the line of the level that its weights come from. Marks tell the cell by colour and shape,
filled for inference and hollow for training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.dots import shape, words_at

LEFT, PLOT_WIDTH, RIGHT = 46, 346, 14
TOP, PLOT_HEIGHT, BOTTOM = 12, 270, 36
WIDTH, HEIGHT = LEFT + PLOT_WIDTH + RIGHT, TOP + PLOT_HEIGHT + BOTTOM
NEAR = 11.0
"""Lines closer than so many units share their words."""


@dataclass(frozen=True)
class Point:
    """A case at its intensity and speed; ``words`` is what the pointer reads."""

    series: int
    intensity: float
    gflops: float
    words: str
    hollow: bool


@dataclass(frozen=True)
class Scale:
    """Logarithmic, from ``low`` at ``start`` to ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + (self.end - self.start) * share


def plot(
    title: str,
    description: str,
    peak: float,
    bandwidths: Mapping[str, float],
    points: Sequence[Point],
) -> Markup:
    """peak in GFLOP/s; bandwidths in GB/s, by the name of their level; every number positive."""
    x, y = _scales(peak, bandwidths, points)
    parts = [_grid(x, y), _roofs(peak, bandwidths, x, y), *(_mark(point, x, y) for point in points)]
    opening = Markup(
        '<svg class="chart" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(w=WIDTH, h=HEIGHT, title=title, desc=description)
    return opening + Markup("").join(parts) + Markup("</svg>")


def _scales(
    peak: float, bandwidths: Mapping[str, float], points: Sequence[Point]
) -> tuple[Scale, Scale]:
    """Powers of two that hold every point and every ridge, and room for the words on the lines."""
    ridges = [peak / bandwidth for bandwidth in bandwidths.values()]
    x = [point.intensity for point in points] + ridges
    y = [point.gflops for point in points] + [1.2 * peak, peak / 16]
    return (
        Scale(_floor(min(x) / 4), _ceil(max(x) * 1.2), LEFT, LEFT + PLOT_WIDTH),
        Scale(_floor(min(y) / 1.2), _ceil(max(y)), TOP + PLOT_HEIGHT, TOP),
    )


def _floor(value: float) -> float:
    return float(2.0 ** math.floor(math.log2(value)))


def _ceil(value: float) -> float:
    return float(2.0 ** math.ceil(math.log2(value)))


def _ticks(scale: Scale) -> list[float]:
    """At most eight powers of two."""
    first, last = (round(math.log2(value)) for value in (scale.low, scale.high))
    step = max(1, math.ceil((last - first) / 7))
    return [2.0**power for power in range(first, last + 1, step)]


def _grid(x: Scale, y: Scale) -> Markup:
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = []
    for value in _ticks(x):
        at = x.place(value)
        parts.append(line.format(at, at, y.start, y.end))
        parts.append(words_at("tick", round(at, 1), y.start + 14, f"{value:g}", "middle"))
    for value in _ticks(y):
        at = y.place(value)
        parts.append(line.format(x.start, x.end, at, at))
        parts.append(words_at("tick", LEFT - 5, round(at + 3.5, 1), f"{value:g}", "end"))
    parts.append(words_at("tick", x.end, y.start + 29, "operations per byte read ▸", "end"))
    parts.append(words_at("tick", 2, y.start + 29, "▴ GFLOP/s"))
    return Markup("").join(parts)


def _roofs(peak: float, bandwidths: Mapping[str, float], x: Scale, y: Scale) -> Markup:
    """The peak from the first ridge on, each bandwidth up to the peak, and words on each."""
    line = Markup('<line class="reference" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    top = y.place(peak)
    first_ridge = max(peak / max(bandwidths.values()), x.low)
    words = f"multiply-adds {text.number(peak)} GFLOP/s"
    parts = [
        line.format(x.place(first_ridge), x.end, top, top),
        words_at("note", x.end - 2, round(top - 4, 1), words, "end"),
    ]
    written: list[tuple[float, float, list[str]]] = []
    for name, bandwidth in bandwidths.items():
        # Where the line comes into the picture: at the left, or from below.
        start = max(x.low, y.low / bandwidth)
        ridge = peak / bandwidth
        if ridge <= start:
            continue
        left, up = x.place(start), y.place(start * bandwidth)
        parts.append(line.format(left, x.place(ridge), up, top))
        label = f"{name} {text.number(bandwidth)}"
        if written and math.hypot(left - written[-1][0], up - written[-1][1]) < NEAR:
            written[-1][2].append(label)
        else:
            written.append((left, up, [label]))
    unit = math.log(2)
    rise = (y.start - y.end) / math.log(y.high / y.low) * unit
    run = (x.end - x.start) / math.log(x.high / x.low) * unit
    angle = -math.degrees(math.atan2(rise, run))
    for left, up, labels in written:
        parts.append(
            Markup(
                '<text class="note" transform="translate({:.1f},{:.1f}) rotate({:.1f})" '
                'x="8" y="-3">{} GB/s</text>'
            ).format(left, up, angle, ", ".join(labels))
        )
    return Markup("").join(parts)


def _mark(point: Point, x: Scale, y: Scale) -> Markup:
    at, up = x.place(point.intensity), round(y.place(point.gflops), 1)
    return Markup("<g><title>{}</title>{}</g>").format(
        point.words, shape(point.series, at, up, point.hollow)
    )
