"""The landing page: rows to what the template shows, and the template to one HTML file.

How a page is put together is in `site`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.sections import costs, facts, parity, speed, truncation
from reports.data import curves, ratios
from rnnbench.judge.site.html import page, text
from rnnbench.judge.site.pages import tonight
from rnnbench.judge.site.data.commits import Commit
from reports.data.rows import backends, groups, latest
from reports.sections.headline import Verdict, verdict

if TYPE_CHECKING:
    from rnnbench.judge.site.data.site import Site

WINDOW = 30
"""Commits that the page lists; ``commits.html`` has all."""


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
    parity: parity.Matrix
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


def render(given: Site) -> str:
    """The whole page as text."""
    newest = latest(given.loaded.rows)
    control = facts.control(given.known, given.commits, WINDOW)
    sections = [
        _section(number, machine, environment, group, given, control.get(machine, []))
        for number, ((machine, environment), group) in enumerate(
            groups(newest, "machine", "environment")
        )
    ]
    history = facts.history(given.known, given.commits)
    now = datetime.now(UTC)
    return page.page(
        "index.html.j2",
        project=given.project,
        foot=given.judged.foot,
        sections=sections,
        elsewhere=sorted(
            (host, own)
            for host, own in given.learning.items()
            if host not in {section.machine for section in sections}
        ),
        nights=[tonight.tonight(host, now) for host in given.judged.hosts.values()],
        problems=given.loaded.problems,
        history=history[:WINDOW],
        older=len(history) - WINDOW,
        nothing=verdict(newest) if not sections else None,
        published=now.strftime("%Y-%m-%d %H:%M UTC"),
    )


def render_commits(given: Site) -> str:
    """Every commit that was ever measured, as a page of its own."""
    return page.page(
        "commits.html.j2",
        project=given.project,
        foot=given.judged.foot,
        history=facts.history(given.known, given.commits),
        older=0,
    )


def _section(
    number: int,
    machine: str,
    environment: str,
    rows: pd.DataFrame,
    given: Site,
    control: list[Any],
) -> Section:
    series = {name: rank for rank, name in enumerate(backends(rows))}
    compared = ratios.to_baseline(rows)
    first = rows.iloc[0]
    return Section(
        anchor=f"s{number}",
        machine=machine,
        environment=environment,
        python=str(first["python"] or ""),
        commit=given.commits[first["commit"]],
        date=text.moment(first["date"]),
        measured_at=text.moment(rows["started_at"].max()),
        profiles=", ".join(dict.fromkeys(rows["profile"].dropna())) or "not recorded",
        verdict=verdict(rows),
        series=series,
        parity=parity.matrix(rows, series),
        phases=speed.phases(rows, compared, series),
        losses=speed.losses(compared, series),
        cold=costs.cold(rows, compared, series),
        memory=costs.memory(rows, compared, series),
        truncation=truncation.truncation(rows),
        learning=given.learning.get(machine, curves.Learning()),
        absences=facts.absences(rows),
        identity=facts.identities(rows, series),
        control=control,
        facts=facts.environment(rows, given.loaded.machines.get(machine, {})),
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
