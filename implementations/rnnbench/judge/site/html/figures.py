"""Parts of templates: cells of tables, panels of a table beside its chart, banners."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from rnnbench.judge.site.html import text


@dataclass(frozen=True)
class Figure:
    """One cell of a table: its text, a smaller second line, its sort key and its CSS class."""

    text: str
    note: str = ""
    sort: float | None = None
    look: str = ""


@dataclass
class Panel:
    """A chart and the same figures as a table: a line per label, a column per head.

    series  what has a mark of its own in the chart → its number; empty where the label says it
    """

    title: str
    chart: Markup
    series: dict[str, int]
    corner: str
    heads: list[str]
    lines: list[tuple[str, list[Figure]]]


@dataclass(frozen=True)
class Banner:
    """A headline and the rest of its sentence; ``look`` is ``good``, ``warn`` or ``bad``."""

    look: str
    headline: str
    detail: str = ""


NOTHING = Figure(text.NONE, look="muted")


def number(value: float, note: str = "") -> Figure:
    """Return a number with three digits, `NOTHING` for NaN."""
    return NOTHING if math.isnan(value) else Figure(text.number(value), note, value)


def quantity(value: float, unit: str, note: str = "") -> Figure:
    """Return a value with its unit, `NOTHING` for NaN."""
    return NOTHING if math.isnan(value) else Figure(text.quantity(value, unit), note, value)


def times(ratio: float) -> Figure:
    """Return a ratio as ``2.31×``."""
    return Figure(text.ratio(ratio), sort=ratio)
