"""Templates of this suite to pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnbench.judge.site.html import page
from rnnbench.judge.site.html.page import Frame

FOLDER = Path(__file__).resolve().parents[1] / "templates"


def fill(template: str, frame: Frame, **context: Any) -> str:
    """Return a template as HTML; see `rnnbench.judge.site.html.page.page`."""
    return page.page(template, frame, FOLDER, **context)
