"""Numbers to text."""

from __future__ import annotations

import math

import pytest

from rnnbench.judge.site.html import text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (1.2, "1.20"),
        (9.999, "10.0"),
        (34.56, "34.6"),
        (1234.5, "1,230"),
        (0.01234, "0.0123"),
        (-2.5, "-2.50"),
        (0.00000123, "0.00000123"),
        (1.9e-25, "1.90e-25"),
        (math.nan, "—"),
        (math.inf, "∞"),
    ],
)
def test_three_digits_and_an_exponent_below_a_millionth_only(value: float, words: str) -> None:
    assert text.number(value) == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.00123, "seconds", "1.23 ms"),
        (0.9999, "seconds", "1.00 s"),
        (0.9994e-3, "seconds", "999 µs"),
        (75.0, "seconds", "75.0 s"),
        (1536, "bytes", "1.50 KiB"),
        (12, "eps", "12.0 eps"),
        (math.nan, "seconds", "—"),
    ],
)
def test_units_are_scaled(value: float, unit: str, words: str) -> None:
    assert text.quantity(value, unit) == words


def test_an_interval_says_its_unit_once() -> None:
    assert text.interval(0.0012, 0.0014, "seconds") == "1.20–1.40 ms"
    assert text.interval(0.0009, 0.0014, "seconds") == "900 µs–1.40 ms"
    assert text.interval(1.0, math.inf) == ""


def test_break_even_counts_in_words() -> None:
    assert [text.calls(n) for n in (1, 1200, math.inf, math.nan)] == [
        "at once",
        "1,200 calls",
        "never",
        "—",
    ]


def test_moments_are_utc() -> None:
    assert text.moment(0) == "1970-01-01 00:00 UTC"
    assert text.moment(math.nan) == "—"
