"""The page "Regressions": what verdicts named, with its history, and since when cases changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from rnnbench.judge.site.pages import environment, tonight
from rnnbench.judge.site.data import histories
from rnnbench.judge.site.html import lines, page, text
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.histories import Machine, Since
from rnnbench.judge.site.data.judged import Host, One
from reports.sections.speed import Figure
from rnnbench.judge.site.data.store import Visit
from rnnbench.judge.history import WINDOW
from rnnbench.judge.verdict import text as words
from rnnbench.judge.verdict.answer import MEASURED, CaseAnswer, Status, Verdict

if TYPE_CHECKING:
    from rnnbench.judge.site.data.site import Site

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


@dataclass
class Line:
    """A verdict in one line of the table."""

    one: One[Verdict]
    look: tonight.Banner
    counts: str
    href: str


@dataclass
class Moved:
    """A change of level in a case's history."""

    since: Since
    name: str
    size: Figure
    before: str
    after: str
    suspects: list[Commit]
    drawn: Drawn | None


@dataclass
class Section:
    """One machine."""

    anchor: str
    name: str
    banner: tonight.Banner
    worth: str
    regressions: list[Regression] = field(default_factory=list)
    verdicts: list[Line] = field(default_factory=list)
    older: list[tuple[str, str]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    nights: int = 0
    """Commits that changes were looked for in."""


def render(given: Site) -> str:
    """The whole page as text."""
    names = dict.fromkeys([*given.judged.hosts, *_without_verdict(given)])
    sections = [
        _section(f"r{number}", given.judged.hosts.get(name) or Host(name), given)
        for number, name in enumerate(names)
    ]
    return page.page(
        "regressions.html.j2",
        project=given.project,
        foot=given.judged.foot,
        sections=sections,
        problems=given.judged.problems,
        graphs=GRAPHS,
    )


def _without_verdict(given: Site) -> list[str]:
    """Machines with a history that no host of a verdict stands for."""
    taken = [given.history_of(host) for host in given.judged.hosts]
    return [name for name, one in given.histories.items() if one not in taken]


def _section(anchor: str, host: Host, given: Site) -> Section:
    history = given.history_of(host.name)
    section = Section(anchor, host.name, tonight.banner(host), host.worth)
    section.regressions = found(host, given, anchor)
    section.verdicts = [
        Line(one, tonight.of_verdict(one.value), words.counts(one.value), quote(one.file))
        for one in host.verdicts
    ]
    section.older = [(file.rsplit("/", 1)[-1], quote(file)) for file in host.older]
    if history is not None:
        section.nights = min(len(history.visits), WINDOW)
        changes = given.changes.get(history.name, [])
        worse = [one for one in changes if one.change.ratio > 1]
        better = [one for one in changes if one.change.ratio <= 1]
        section.moved = [
            _moved(one, history, given, number < GRAPHS)
            for number, one in enumerate([*worse, *better[::-1]])
        ]
        for regression in islice(section.regressions, GRAPHS):
            regression.drawn = _draw_verdict(regression, history, given)
    return section


def found(host: Host, given: Site, anchor: str = "r0") -> list[Regression]:
    """Each regressed case once, by its newest verdict; those that stand first."""
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
                    over = _taken_back(one.value, later.get(key, []), given)
                    suspects = [_commit(commit, given) for commit in one.value.commits]
                    regressions[key] = Regression(
                        "", one, case, one.value.at, 1, not over, over, suspects
                    )
            if case.status in MEASURED:
                later.setdefault(key, []).append((one.value, case.status))
    ordered = sorted(regressions.values(), key=lambda one: not one.standing)
    for number, regression in enumerate(ordered):
        regression.anchor = f"{anchor}-{number}"
    return ordered


def _taken_back(named: Verdict, later: Sequence[tuple[Verdict, Status]], given: Site) -> str:
    """Which later verdict takes it back, in words; empty where none does.

    *No change* says so only against a base from before the regression: against a later one it
    says that the case is as slow as it was.
    """
    head = given.revisions.get(named.head.hash, math.inf)
    for verdict, status in later:
        since = given.revisions.get(verdict.base.hash, math.inf)
        if status == Status.IMPROVEMENT:
            return f"an improvement on {verdict.at[:10]}"
        if status == Status.NO_CHANGE and (verdict.base.hash == named.base.hash or since < head):
            return f"no change against {verdict.base.hash[:10]} on {verdict.at[:10]}"
    return ""


def _commit(commit: str, given: Site) -> Commit:
    return given.commits.get(commit) or Commit(commit)


def _moved(one: Since, history: Machine, given: Site, draw: bool) -> Moved:
    change, name = one.change, one.key[0]
    unit = str(given.benchmarks.get(name, {}).get("unit") or "")
    span = f"{words.percent(change.low)} … {words.percent(change.high)}"
    look = "slower" if change.ratio > 1 else "faster"
    sign = "▼ worse" if change.ratio > 1 else "▲ better"
    size = Figure(f"{sign} {words.percent(change.ratio)}", span, change.ratio, look)
    suspects = [_commit(visit.commit, given) for visit in one.suspects]
    drawn = None
    if draw:
        start = max(len(history.visits) - WINDOW, 0)
        band = (start + change.earliest, start + change.latest)
        levels = [
            (start, start + change.index - 1, change.before),
            (start + change.index, len(history.visits) - 1, change.after),
        ]
        drawn = _draw(one.key, history, given, unit, band, levels)
    before, after = text.quantity(change.before, unit), text.quantity(change.after, unit)
    return Moved(one, case_name(one.key), size, before, after, suspects, drawn)


def case_name(key: histories.Key) -> str:
    """As a verdict calls it."""
    return f"{key[0]}({', '.join(key[1])})"


def _draw_verdict(one: Regression, history: Machine, given: Site) -> Drawn | None:
    key = histories.key(one.case.benchmark, one.case.params)
    suspects = set(one.one.value.commits) or {one.one.value.head.hash}
    places = [n for n, visit in enumerate(history.visits) if visit.commit in suspects]
    band = (places[0], places[-1]) if places else None
    return _draw(key, history, given, UNITS.get(one.case.quantity, one.case.quantity), band, [])


def _draw(
    key: histories.Key,
    history: Machine,
    given: Site,
    unit: str,
    band: tuple[int, int] | None,
    levels: Sequence[tuple[int, int, float]],
) -> Drawn | None:
    """The newest commits of a history, the change among them where it is not too far back."""
    columns = history.of(key)
    if columns is None:
        return None
    end = len(history.visits)
    if band is not None and band[0] < end - SHOWN:
        end = min(band[0] + SHOWN // 2, end)
    first = max(end - SHOWN, 0)
    visits = history.visits[first:end]
    points = [
        lines.Point(value, low, high, _pointed(visit, value, unit, given))
        for visit, value, low, high in zip(
            visits, *(column[first:end].tolist() for column in columns), strict=True
        )
    ]
    moved = environment.changes(history)[first:end]
    marks = {n: "; ".join(one.words for one in at) for n, at in enumerate(moved) if at}
    line = lines.Line(points, unit, _ends(visits), marks=marks)
    if band is not None:
        line.band = (max(band[0] - first, 0), min(band[1], end - 1) - first)
    line.levels = [(max(a - first, 0), b - first, value) for a, b, value in levels if b >= first]
    known = [point.value for point in points if math.isfinite(point.value)]
    if not known:
        return None
    description = (
        f"{text.plural(len(known), 'commit')}, from {text.quantity(known[0], unit)} to "
        f"{text.quantity(known[-1], unit)}."
    )
    chart = lines.line_chart(case_name(key), description, line)
    if chart is None:
        return None
    table = [
        (_commit(visit.commit, given), text.moment(visit.date), _figure(point, unit))
        for visit, point in zip(visits, points, strict=True)
        if math.isfinite(point.value)
    ]
    return Drawn(chart, table[::-1])


def _pointed(visit: Visit, value: float, unit: str, given: Site) -> str:
    subject = _commit(visit.commit, given).subject
    return f"{visit.commit[:8]} {subject}: {text.quantity(value, unit)}"


def _ends(visits: Sequence[Visit]) -> tuple[str, str]:
    if not visits:
        return "", ""
    return tuple(f"{v.commit[:8]}, {text.moment(v.date)[:10]}" for v in (visits[0], visits[-1]))  # type: ignore[return-value]


def _figure(point: lines.Point, unit: str) -> Figure:
    note = text.interval(point.low, point.high, unit)
    return Figure(text.quantity(point.value, unit), note, point.value)
