"""The page "Environment": what each machine is today, how they differ, and what changed when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rnnbench.judge.site.data.histories import Machine, environment_changes, in_words
from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.page import page

SHOWN = 300
"""Changes of a machine that the page lists."""


@dataclass
class Fact:
    """A line of the comparison: one value per machine, and whether they differ."""

    name: str
    values: list[str]
    differs: bool


def render(site: Site) -> str:
    """Return the whole page as text."""
    histories = site.histories.items()
    today = {name: machine.visits[-1] for name, machine in histories if machine.visits}
    return page(
        "environment.html.j2",
        site.frame,
        machines=[_machine(name, machine, site) for name, machine in histories],
        today=today,
        table=compared({name: visit.facts for name, visit in today.items()}),
    )


def _machine(name: str, machine: Machine, site: Site) -> dict[str, Any]:
    """Return one machine's changes with their commits, newest first."""
    every = [
        (change, site.commits[change.visit.commit])
        for at in reversed(environment_changes(machine))
        for change in at
    ]
    return {
        "name": name,
        "visits": len(machine.visits),
        "changes": every[:SHOWN],
        "left_out": max(len(every) - SHOWN, 0),
    }


def compared(facts: Mapping[str, Mapping[str, Any]]) -> list[Fact]:
    """Return every fact of any machine, those that differ first."""
    lines = []
    for name in dict.fromkeys(name for own in facts.values() for name in own):
        values = [in_words(own[name]) if name in own else text.NONE for own in facts.values()]
        lines.append(Fact(name, values, any(a != b for a, b in pairwise(values))))
    return sorted(lines, key=lambda line: not line.differs)
