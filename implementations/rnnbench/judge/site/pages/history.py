"""The page "Commits": every commit that was ever measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.data.store import Counts, counts
from rnnbench.judge.site.html.page import page


@dataclass
class Measured:
    """One commit on one machine; ``first`` where the commit is met first."""

    commit: Commit
    machine: str
    date: float
    measured_at: float
    counts: Counts
    first: bool = False

    def add(self, more: Counts, measured_at: float) -> None:
        """Add what the same commit came to in another environment."""
        both = {name: count + getattr(more, name) for name, count in asdict(self.counts).items()}
        self.counts = Counts(**both)
        self.measured_at = max(self.measured_at, measured_at)


def render(site: Site) -> str:
    """Return the whole page as text."""
    return page("commits.html.j2", site.frame, history=history(site), older=0)


def history(site: Site) -> list[Measured]:
    """Return every measured commit of every machine, newest first."""
    met: dict[tuple[str, str], Measured] = {}
    for part in site.known.parts.values():
        for number, visit in enumerate(part.visits):
            own = counts(part.statuses(number))
            date = -math.inf if visit.date is None else visit.date
            at = -math.inf if visit.measured_at is None else visit.measured_at
            key = (visit.commit, visit.machine)
            if key in met:
                met[key].add(own, at)
            else:
                met[key] = Measured(site.commits[visit.commit], visit.machine, date, at, own)
    found = sorted(met.values(), key=lambda one: (one.date, one.measured_at), reverse=True)
    known: set[str] = set()
    for one in found:
        one.first = one.commit.hash not in known
        known.add(one.commit.hash)
    return found
