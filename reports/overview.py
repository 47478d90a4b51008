"""The landing page: rows to what the template shows, and the template to one HTML file.

How a page is put together is in `site`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from . import costs, curves, facts, matrix, ratios, site, speed, text, truncation
from .commits import Commit
from .rows import Loaded, backends, groups, latest
from .verdict import Verdict, verdict


@dataclass
class Section:
    """One machine and environment at its newest commit: all that the template shows of it."""

    anchor: str
    machine: str
    environment: str
    python: str
    commit: Commit
    date: str
    measured_at: str
    profiles: str
    verdict: Verdict
    series: dict[str, int]
    parity: matrix.Matrix
    phases: list[speed.Phase]
    losses: list[speed.Losses]
    cold: costs.Cold
    memory: costs.Memory
    truncation: list[truncation.Panel]
    learning: curves.Learning
    absences: list[facts.Absence]
    identity: list[facts.Identity]
    control: list[Any]
    facts: list[tuple[str, str]]
    cases: list[tuple[dict[Any, Any], speed.Figure, speed.Figure]]


def render(
    loaded: Loaded,
    commits: Mapping[str, Commit],
    project: str,
    learning: Mapping[str, curves.Learning] | None = None,
) -> str:
    """The whole page as text.

    learning  curves by host; those of a host without results of asv are put after the sections
    """
    learning = learning or {}
    rows = loaded.rows
    sections = [
        _section(number, machine, environment, group, loaded, commits, learning)
        for number, ((machine, environment), group) in enumerate(
            groups(latest(rows), "machine", "environment")
        )
    ]
    return site.page(
        "index.html.j2",
        project=project,
        sections=sections,
        elsewhere=sorted(
            (host, own)
            for host, own in learning.items()
            if host not in {section.machine for section in sections}
        ),
        problems=loaded.problems,
        history=facts.history(rows, commits),
        nothing=verdict(rows) if not sections else None,
        published=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _section(
    number: int,
    machine: str,
    environment: str,
    rows: pd.DataFrame,
    loaded: Loaded,
    commits: Mapping[str, Commit],
    learning: Mapping[str, curves.Learning],
) -> Section:
    series = {name: rank for rank, name in enumerate(backends(rows))}
    compared = ratios.to_baseline(rows)
    first = rows.iloc[0]
    return Section(
        anchor=f"s{number}",
        machine=machine,
        environment=environment,
        python=str(first["python"] or ""),
        commit=commits[first["commit"]],
        date=text.moment(first["date"]),
        measured_at=text.moment(rows["started_at"].max()),
        profiles=", ".join(dict.fromkeys(rows["profile"].dropna())) or "not recorded",
        verdict=verdict(rows),
        series=series,
        parity=matrix.matrix(rows, series),
        phases=speed.phases(rows, compared, series),
        losses=speed.losses(compared, series),
        cold=costs.cold(rows, compared, series),
        memory=costs.memory(rows, compared, series),
        truncation=truncation.truncation(rows),
        learning=learning.get(machine, curves.Learning()),
        absences=facts.absences(rows),
        identity=facts.identities(rows, series),
        control=facts.control(loaded.rows, machine, commits),
        facts=facts.environment(rows, loaded.machines.get(machine, {})),
        cases=_cases(rows, compared),
    )


def _cases(
    rows: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[dict[Any, Any], speed.Figure, speed.Figure]]:
    """Every case with its value and, where there is one, its ratio to the baseline."""
    pairs = {(line["benchmark"], line["params"]): line for line in compared.to_dict("records")}
    found = []
    for line in rows.to_dict("records"):
        pair = pairs.get((line["benchmark"], line["params"]))
        ratio = speed.ratio_figure(pair) if pair else speed.Figure(text.NONE, look="muted")
        found.append((line, costs.value_figure(line), ratio))
    return found
