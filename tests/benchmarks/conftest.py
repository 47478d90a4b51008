"""The benchmarks are no part of the wheel: they are imported from the checkout, as asv does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


class Suite:
    """Runs one case of a benchmark in this process, by asv_runner's own code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, index: int = 0) -> object:
        """What asv would read: a dict with samples, a number, NaN; raises what the case raises."""
        from asv_runner.run import _run

        answer = self.folder / "answer.json"
        _run((str(ROOT / "benchmarks"), f"{name}-{index}", "{}", "None", str(answer)))
        return json.loads(answer.read_text())

    def records(self) -> list[dict]:
        """Records as the report reads them, the last one of each case."""
        from rnnbench.judge.site.data.results import read_records

        found = read_records(self.folder / "results")
        assert not found.problems
        return list(found.by_case.values())


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite whose records and shared results lie in a folder of the test."""
    from benchmarks import memoised

    monkeypatch.setenv("RNNBENCH_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("RNNBENCH_COMMIT", "0" * 40)
    monkeypatch.setattr(memoised, "FOLDER", tmp_path)
    return Suite(tmp_path)
