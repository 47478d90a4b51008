"""The command prints a card, and leaves with a sentence where there can be none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judge.calibration import simulated
from typer.testing import CliRunner, Result

from rnnbench.cli import app
from rnnbench.judge import commits, project
from rnnbench.judge.calibration import calibrate as calibration
from rnnbench.judge.calibration.card import Card
from rnnbench.judge.verdict import building


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The command with a project and a judge that are simulated."""
    side = simulated.side(tmp_path / "installed")

    class Project:
        folder, suite, results = tmp_path, simulated.SUITE, tmp_path

        def __init__(self, _config: Path) -> None: ...

    monkeypatch.setattr(project, "Project", Project)
    monkeypatch.setattr(building, "install", lambda *_: side)
    monkeypatch.setattr(commits, "commit", lambda *_: side.commit)
    defaults = calibration.calibrate.__kwdefaults__
    monkeypatch.setitem(defaults, "judged", simulated.Judge())
    monkeypatch.setitem(defaults, "listing", simulated.listing)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(
            app, ["calibrate", "--verdicts", "2", "--planted-verdicts", "8", *arguments]
        )

    return call


def test_the_table_has_all_rates_in_eighty_columns(run) -> None:  # type: ignore[no-untyped-def]
    done = run()
    assert done.exit_code == 0
    table = done.stdout[: done.stdout.index("2 A/A verdicts over 16 cases")]
    for row in ("nothing", "+2%", "+5%", "+10%", "+20%"):
        assert row in table
    assert max(map(len, table.splitlines())) <= 80
    assert "asv continuous, factor 1.1" in done.stdout
    assert "10 verdicts in" in done.stdout
    assert "verdict 1 of 10" in done.stderr


def test_json_is_the_card(run) -> None:  # type: ignore[no-untyped-def]
    done = run("--json")
    assert Card.from_dict(json.loads(done.stdout)).aa_verdicts == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--threshold", "much"], 2, "threshold must be a percentage"),
        (["--verdicts", "-1"], 2, "verdicts must be at least 0"),
        (["--bench", "no such"], 2, "no timed case is chosen"),
    ],
)
def test_wrong_usage_is_said(run, arguments: list[str], code: int, said: str) -> None:  # type: ignore[no-untyped-def]
    done = run(*arguments)
    assert (done.exit_code, said in done.stderr) == (code, True)
