"""The landing page: what any suite's has, and a section per machine and environment."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.data import ratios
from reports.data.report import Report
from reports.data.rows import groups, series_of
from reports.pages.template import fill
from reports.sections import costs, facts, learning, parity, speed, truncation
from reports.sections.headline import verdict
from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.figures import NOTHING, Figure
from rnnbench.judge.site.pages import overview
from rnnbench.judge.site.pages.overview import WINDOW


def render(site: Site, report: Report) -> str:
    """Return the whole page as text."""
    control = facts.control(site.known, site.commits, WINDOW)
    curves = {host: learning.learning(own) for host, own in sorted(report.curves.items())}
    sections = [
        _section(rows, site)
        | {
            "anchor": f"s{number}",
            "machine": machine,
            "environment": environment,
            "control": control.get(machine, []),
            "learning": curves.get(machine, learning.Learning()),
        }
        for number, ((machine, environment), rows) in enumerate(
            groups(report.newest, "machine", "environment")
        )
    ]
    shown = {section["machine"] for section in sections}
    context = overview.context(site) | {
        "problems": report.problems,
        "sections": sections,
        "elsewhere": [(host, own) for host, own in curves.items() if host not in shown],
        "nothing": verdict(report.newest) if not sections else None,
    }
    return fill("overview.html.j2", site.frame, here="index.html", **context)


def _section(rows: pd.DataFrame, site: Site) -> dict[str, Any]:
    """Return what the template shows of one machine and environment at its newest commit."""
    series, compared = series_of(rows), ratios.to_baseline(rows)
    first = rows.iloc[0]
    return {
        "python": str(first["python"] or ""),
        "commit": site.commits[first["commit"]],
        "date": text.moment(first["date"]),
        "measured_at": text.moment(rows["started_at"].max()),
        "profiles": ", ".join(dict.fromkeys(rows["profile"].dropna())) or "not recorded",
        "verdict": verdict(rows),
        "series": series,
        "parity": parity.matrix(rows, series),
        "phases": speed.phases(rows, compared, series),
        "losses": speed.losses(compared, series),
        "cold": costs.cold(rows, compared, series),
        "memory": costs.memory(rows, compared, series),
        "truncation": truncation.truncation(rows),
        "absences": facts.absences(rows),
        "identity": facts.identities(rows, series),
        "facts": facts.environment(rows, site.machines.get(first["machine"], {})),
        "cases": _cases(rows, compared),
    }


def _cases(
    rows: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[dict[Any, Any], Figure, Figure]]:
    """Return every case with its value and, where there is one, its ratio to the baseline."""
    pairs = {(line["benchmark"], line["params"]): line for line in compared.to_dict("records")}
    found = []
    for line in rows.to_dict("records"):
        pair = pairs.get((line["benchmark"], line["params"]))
        ratio = speed.ratio_figure(pair) if pair else NOTHING
        found.append((line, costs.value_figure(line), ratio))
    return found
