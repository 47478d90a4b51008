"""All that the pages of this suite are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from reports.data import comparisons, curves, facts, trainings
from reports.data.rows import frame, latest, unrecorded
from rnnbench.judge.site.data.results import Status
from rnnbench.judge.site.data.site import Site


@dataclass
class Report:
    """All that was measured of recurrent networks.

    rows        those of each machine's newest and last clean commit
    compared    host → comparisons with peers, and its roofline
    curves      host → the character model's learning curves
    facts       host and what torch does there
    problems, compared_problems, trained_problems: a sentence for each thing that could not be
    read, for the landing page, the page "Speed" and the page "Training"
    """

    rows: pd.DataFrame
    compared: dict[str, comparisons.Machine] = field(default_factory=dict)
    trained: list[trainings.Machine] = field(default_factory=list)
    curves: dict[str, list[curves.Curve]] = field(default_factory=dict)
    facts: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    compared_problems: list[str] = field(default_factory=list)
    trained_problems: list[str] = field(default_factory=list)

    @cached_property
    def newest(self) -> pd.DataFrame:
        """The rows of each machine's newest commit."""
        return latest(self.rows)


def read(site: Site) -> Report:
    """Read all that was kept beside the results of a site."""
    count = int((site.known.frame["status"] == list(Status).index(Status.UNRECORDED)).sum())
    report = Report(frame(site.figures(), site.benchmarks))
    report.problems = [*site.problems, *unrecorded(count)]
    report.compared = comparisons.read(site.results_dir, report.compared_problems)
    report.trained = trainings.read(site.results_dir, report.trained_problems)
    report.curves = curves.read(site.results_dir, report.problems)
    report.facts = facts.read(site.results_dir)
    return report
