"""The pages of this suite, which the published site adds to its own.

asv.conf.json names this module; see `rnnbench.judge.site`.
"""

from __future__ import annotations

from collections.abc import Mapping

from reports.data import report as reports
from reports.data.rows import PROVEN as PROVEN
from reports.pages import cold, crossovers, overview, speed, torch, training
from rnnbench.judge.site.data.site import Site

TITLES = {
    "crossovers.html": "crossovers",
    "cold.html": "cold and warm",
    "speed.html": "speed",
    "training.html": "training",
    "torch.html": "what torch does",
}


def pages(site: Site) -> Mapping[str, str]:
    """Return file name → content."""
    report = reports.read(site)
    return {
        "index.html": overview.render(site, report),
        "crossovers.html": crossovers.render(report, site.bases, site.frame),
        "cold.html": cold.render(report, site.frame),
        "speed.html": speed.render(report, site.frame),
        "torch.html": torch.render(report, site.frame),
        "training.html": training.render(report, site.frame),
    }
