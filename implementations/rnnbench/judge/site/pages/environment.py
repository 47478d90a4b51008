"""The page "Environment": what each machine is today, how they differ, and what changed when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rnnbench.judge.site.html import page, text
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.histories import Machine
from rnnbench.judge.site.data.store import Visit

if TYPE_CHECKING:
    from rnnbench.judge.site.data.site import Site

SHOWN = 300
"""Changes of a machine that the page lists."""


@dataclass(frozen=True)
class Changed:
    """A fact that is another at this commit than at the one measured before it."""

    visit: Visit
    name: str
    before: str
    after: str

    @property
    def words(self) -> str:
        return f"{self.name} {self.before} → {self.after}"


@dataclass
class OfMachine:
    """One machine's changes, newest first; ``left_out`` older ones are not listed."""

    name: str
    visits: int
    changes: list[tuple[Changed, Commit]]
    left_out: int


@dataclass
class Fact:
    """A line of the comparison: one value per machine, and whether they differ."""

    name: str
    values: list[str]
    differs: bool


def changes(machine: Machine) -> list[list[Changed]]:
    """For each visit what changed since the last one that knows the fact; the first: nothing."""
    known: dict[str, Any] = {}
    found = []
    for visit in machine.visits:
        facts = {**visit.facts, "asv's environment": visit.environment}
        found.append(
            [
                Changed(visit, name, _words(known[name]), _words(value))
                for name, value in facts.items()
                if name in known and known[name] != value
            ]
        )
        known |= facts
    return found


def render(given: Site) -> str:
    """The whole page as text."""
    found = []
    for name, machine in given.histories.items():
        every = [
            (change, given.commits[change.visit.commit])
            for at in reversed(changes(machine))
            for change in at
        ]
        left_out = max(len(every) - SHOWN, 0)
        found.append(OfMachine(name, len(machine.visits), every[:SHOWN], left_out))
    today = {
        name: machine.visits[-1] for name, machine in given.histories.items() if machine.visits
    }
    return page.page(
        "environment.html.j2",
        project=given.project,
        foot=given.judged.foot,
        machines=found,
        today=today,
        table=compared({name: visit.facts for name, visit in today.items()}),
    )


def compared(facts: Mapping[str, Mapping[str, Any]]) -> list[Fact]:
    """Every fact of any machine, those that differ first."""
    names = dict.fromkeys(name for own in facts.values() for name in own)
    lines = []
    for name in names:
        values = [_words(own[name]) if name in own else text.NONE for own in facts.values()]
        lines.append(Fact(name, values, any(a != b for a, b in pairwise(values))))
    return sorted(lines, key=lambda line: not line.differs)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
