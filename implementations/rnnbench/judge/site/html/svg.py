"""Parts that inline SVG charts are made of: scales, grids, marks and words.

Colours come from the page's style sheet (classes ``s0`` …), so that one picture serves light and
dark. A series is told by colour, shape and dash alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SHAPES = [
    "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0Z",
    "M-3,-3h6v6h-6Z",
    "M0,-4.2L4.2,0L0,4.2L-4.2,0Z",
    "M0,-4L4,3H-4Z",
    "M0,4L4,-3H-4Z",
    "M-1.2,-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8Z",
]
NOTHING = Markup("")
Ticks = Sequence[tuple[float, str]]
"""Values and the words at them; without words there is a line only."""


@dataclass(frozen=True)
class Scale:
    """An axis from the value ``low`` at ``start`` to ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def place(self, value: float) -> float:
        """Return where a value lies; what lies outside is put on the border."""
        low, high, inside = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, inside = math.log(low), math.log(high), math.log(inside)
        return self.start + (self.end - self.start) * (inside - low) / (high - low)


def decades(values: Iterable[float], most: int) -> tuple[int, int]:
    """Return the powers of ten around the positive values, at most so many below the largest."""
    found = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    high = math.ceil(math.log10(max(found)))
    return min(max(math.floor(math.log10(min(found))), high - most), high - 1), high


def picture(
    title: str,
    description: str,
    size: tuple[float, float],
    parts: Iterable[Markup],
    kind: str = "chart",
) -> Markup:
    """Return a whole picture; ``size`` is its width and height."""
    width, height = size
    opening = Markup(
        '<svg class="{kind}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="0 0 {w} {h}" width="{w}" height="{h}"><title>{title}</title><desc>{desc}</desc>'
    ).format(kind=kind, w=width, h=height, title=title, desc=description)
    return opening + NOTHING.join(parts) + Markup("</svg>")


def plane(
    title: str,
    description: str,
    axes: tuple[Scale, Scale],
    ticks: tuple[Ticks, Ticks],
    names: tuple[str, str],
    parts: Iterable[Markup],
) -> Markup:
    """Return a picture over a grid of two axes: the level one and the upright one."""
    x, y = axes
    grid = []
    for value, said in ticks[0]:
        at = x.place(value)
        grid.append(line("grid", at, at, y.start, y.end))
        if said:
            grid.append(words("tick", round(at, 1), y.start + 14, said, "middle"))
    for value, said in ticks[1]:
        at = y.place(value)
        grid.append(line("grid", x.start, x.end, at, at))
        grid.append(words("tick", x.start - 5, round(at + 3.5, 1), said, "end"))
    level, upright = names
    grid.append(words("tick", x.end, y.start + 29, f"{level} ▸", "end"))
    grid.append(words("tick", 2, y.start + 29, f"▴ {upright}"))
    return picture(title, description, (x.end + 14, y.start + 36), [*grid, *parts])


def line(kind: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    """Return a straight line."""
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, x2, y1, y2
    )


def polyline(kind: str, places: Iterable[tuple[float, float]]) -> Markup:
    """Return a line through all places."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def words(kind: str, x: float, y: float, said: str, anchor: str = "start") -> Markup:
    """Return words that begin, end or have their middle at the place."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(said)
    )


def group(title: str, *parts: Markup) -> Markup:
    """Return parts that the pointer reads ``title`` over."""
    return Markup("<g><title>{}</title>{}</g>").format(title, NOTHING.join(parts))


def series_class(series: int) -> str:
    """Return the class that colours and dashes a series."""
    return f"s{series % len(SHAPES)}"


def shape(series: int, x: float, y: float, hollow: bool = False) -> Markup:
    """Return the mark of a series, with its middle at the place."""
    return Markup('<path class="{} {}" transform="translate({:.1f},{})" d="{}"/>').format(
        "hollow" if hollow else "mark",
        series_class(series),
        x,
        round(y, 1),
        SHAPES[series % len(SHAPES)],
    )


def legend_mark(series: int, hollow: bool = False) -> Markup:
    """Return a series' mark, to stand before its name."""
    whisker = line(f"whisker {series_class(series)}", -11, 11, 0, 0)
    return Markup(
        '<svg class="key" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" '
        'viewBox="-11 -6 22 12" width="22" height="12">{}{}</svg>'
    ).format(whisker, shape(series, 0, 0, hollow))
