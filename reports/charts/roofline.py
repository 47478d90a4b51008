"""The roofline as inline SVG: operations per byte to the right, GFLOP/s upwards, both logarithmic.

A slanted line is the bandwidth of a level, the flat one the peak of multiply-adds: no case can be
above the line of the level that its weights come from. Marks tell the cell by colour and shape,
filled for inference and hollow for training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import svg, text
from rnnbench.judge.site.html.svg import Scale

LEFT, RIGHT, TOP, BOTTOM = 46, 392, 12, 282
"""Borders of the plot."""
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


def plot(
    title: str,
    description: str,
    peak: float,
    bandwidths: Mapping[str, float],
    points: Sequence[Point],
) -> Markup:
    """Draw the peak, in GFLOP/s, the bandwidths of levels, in GB/s, and points; all positive."""
    x, y = _scales(peak, bandwidths, points)
    marks = [
        svg.group(
            point.words,
            svg.shape(point.series, x.place(point.intensity), y.place(point.gflops), point.hollow),
        )
        for point in points
    ]
    names = ("operations per byte read", "GFLOP/s")
    parts = [_roofs(peak, bandwidths, x, y), *marks]
    return svg.plane(title, description, (x, y), (_ticks(x), _ticks(y)), names, parts)


def _scales(
    peak: float, bandwidths: Mapping[str, float], points: Sequence[Point]
) -> tuple[Scale, Scale]:
    """Return powers of two that hold every point and ridge, and room for the lines' words."""
    ridges = [peak / bandwidth for bandwidth in bandwidths.values()]
    x = [point.intensity for point in points] + ridges
    y = [point.gflops for point in points] + [1.2 * peak, peak / 16]
    return (
        Scale(_power(min(x) / 4, math.floor), _power(max(x) * 1.2, math.ceil), LEFT, RIGHT),
        Scale(_power(min(y) / 1.2, math.floor), _power(max(y), math.ceil), BOTTOM, TOP),
    )


def _power(value: float, rounded: Callable[[float], int]) -> float:
    return float(2.0 ** rounded(math.log2(value)))


def _ticks(scale: Scale) -> svg.Ticks:
    """Return at most eight powers of two."""
    first, last = (round(math.log2(value)) for value in (scale.low, scale.high))
    step = max(1, math.ceil((last - first) / 7))
    return [(2.0**power, f"{2.0**power:g}") for power in range(first, last + 1, step)]


def _roofs(peak: float, bandwidths: Mapping[str, float], x: Scale, y: Scale) -> Markup:
    """Return the peak from the first ridge on, each bandwidth up to the peak, and their words."""
    top = y.place(peak)
    first_ridge = max(peak / max(bandwidths.values()), x.low)
    words = f"multiply-adds {text.number(peak)} GFLOP/s"
    parts = [
        svg.line("reference", x.place(first_ridge), x.end, top, top),
        svg.words("note", x.end - 2, round(top - 4, 1), words, "end"),
    ]
    written: list[tuple[float, float, list[str]]] = []
    for name, bandwidth in bandwidths.items():
        # Where the line comes into the picture: at the left, or from below.
        start = max(x.low, y.low / bandwidth)
        ridge = peak / bandwidth
        if ridge <= start:
            continue
        left, up = x.place(start), y.place(start * bandwidth)
        parts.append(svg.line("reference", left, x.place(ridge), up, top))
        label = f"{name} {text.number(bandwidth)}"
        if written and math.hypot(left - written[-1][0], up - written[-1][1]) < NEAR:
            written[-1][2].append(label)
        else:
            written.append((left, up, [label]))
    rise = (y.start - y.end) / math.log(y.high / y.low)
    run = (x.end - x.start) / math.log(x.high / x.low)
    angle = -math.degrees(math.atan2(rise, run))
    for left, up, labels in written:
        parts.append(
            Markup(
                '<text class="note" transform="translate({:.1f},{:.1f}) rotate({:.1f})" '
                'x="8" y="-3">{} GB/s</text>'
            ).format(left, up, angle, ", ".join(labels))
        )
    return svg.NOTHING.join(parts)
