"""The page "What torch does": facts about torch, machine by machine."""

from __future__ import annotations

from reports.data.report import Report
from reports.pages.template import fill
from rnnbench.judge.site.html.page import Frame


def render(report: Report, frame: Frame) -> str:
    """Return the whole page as text; machines in the order of their names."""
    return fill("torch.html.j2", frame, machines=report.facts)
