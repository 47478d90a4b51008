"""All that a site is made from, and its pages: each a template, and a function that fills it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnbench.judge.site.pages import card, environment, feed, regressions, verdicts_json
from reports.pages import cold, crossovers, overview, speed, torch, training
from rnnbench.judge.site.data import commits, histories, judged, store
from reports.data import comparisons, curves, rows
from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.data.histories import Machine, Since
from rnnbench.judge.site.data.judged import Judged
from reports.data.rows import Loaded, Status
from rnnbench.judge.site.html.page import HERE
from rnnbench.judge.site.html.page import write as write_file
from rnnbench.judge.site.data.store import Store, Visit
from rnnbench.files import records


@dataclass
class Site:
    """What was measured and judged.

    known      every figure; loaded: the rows of the commits that tables show in full
    bases      machine → the last clean commit before the newest
    learning   host → the character model's curves
    revisions  commit → its place in the history, as asv counts
    histories  machine → figures over its commits; changes: since when they are as they are
    """

    project: str
    results_dir: Path
    known: Store
    loaded: Loaded
    benchmarks: dict[str, dict[str, Any]]
    commits: dict[str, Commit]
    judged: Judged
    bases: dict[str, str]
    learning: Mapping[str, curves.Learning] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    histories: dict[str, Machine] = field(default_factory=dict)
    changes: dict[str, list[Since]] = field(default_factory=dict)

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """As asv describes them."""
        return {name: {**about, "machine": name} for name, about in self.loaded.machines.items()}

    def find_histories(self) -> None:
        """Put the figures in the order of the commits, and look for changes; takes seconds."""
        self.histories = histories.machines(self.known, self.revisions, self.benchmarks)
        self.changes = {name: histories.since(one) for name, one in self.histories.items()}

    def history_of(self, host: str) -> Machine | None:
        """A host's figures; asv may call it otherwise, which with one of each is no matter."""
        if host in self.histories:
            return self.histories[host]
        alone = len(self.histories) == 1 and len(self.judged.hosts) == 1
        return next(iter(self.histories.values())) if alone else None


def load(conf: Any, more: Iterable[str] = ()) -> Site:
    """Read results, verdicts and git; ``more``: commits to be described besides."""
    results_dir = Path(conf.results_dir)
    known = store.update(results_dir)
    found = judged.read(results_dir)
    newest = _newest(known)
    bases = {
        name: base
        for name, visit in newest.items()
        if (base := _last_clean(found, name, visit.commit))
    }
    only = {
        commit[: rows.PREFIX] for commit in [*bases.values(), *(v.commit for v in newest.values())]
    }
    loaded = rows.read_results(results_dir, only=only)
    unrecorded = rows.unrecorded(known.counts(Status.UNRECORDED))
    loaded.problems = [*dict.fromkeys([*known.problems, *unrecorded, *found.problems])]
    benchmarks = rows.read_benchmarks(results_dir / "benchmarks.json", loaded.problems)
    described = commits.describe(
        conf, {visit.commit for visit in known.visits} | set(loaded.rows["commit"]) | set(more)
    )
    learning, unread = curves.read(results_dir)
    loaded.problems += unread
    return Site(
        conf.project,
        results_dir,
        known,
        loaded,
        benchmarks,
        described,
        found,
        bases,
        dict(learning),
    )


def _newest(known: Store) -> dict[str, Visit]:
    """Machine → the visit of its newest commit."""
    ordered = sorted(known.visits, key=lambda visit: (visit.date or 0, visit.measured_at or 0))
    return {visit.machine: visit for visit in ordered}


def _last_clean(found: Judged, machine: str, head: str) -> str | None:
    """The newest clean commit before ``head``; what it was judged against where none is known."""
    host = found.hosts.get(machine)
    if host is None:
        return None
    clean = [one.value.head for one in host.nights if one.value.exit_code == 0]
    clean += [one.value.head.hash for one in host.verdicts if one.value.exit_code == 0]
    clean += [one.value.base.hash for one in host.verdicts]
    return next((commit for commit in clean if commit != head), None)


def write(site: Site, html_dir: Path) -> None:
    """Write every page, the feed and the verdicts."""
    machines, problems = comparisons.read(site.results_dir)
    project, foot = site.project, site.judged.foot
    newest = rows.latest(site.loaded.rows)
    texts = {
        "index.html": overview.render(site),
        "commits.html": overview.render_commits(site),
        "regressions.html": regressions.render(site),
        "card.html": card.render(site.judged, project),
        "crossovers.html": crossovers.render(site.loaded.rows, newest, site.bases, project, foot),
        "cold.html": cold.render(newest, project, foot),
        "environment.html": environment.render(site),
        "speed.html": speed.render(site.loaded, machines, problems, project, foot),
        "torch.html": torch.render(site.results_dir, project, foot),
        "training.html": training.render(site.results_dir, project, foot),
        "feed.xml": feed.render(site.judged, project),
        "verdicts.json": verdicts_json.render(site.judged, project),
    }
    for name, content in texts.items():
        write_file(html_dir / name, content)
    schema = verdicts_json.SCHEMA_FILE
    write_file(html_dir / schema, (HERE / "assets" / schema).read_text(encoding="utf-8"))
    _copy_verdicts(site.results_dir, html_dir)


def _copy_verdicts(results_dir: Path, html_dir: Path) -> None:
    """Every verdict's own file: what the pages list in short is there in whole."""
    for file in records.files(results_dir, records.VERDICTS):
        target = html_dir / file.relative_to(results_dir)
        about = file.stat()
        if target.exists() and target.stat().st_mtime_ns == about.st_mtime_ns:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
