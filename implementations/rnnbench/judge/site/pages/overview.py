"""The landing page of any suite: tonight's verdicts, what could not be read, and the commits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rnnbench.judge.site.data.site import Site
from rnnbench.judge.site.html.page import page
from rnnbench.judge.site.pages import history, tonight

WINDOW = 30
"""Commits that the page lists; ``commits.html`` has all."""


def render(site: Site) -> str:
    """Return the whole page as text."""
    return page("index.html.j2", site.frame, **context(site))


def context(site: Site) -> dict[str, Any]:
    """Return what ``index.html.j2`` shows, also where a suite's template extends it."""
    commits = history.history(site)
    now = datetime.now(UTC)
    return {
        "nights": [tonight.tonight(host, now) for host in site.judged.hosts.values()],
        "problems": site.problems,
        "history": commits[:WINDOW],
        "older": len(commits) - WINDOW,
        "at": site.at,
    }
