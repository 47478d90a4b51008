"""All that the pages of a site are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from asv.repo import get_repo

from rnnbench.judge.site.data import commits, histories, judged, results, store
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.histories import Machine, Since
from rnnbench.judge.site.data.judged import Judged
from rnnbench.judge.site.data.store import Store, Visit
from rnnbench.judge.site.html.page import Frame


@dataclass
class Site:
    """All that was measured and judged.

    known       every figure
    benchmarks  entries of asv's benchmarks.json; machines: asv's description of each, by name
    revisions   commit → its place in the history, as asv counts
    problems    a sentence for each thing that could not be read
    proven      that of `results.read`; titles: those of `Frame`
    """

    project: str
    results_dir: Path
    known: Store
    benchmarks: dict[str, dict[str, Any]]
    machines: dict[str, dict[str, Any]]
    commits: dict[str, Commit]
    judged: Judged
    revisions: dict[str, int]
    problems: list[str]
    proven: tuple[str, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def frame(self) -> Frame:
        """Return what all pages have in common."""
        return Frame(self.project, self.judged.foot, list(self.titles.items()))

    @cached_property
    def histories(self) -> dict[str, Machine]:
        """Machine → figures over its commits."""
        return histories.machines(self.known, self.revisions, self.benchmarks)

    @cached_property
    def changes(self) -> dict[str, list[Since]]:
        """Machine → since when its cases are as they are; takes seconds to find."""
        return {name: histories.since(one) for name, one in self.histories.items()}

    def history_of(self, host: str) -> Machine | None:
        """Return a host's figures; asv may call it otherwise, which with one of each is clear."""
        if host in self.histories:
            return self.histories[host]
        alone = len(self.histories) == 1 and len(self.judged.hosts) == 1
        return next(iter(self.histories.values())) if alone else None

    @cached_property
    def newest(self) -> dict[str, Visit]:
        """Machine → the visit of its newest commit."""
        visits = self.known.visits
        ordered = sorted(visits, key=lambda visit: (visit.date or 0, visit.measured_at or 0))
        return {visit.machine: visit for visit in ordered}

    @cached_property
    def bases(self) -> dict[str, str]:
        """Machine → the last clean commit before the newest."""
        found = {name: self._last_clean(name, visit.commit) for name, visit in self.newest.items()}
        return {name: commit for name, commit in found.items() if commit}

    def _last_clean(self, machine: str, head: str) -> str | None:
        """Return the newest clean commit before ``head``; else what it was judged against."""
        host = self.judged.hosts.get(machine)
        if host is None:
            return None
        clean = [one.value.head for one in host.nights if one.value.exit_code == 0]
        clean += [one.value.head.hash for one in host.verdicts if one.value.exit_code == 0]
        clean += [one.value.base.hash for one in host.verdicts]
        return next((commit for commit in clean if commit != head), None)

    def figures(self) -> list[dict[str, Any]]:
        """Return the figures of the newest and the last clean commits, with their records."""
        shown = [*self.bases.values(), *(visit.commit for visit in self.newest.values())]
        only = {commit[: results.PREFIX] for commit in shown}
        return results.read(self.results_dir, only, self.proven)[0]

    @cached_property
    def at(self) -> datetime:
        """The moment of the newest result, verdict or night: the same however often one publishes.

        1970 where there is none.
        """
        moments = [visit.measured_at / 1000 for visit in self.known.visits if visit.measured_at]
        for host in self.judged.hosts.values():
            moments += [judged.moment(one.value.at).timestamp() for one in host.verdicts]
            moments += [judged.moment(one.value.at).timestamp() for one in host.nights]
        return datetime.fromtimestamp(max(moments, default=0), UTC)


def load(conf: Any, own: ModuleType | None = None) -> Site:
    """Read results, verdicts and git; ``own`` is the suite's module of pages."""
    results_dir = Path(conf.results_dir)
    proven = tuple(getattr(own, "PROVEN", ()))
    known = store.update(results_dir, proven)
    found = judged.read(results_dir)
    problems = [*known.problems, *found.problems]
    measured = {visit.commit for visit in known.visits}
    return Site(
        project=conf.project,
        results_dir=results_dir,
        known=known,
        benchmarks=results.read_benchmarks(results_dir, problems),
        machines=results.read_machines(results_dir, problems),
        commits=commits.describe(conf, measured),
        judged=found,
        revisions=get_repo(conf).get_revisions(measured),
        problems=problems,
        proven=proven,
        titles=dict(getattr(own, "TITLES", {})),
    )
