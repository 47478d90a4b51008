"""Only what was swapped is blamed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from judge.verdict import planted
from judge.verdict.planted import Repository, package

from rnnbench.files.machine import identity
from rnnbench.judge.verdict import run
from rnnbench.judge.verdict.answer import Status

DEPENDENT = """
try:
    import dependency
    BYTES = 4096
except ImportError:
    BYTES = 8192
ERROR = 1.0
def spin():
    pass
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A Python with one dependency more, and with another version of torch by its name."""
    folder = tmp_path / "dependencies"
    (folder / "torch-9.9.dist-info").mkdir(parents=True)
    (folder / "torch-9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n"
    )
    (folder / "dependency.py").touch()
    made = tmp_path / "python"
    made.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    made.chmod(0o755)
    return str(made)


def asked(repository: Repository, base: str, head: str, **more: object) -> run.Request:
    return run.Request(
        base,
        head,
        repository.folder / "asv.conf.json",
        "existing",
        cases=("work.Spin.track_held(a)",),
        sampling=planted.QUICK,
        **more,
    )


def test_a_dependency_that_costs_memory_is_blamed_and_the_code_is_not(tmp_path: Path, python: str):
    repository = Repository(tmp_path / "made")
    repository.commit(DEPENDENT, "First")
    repository.commit(DEPENDENT + "# nothing\n", "Second")
    found = run.run(asked(repository, "HEAD~1", "HEAD", base_python=python)).verdict
    assert [case.status for case in found.cases] == [Status.REGRESSION]
    assert found.base.versions["torch"] == "9.9"
    assert found.attribution["dependencies"]["says"].startswith("with torch 9.9 → ")
    assert "1 of 1 regressions stay" in found.attribution["dependencies"]["says"]
    assert "no regression stays" in found.attribution["code"]["says"]
    (case,) = found.attribution["dependencies"]["cases"].values()
    assert case["ratio"] == pytest.approx(2)


def test_the_same_commit_on_two_sets_of_dependencies(tmp_path: Path, python: str):
    repository = Repository(tmp_path / "made")
    repository.commit(DEPENDENT, "First")
    found = run.run(asked(repository, "HEAD", "HEAD", base_python=python)).verdict
    assert found.attribution["code"] == {
        "differs": False, "says": "the same commit on both sides", "cases": {}
    }  # fmt: skip


def test_other_benchmarks_and_other_recorded_versions_are_told(tmp_path: Path):
    repository = Repository(tmp_path / "made")
    base = repository.commit(package(), "First")
    work = repository.folder / "benchmarks" / "work.py"
    work.write_text(work.read_text().replace("return planted.BYTES", "return 3 * planted.BYTES"))
    repository.commit(package(held=8192), "Second")
    host = identity()["host"]
    records = repository.folder / ".asv" / "results" / "records" / host
    records.mkdir(parents=True)
    lines = [json.dumps({"machine": {"torch": "1.0", "os": "other"}}), "{cut off"]
    (records / f"{base[:8]}-existing.jsonl").write_text("\n".join(lines))
    found = run.run(asked(repository, "HEAD~1", "HEAD")).verdict
    assert found.cases[0].ratio == pytest.approx(2)
    tool = found.attribution["tool"]
    assert tool["differs"]
    (case,) = tool["cases"].values()
    assert case["ratio"] == pytest.approx(3)
    assert "1 of 1 regressions stay" in tool["says"]
    assert "it ran torch 1.0" in found.attribution["dependencies"]["says"]
