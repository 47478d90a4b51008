"""Scratch repositories to spend nights on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]  # the helper, and the package `reports`

from scratch import Scratch, make  # noqa: E402


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """A repository with one commit, and no night so far."""
    return make(tmp_path / "repository")
