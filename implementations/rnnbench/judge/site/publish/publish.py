"""The one publisher: a site is written the same whichever command asks for it.

Only result files that are new or have changed are parsed, a file that says the same already is left
alone, and nothing in a file depends on when it is published but the days that a machine is silent.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rnnbench.files import atomic, records
from rnnbench.judge.site.data import site as sites
from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.pages import (
    card,
    environment,
    feed,
    history,
    overview,
    regressions,
    verdicts_json,
)
from rnnbench.judge.site.publish import explorer
from rnnbench.judge.site.publish.graphs import Graphs
from rnnbench.judge.suite import own_module

OURS = ("graphs", "samples", "assets", records.VERDICTS)
"""Folders of a site that hold nothing else than what a publisher put there."""


class Clock:
    """Seconds since the last note, by the name of what took them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def note(self, what: str) -> None:
        """Take down what was done since the last note."""
        now = time.perf_counter()
        self.seconds[what] = now - self.last
        self.last = now


def publish(conf: Any, clock: Clock | None = None) -> Site:
    """Write the site into ``conf.html_dir``; ``conf`` is asv's, its paths from the current folder.

    Raises InputError where the suite's pages cannot be imported.
    """
    clock = clock or Clock()
    own = own_module("pages", Path.cwd(), vars(conf))
    site = sites.load(conf, own)
    clock.note("reading results")
    graphs = Graphs(site, conf).files()
    clock.note("finding changes and making graphs")
    files: dict[str, str | bytes] = {
        **graphs,
        **_pages(site),
        "feed.xml": feed.render(site.judged, site.project),
    }
    files |= explorer.files(site.commits, [name for name in graphs if name.startswith("graphs/")])
    if own is not None:
        files |= own.pages(site)
    clock.note("making pages")
    html_dir = Path(conf.html_dir)
    for name, content in files.items():
        atomic.write_if_changed(html_dir / name, content)
    _sweep(html_dir, {*files, *_copy_verdicts(site.results_dir, html_dir)})
    clock.note("writing files")
    return site


def _pages(site: Site) -> dict[str, str]:
    return {
        "index.html": overview.render(site),
        "commits.html": history.render(site),
        "regressions.html": regressions.render(site),
        "card.html": card.render(site.judged, site.frame),
        "environment.html": environment.render(site),
        "verdicts.json": verdicts_json.render(site.judged, site.project),
        verdicts_json.SCHEMA_FILE: verdicts_json.schema(),
    }


def _copy_verdicts(results_dir: Path, html_dir: Path) -> list[str]:
    """Copy every verdict's own file, which the pages list in short; return their names."""
    copied = []
    for file in records.files(results_dir, records.VERDICTS):
        name = file.relative_to(results_dir)
        target = html_dir / name
        if not target.exists() or target.stat().st_mtime_ns != file.stat().st_mtime_ns:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        copied.append(name.as_posix())
    return copied


def _sweep(html_dir: Path, kept: set[str]) -> None:
    """Delete what an earlier site had in our folders and this one has not."""
    for folder in OURS:
        for path in sorted((html_dir / folder).rglob("*"), reverse=True):
            if path.is_file() and path.relative_to(html_dir).as_posix() not in kept:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
