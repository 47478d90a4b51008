"""asv as a tool: what it is given, and what is left of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnbench.judge.engine import APART, SHARED, Engine
from rnnbench.judge.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("HOME", str(tmp_path))
    conf = {"version": 1, "project": "p", "repo": ".", "rnnbench": {"pages": "mine"}}
    (tmp_path / "asv.conf.json").write_text(json.dumps(conf))
    return Project(tmp_path / "asv.conf.json")


def test_the_configurations_keep_our_own_key_and_are_gone_afterwards(project: Project) -> None:
    engine = Engine(project, project.folder / "log")
    with engine.opened(["a", "b"]):
        apart, shared = (
            json.loads((project.folder / name).read_text()) for name in (APART, SHARED)
        )
        assert apart["branches"] == ["a", "b"]
        assert Path(apart["results_dir"]) == engine.scratch.relative_to(project.folder)
        assert shared["branches"] == ["HEAD"]  # where there is no main
        assert apart["rnnbench"] == shared["rnnbench"] == {"pages": "mine"}
    assert not any((project.folder / name).exists() for name in (APART, SHARED))


@pytest.mark.parametrize(
    ("publisher", "code", "said"),
    [
        ("rnnbench verdict --help", 0, "Build both commits"),
        ("python -c 'import sys; print(sys.argv[1:])'", 0, str(["--config", SHARED])),
        ("python -c 'raise SystemExit(3)'", 3, ""),
    ],
)
def test_another_command_publishes(project: Project, publisher: str, code: int, said: str) -> None:
    engine = Engine(project, project.folder / "log", publisher=publisher)
    ended = engine.publish()
    assert ended.code == code
    assert said in " ".join(ended.text.split())
