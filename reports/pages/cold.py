"""The page "Cold and warm": one-off costs, and after how many calls they are won back."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.data import ratios
from reports.data.report import Report
from reports.data.rows import groups, series_of
from reports.pages.template import fill
from reports.sections import costs
from rnnbench.judge.site.html.page import Frame


def render(report: Report, frame: Frame) -> str:
    """Return the whole page as text."""
    sections = [
        {"anchor": f"w{number}", "machine": machine, "environment": environment} | _section(rows)
        for number, ((machine, environment), rows) in enumerate(
            groups(report.newest, "machine", "environment")
        )
    ]
    return fill("cold.html.j2", frame, sections=sections)


def _section(rows: pd.DataFrame) -> dict[str, Any]:
    series, compared = series_of(rows), ratios.to_baseline(rows)
    return {
        "commit": str(rows["commit"].iloc[0]),
        "series": series,
        "cold": costs.cold(rows, compared, series),
        "every": costs.every_break_even(rows, compared, series),
    }
