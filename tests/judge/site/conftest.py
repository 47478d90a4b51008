"""Fixtures of the published site, and what is imported by name here."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The helper modules, and the package `reports`, which no wheel ships.
sys.path[:0] = [str(ROOT / "tests" / "judge" / "site"), str(ROOT / "tests" / "reports"), str(ROOT)]

from published import browser, hostile, project, served  # noqa: E402

__all__ = ["browser", "hostile", "project", "served"]
