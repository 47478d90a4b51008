"""Dot plots and their axes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from synthetic import MARKUP

from rnnbench.judge.site.html import dots

SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_escapes_and_is_described() -> None:
    axis = dots.ratio_axis([0.1, 3.0])
    row = dots.Row(MARKUP, [[dots.Mark(0, 2.0, MARKUP, 1.5, 2.5)], [dots.Note(MARKUP)]])
    chart = ET.fromstring(dots.dot_plot(MARKUP, "What it shows", [row], axis))
    assert chart.get("role") == "img"
    assert chart.findtext(f"{SVG}title") == MARKUP
    assert chart.findtext(f"{SVG}desc") == "What it shows"
    assert not list(chart.iter(f"{SVG}script"))


def test_places_on_the_axis() -> None:
    axis = dots.ratio_axis([0.25, 4.0])
    left, middle, right = (axis.place(value) for value in (0.25, 1, 4))
    assert left < middle < right
    assert middle - left == pytest.approx(right - middle)
    assert axis.place(1e9) == right


def test_an_axis_needs_no_values() -> None:
    assert dots.ratio_axis([]).low < 1 < dots.ratio_axis([]).high
    assert dots.seconds_axis([]).low < dots.seconds_axis([]).high


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.5, 3.0], 0.1, 10.0), ([1e-30, 1.0], 1e-12, 1.0), ([0.0], 0.1, 1.0), ([], 0.1, 1.0)],
)
def test_the_axis_of_numbers_is_powers_of_ten(values: list[float], low: float, high: float) -> None:
    axis = dots.number_axis(values)
    assert (axis.low, axis.high) == (pytest.approx(low), pytest.approx(high))
    assert axis.place(1e-40) == axis.place(low)
    assert bool(axis.ends[0]) == (min(values, default=1) == 1e-30)  # what is cut off is said
    assert 2 <= len(axis.ticks) <= 7
