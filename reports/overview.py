"""The landing page: rows to what the template shows, and the template to one HTML file.

The page carries its style and script inside and forbids itself every request by its content
security policy, so that it reads from ``file://`` and can be mailed as one file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from . import charts, costs, facts, matrix, ratios, speed, text
from .commits import Commit
from .rows import Loaded, groups, latest
from .verdict import Verdict, verdict

HERE = Path(__file__).parent
FIRST_BACKENDS = ["native", "manual", "numba", "compile"]


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
    absences: list[facts.Absence]
    identity: list[facts.Identity]
    control: list[Any]
    facts: list[tuple[str, str]]
    cases: list[tuple[dict[Any, Any], speed.Figure, speed.Figure]]


def render(loaded: Loaded, commits: Mapping[str, Commit], project: str) -> str:
    """The whole page as text."""
    rows = loaded.rows
    sections = [
        _section(number, machine, environment, group, loaded, commits)
        for number, ((machine, environment), group) in enumerate(
            groups(latest(rows), "machine", "environment")
        )
    ]
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    return (
        _templates()
        .get_template("index.html.j2")
        .render(
            project=project,
            sections=sections,
            problems=loaded.problems,
            history=facts.history(rows, commits),
            nothing=verdict(rows) if not sections else None,
            published=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            style=style,
            script=script,
            policy=_policy(style, script),
        )
    )


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(key=charts.legend_mark)
    environment.filters.update(moment=text.moment, number=text.number, count=text.count)
    return environment


def _asset(name: str) -> Markup:
    """A file of ours to be put into the page as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))  # noqa: S704


def _policy(style: str, script: str) -> str:
    """Only this very style and script may work on the page, and nothing may be fetched."""
    ours = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; img-src data:; {ours}"


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _section(
    number: int,
    machine: str,
    environment: str,
    rows: pd.DataFrame,
    loaded: Loaded,
    commits: Mapping[str, Commit],
) -> Section:
    series = {name: rank for rank, name in enumerate(_backends(rows))}
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
        absences=facts.absences(rows),
        identity=facts.identities(rows, series),
        control=facts.control(loaded.rows, machine, commits),
        facts=facts.environment(rows, loaded.machines.get(machine, {})),
        cases=_cases(rows, compared),
    )


def _backends(rows: pd.DataFrame) -> list[str]:
    present = set(rows["backend"].dropna())
    known = [name for name in FIRST_BACKENDS if name in present]
    return known + sorted(present - set(known))


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
