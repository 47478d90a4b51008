"""Numbers to text: the one place that decides how a figure reads."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NONE = "—"
SECONDS = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]
BYTES = [(2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")]


def number(value: float, digits: int = 3) -> str:
    """Return three significant digits: ``0.0123``, ``1.20``, ``1,230``; below 1e-6 ``1.90e-25``."""
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if abs(value) < 1e-6:
        return f"{value:.{digits - 1}e}"
    # Rounded first, so that 9.999 is one of two digits before the point and not of one.
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(decimals, 0)}f}"


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit, scaled where the unit has scales."""
    if unit == "seconds":
        return _scaled(value, SECONDS)
    if unit == "bytes":
        return _scaled(value, BYTES)
    return f"{number(value)} {unit}".strip() if math.isfinite(value) else number(value)


def interval(low: float, high: float, unit: str = "") -> str:
    """Return ``1.20–1.34``, with a unit ``1.20–1.34 ms``; empty where a bound is not known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    first, last = quantity(low, unit), quantity(high, unit)
    # 1.20 ms–1.34 ms says the unit twice.
    own_unit = f" {last.split(' ')[-1]}" if " " in last else ""
    return f"{first.removesuffix(own_unit)}–{last}"


def ratio(value: float) -> str:
    """Return ``2.31×``."""
    return f"{number(value)}×" if math.isfinite(value) else NONE


def calls(value: float) -> str:
    """Return a break-even count: ``41 calls``, ``at once``, ``never``."""
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "never"
    return "at once" if value <= 1 else f"{value:,.0f} calls"


def count(value: float | None) -> str:
    """Return a whole number that may be missing."""
    return NONE if value is None or math.isnan(value) else f"{value:,.0f}"


def plural(number_of: int, word: str) -> str:
    """Return ``1 case``, ``1,200 cases``."""
    return f"{number_of:,} {word if number_of == 1 else word + 's'}"


def moment(milliseconds: float | None) -> str:
    """Return a JavaScript time stamp, as asv keeps them, in UTC to the minute."""
    if milliseconds is None or not math.isfinite(milliseconds):
        return NONE
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_moment(at: str) -> str:
    """Return an ISO moment in UTC to the minute; text that is none stays as it is."""
    try:
        return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return at


def seconds(value: float) -> str:
    """Return ``1.20 ms``."""
    return quantity(value, "seconds")


def _scaled(value: float, scales: list[tuple[float, str]]) -> str:
    if not math.isfinite(value):
        return number(value)
    # 0.9996 ms rounds to 1.00 ms: compare what will be shown.
    size = abs(float(f"{value:.2e}"))
    factor, unit = next((scale for scale in scales if size >= scale[0]), scales[-1])
    return f"{number(value / factor)} {unit}"
