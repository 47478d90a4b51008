"""Learning curves: from the program that trains to the charts and tables of the page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import typer
from reports.data import curves, report
from reports.jobs import learning as job
from reports.pages import overview
from reports.sections.learning import Learning, learning
from synthetic import MARKUP, Project

SVG = "{http://www.w3.org/2000/svg}"
LOSSES = {"chunks": [4.0, 3.0, 2.0, 1.0], "full": [4.0, 3.0, 2.0, 1.0, 0.5, 0.5, 0.5, 0.3]}


def line(mode: str, losses: list[float], pace: float = 1.0, **more: Any) -> dict[str, Any]:
    """As `reports.jobs.learning` writes it: a step takes ``pace`` seconds."""
    points = [[n, n * pace, loss] for n, loss in enumerate(losses, start=1)]
    network = {"hidden": 8, "streams": 2, "steps": 16, "learning_rate": 0.01, "clip": 1.0}
    given = {"schema": 1, "at": "2026-01-02T03:04:05+00:00", "threads": 1, "cell": "GRU"}
    given |= {"machine": {"host": "bench", "cpu": "Zen 4"}, "versions": {"torch": "2"}}
    return given | {
        "mode": mode, "options": {"k": 4}, "network": network, "points": points,
    } | more  # fmt: skip


def write(results: Path, lines: list[dict[str, Any]], host: str = "bench") -> Path:
    target = results / "learning" / f"{host}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return target


def read(results: Path, expected: list[str] | None = None) -> dict[str, Learning]:
    """Learning by host; what could not be read must be as expected."""
    problems: list[str] = []
    found = curves.read(results, problems)
    assert problems == (expected or [])
    return {host: learning(own) for host, own in found.items()}


def table(panel: Any) -> dict[str, list[str]]:
    return {label: [figure.text for figure in figures] for label, figures in panel.lines}


@pytest.fixture
def both(tmp_path: Path) -> Learning:
    """chunks of four steps of a second, full of eight of half a second."""
    write(tmp_path, [line("chunks", LOSSES["chunks"]), line("full", LOSSES["full"], 0.5)])
    return read(tmp_path)["bench"]


def test_losses_are_means_over_stretches_that_double_up_to_the_first_end(
    both: Learning,
) -> None:
    steps, seconds = both.panels
    assert steps.heads == seconds.heads == ["chunks", "full"]
    assert table(steps) == {
        "to 1": ["4.00", "4.00"],
        "to 2": ["3.00", "3.00"],
        "to 4": ["1.50", "1.50"],
        "to 8": ["—", "0.450"],
    }
    assert table(seconds) == {
        "to 500 ms": ["—", "4.00"],
        "to 1.00 s": ["4.00", "3.00"],
        "to 2.00 s": ["3.00", "1.50"],
        "to 4.00 s": ["1.50", "0.450"],
    }
    assert "GRU of 8 units" in both.about[0]
    assert both.about[0].startswith("chunks (k=4), full (k=4): ")


def test_of_a_stretch_that_training_ended_in_nothing_is_shown(tmp_path: Path) -> None:
    write(tmp_path, [line("chunks", [4.0] * 4), line("full", [4.0] * 9 + [1.0])])
    steps = read(tmp_path)["bench"].panels[0]
    assert [label for label, _ in steps.lines] == ["to 1", "to 2", "to 4", "to 8"]
    assert {text for texts in table(steps).values() for text in texts} == {"4.00", "—"}


def test_charts_show_what_the_tables_show(both: Learning) -> None:
    for panel in both.panels:
        picture = ET.fromstring(panel.chart)
        title, *marks = [node.text for node in picture.iter(f"{SVG}title")]
        assert (picture.get("role"), title) == ("img", panel.title)
        assert sorted(str(mark) for mark in marks) == sorted(
            f"{head} {label}: {figure.text}"
            for label, figures in panel.lines
            for head, figure in zip(panel.heads, figures, strict=True)
            if figure.text != "—"
        )
        drawn = [node.get("points", "").split() for node in picture.iter(f"{SVG}polyline")]
        assert [len(points) for points in drawn] == [
            sum(figures[n].text != "—" for _, figures in panel.lines) for n in range(2)
        ]
        for points in drawn:  # losses fall: to the right and down
            places = [tuple(map(float, point.split(","))) for point in points]
            assert places == sorted(places)
            assert [up for _, up in places] == sorted(up for _, up in places)


def test_the_newest_line_of_a_mode_counts_and_broken_ones_are_said(tmp_path: Path) -> None:
    old = line("chunks", [9.0] * 4)
    broken = [old | {"points": []}, old | {"points": [[1, 1.0, -1.0]]}, old | {"schema": 0}]
    path = write(tmp_path, [old, line("chunks", LOSSES["chunks"]), *broken])
    with path.open("a") as file:
        file.write('{"schema": 1, "half')  # a killed run
    found = read(tmp_path, ["learning/bench.jsonl: 3 broken line(s) passed over."])
    assert table(found["bench"].panels[0])["to 4"] == ["1.50"]


def test_the_page_has_them_with_their_machine_or_says_which_command_trains(
    project: Project,
) -> None:
    project.measure()
    project.write()
    write(project.results, [line(MARKUP, LOSSES["chunks"])], "other")
    site = project.load()
    given = report.read(site)
    page = overview.render(site, given)
    assert f"run <code>{curves.COMMAND}</code>" in page
    assert "<h2><span>Machine</span> other</h2>" in page  # which has no results of asv
    assert MARKUP not in page
    given.curves = {"bench": given.curves["other"]}
    own = overview.render(site, given)
    assert curves.COMMAND not in own
    assert own.index('id="s0-truncation"') < own.index("Loss over seconds: GRU")


def test_the_program_keeps_what_the_page_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.main(mode=["chunks", "full"], cell="RNN", seconds=0.2, results_dir=tmp_path)
    said = capsys.readouterr().out
    assert "nats per character" in said
    found = read(tmp_path)
    (machine,) = found.values()
    assert [panel.title for panel in machine.panels] == [
        "Loss over steps: RNN", "Loss over seconds: RNN",
    ]  # fmt: skip
    assert machine.panels[0].heads == ["chunks", "full"]
    (path,) = (tmp_path / "learning").iterdir()
    assert str(path) in said
    kept = [json.loads(text) for text in path.read_text().splitlines()]
    assert all(one["points"][-1][1] >= 0.2 for one in kept)


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"mode": ["sideways"]}, 2, "--mode must be one of chunks, k1_k2"),
        ({"cell": "gru"}, 2, "--cell must be GRU, LSTM or RNN; got 'gru'"),
        ({"results_dir": Path("/dev/null")}, 5, "cannot be kept"),
    ],
)
def test_what_cannot_be_trained_or_kept_is_said(
    given: dict[str, Any], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"mode": ["full"], "cell": "RNN", "seconds": 0.1}
    with pytest.raises(typer.Exit) as left:
        job.main(**asked | {"results_dir": Path("never")} | given)
    assert left.value.exit_code == code
    assert words in capsys.readouterr().err
