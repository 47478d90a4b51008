"""The page "Regressions": what verdicts named, with its history, and since when cases changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from rnnbench.judge.history import WINDOW
from rnnbench.judge.site.data import histories
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.histories import Machine, Since
from rnnbench.judge.site.data.judged import Host, One
from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.data.store import Visit
from rnnbench.judge.site.html import lines, text
from rnnbench.judge.site.html.figures import Figure
from rnnbench.judge.site.html.page import page
from rnnbench.judge.site.pages import tonight
from rnnbench.judge.verdict import text as words
from rnnbench.judge.verdict.answer import MEASURED, CaseAnswer, Status, Verdict

GRAPHS = 20
"""Regressions and changes of a machine that are drawn, each; all are in the tables."""
SHOWN = 120
"""Commits of a graph, the newest."""
UNITS = {"time": "seconds", "compile": "seconds", "import": "seconds", "memory": "bytes"}


@dataclass
class Drawn:
    """A history as picture and table."""

    chart: Markup
    table: list[tuple[Commit, str, Figure]]


@dataclass
class Regression:
    """A case that verdicts called a regression: the newest of them, and how often before.

    standing  no later verdict takes it back; ``over`` says which does
    """

    anchor: str
    one: One[Verdict]
    case: CaseAnswer
    first_at: str
    times: int
    standing: bool
    over: str
    suspects: list[Commit]
    drawn: Drawn | None = None

    @property
    def command(self) -> str:
        return words.command(self.one.value, [self.case])

    @property
    def differences(self) -> list[str]:
        return words.differences(self.one.value.base, self.one.value.head)

    @property
    def attribution(self) -> list[tuple[str, str]]:
        """Part and what was found, also where a later version writes it otherwise."""
        found = self.one.value.attribution or {}
        return [
            (part, str(one.get("says", "")) if isinstance(one, dict) else str(one))
            for part, one in found.items()
        ]


def render(site: Site) -> str:
    """Return the whole page as text."""
    names = dict.fromkeys([*site.judged.hosts, *_without_verdict(site)])
    sections = [
        _section(f"r{number}", site.judged.hosts.get(name) or Host(name), site)
        for number, name in enumerate(names)
    ]
    return page(
        "regressions.html.j2",
        site.frame,
        sections=sections,
        problems=site.judged.problems,
        graphs=GRAPHS,
    )


def _without_verdict(site: Site) -> list[str]:
    """Machines with a history that no host of a verdict stands for."""
    taken = [site.history_of(host) for host in site.judged.hosts]
    return [name for name, one in site.histories.items() if one not in taken]


def _section(anchor: str, host: Host, site: Site) -> dict[str, Any]:
    """Return all that the template shows of one machine; ``nights``: commits looked through."""
    history = site.history_of(host.name)
    regressions, moved = found(host, site, anchor), []
    if history is not None:
        changes = site.changes.get(history.name, [])
        worse = [one for one in changes if one.change.ratio > 1]
        better = [one for one in changes if one.change.ratio <= 1]
        moved = [
            _moved(one, history, site, number < GRAPHS)
            for number, one in enumerate([*worse, *better[::-1]])
        ]
        for regression in islice(regressions, GRAPHS):
            regression.drawn = _draw_verdict(regression, history, site)
    return {
        "anchor": anchor,
        "name": host.name,
        "banner": tonight.banner(host),
        "worth": host.worth,
        "regressions": regressions,
        "verdicts": [
            {
                "one": one,
                "look": tonight.of_verdict(one.value),
                "counts": words.counts(one.value),
                "href": quote(one.file),
            }
            for one in host.verdicts
        ],
        "older": [(file.rsplit("/", 1)[-1], quote(file)) for file in host.older],
        "moved": moved,
        "nights": min(len(history.visits), WINDOW) if history else 0,
    }


def found(host: Host, site: Site, anchor: str = "r0") -> list[Regression]:
    """Return each regressed case once, by its newest verdict; those that stand first."""
    regressions: dict[tuple[str, histories.Key], Regression] = {}
    later: dict[tuple[str, histories.Key], list[tuple[Verdict, Status]]] = {}
    for one in host.verdicts:
        for case in one.value.cases:
            key = (case.quantity, histories.key(case.benchmark, case.params))
            if case.status == Status.REGRESSION:
                known = regressions.get(key)
                if known is not None:
                    known.times += 1
                    known.first_at = one.value.at
                else:
                    over = _taken_back(one.value, later.get(key, []), site)
                    suspects = [_commit(commit, site) for commit in one.value.commits]
                    regressions[key] = Regression(
                        "", one, case, one.value.at, 1, not over, over, suspects
                    )
            if case.status in MEASURED:
                later.setdefault(key, []).append((one.value, case.status))
    ordered = sorted(regressions.values(), key=lambda one: not one.standing)
    for number, regression in enumerate(ordered):
        regression.anchor = f"{anchor}-{number}"
    return ordered


def _taken_back(named: Verdict, later: Sequence[tuple[Verdict, Status]], site: Site) -> str:
    """Return in words which later verdict takes it back; empty where none does.

    *No change* says so only against a base from before the regression: against a later one it
    says that the case is as slow as it was.
    """
    head = site.revisions.get(named.head.hash, math.inf)
    for verdict, status in later:
        since = site.revisions.get(verdict.base.hash, math.inf)
        if status == Status.IMPROVEMENT:
            return f"an improvement on {verdict.at[:10]}"
        if status == Status.NO_CHANGE and (verdict.base.hash == named.base.hash or since < head):
            return f"no change against {verdict.base.hash[:10]} on {verdict.at[:10]}"
    return ""


def _commit(commit: str, site: Site) -> Commit:
    return site.commits.get(commit) or Commit(commit)


def _moved(one: Since, history: Machine, site: Site, draw: bool) -> dict[str, Any]:
    """Return a change of level in a case's history as the template shows it."""
    change, name = one.change, one.key[0]
    unit = str(site.benchmarks.get(name, {}).get("unit") or "")
    span = f"{words.percent(change.low)} … {words.percent(change.high)}"
    look = "slower" if change.ratio > 1 else "faster"
    sign = "▼ worse" if change.ratio > 1 else "▲ better"
    drawn = None
    if draw:
        start = max(len(history.visits) - WINDOW, 0)
        band = (start + change.earliest, start + change.latest)
        levels = [
            (start, start + change.index - 1, change.before),
            (start + change.index, len(history.visits) - 1, change.after),
        ]
        drawn = _draw(one.key, history, site, unit, band, levels)
    return {
        "since": one,
        "name": case_name(one.key),
        "size": Figure(f"{sign} {words.percent(change.ratio)}", span, change.ratio, look),
        "before": text.quantity(change.before, unit),
        "after": text.quantity(change.after, unit),
        "suspects": [_commit(visit.commit, site) for visit in one.suspects],
        "drawn": drawn,
    }


