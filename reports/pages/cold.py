"""The page "Cold and warm": what is paid once, and after how many calls that is won back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.sections import costs
from reports.data import ratios
from rnnbench.judge.site.html import page
from reports.data.rows import backends, groups


@dataclass
class Section:
    """One machine and environment at its newest commit."""

    anchor: str
    machine: str
    environment: str
    commit: str
    series: dict[str, int]
    cold: costs.Cold
    every: costs.BreakEven


def render(newest: pd.DataFrame, project: str, foot: Sequence[str]) -> str:
    """The whole page as text."""
    sections: list[Section] = []
    for (machine, environment), rows in groups(newest, "machine", "environment"):
        series = {name: rank for rank, name in enumerate(backends(rows))}
        compared = ratios.to_baseline(rows)
        cold = costs.cold(rows, compared, series)
        every = costs.every_break_even(rows, compared, series)
        commit = str(rows["commit"].iloc[0])
        sections.append(
            Section(f"w{len(sections)}", machine, environment, commit, series, cold, every)
        )
    return page.page("cold.html.j2", project=project, foot=foot, sections=sections)