def case_name(key: histories.Key) -> str:
    """Return a case's name as a verdict writes it."""
    return f"{key[0]}({', '.join(key[1])})"


def _draw_verdict(one: Regression, history: Machine, site: Site) -> Drawn | None:
    key = histories.key(one.case.benchmark, one.case.params)
    suspects = set(one.one.value.commits) or {one.one.value.head.hash}
    places = [n for n, visit in enumerate(history.visits) if visit.commit in suspects]
    band = (places[0], places[-1]) if places else None
    return _draw(key, history, site, UNITS.get(one.case.quantity, one.case.quantity), band, [])


def _draw(
    key: histories.Key,
    history: Machine,
    site: Site,
    unit: str,
    band: tuple[int, int] | None,
    levels: Sequence[tuple[int, int, float]],
) -> Drawn | None:
    """Draw the newest commits of a history, those around the change where it is further back."""
    columns = history.of(key)
    if columns is None:
        return None
    end = len(history.visits)
    if band is not None and band[0] < end - SHOWN:
        end = min(band[0] + SHOWN // 2, end)
    first = max(end - SHOWN, 0)
    visits = history.visits[first:end]
    points = [
        lines.Point(value, low, high, _pointed(visit, value, unit, site))
        for visit, value, low, high in zip(
            visits, *(column[first:end].tolist() for column in columns), strict=True
        )
    ]
    known = [point.value for point in points if math.isfinite(point.value)]
    if not known:
        return None
    moved = histories.environment_changes(history)[first:end]
    marks = {n: "; ".join(one.words for one in at) for n, at in enumerate(moved) if at}
    line = lines.Line(points, unit, (_end(visits[0]), _end(visits[-1])), marks=marks)
    if band is not None:
        line.band = (max(band[0] - first, 0), min(band[1], end - 1) - first)
    line.levels = [(max(a - first, 0), b - first, value) for a, b, value in levels if b >= first]
    description = (
        f"{text.plural(len(known), 'commit')}, from {text.quantity(known[0], unit)} to "
        f"{text.quantity(known[-1], unit)}."
    )
    chart = lines.line_chart(case_name(key), description, line)
    if chart is None:
        return None
    table = [
        (_commit(visit.commit, site), text.moment(visit.date), _figure(point, unit))
        for visit, point in zip(visits, points, strict=True)
        if math.isfinite(point.value)
    ]
    return Drawn(chart, table[::-1])


def _pointed(visit: Visit, value: float, unit: str, site: Site) -> str:
    subject = _commit(visit.commit, site).subject
    return f"{visit.commit[:8]} {subject}: {text.quantity(value, unit)}"


def _end(visit: Visit) -> str:
    return f"{visit.commit[:8]}, {text.moment(visit.date)[:10]}"


def _figure(point: lines.Point, unit: str) -> Figure:
    note = text.interval(point.low, point.high, unit)
    return Figure(text.quantity(point.value, unit), note, point.value)
