"""rnnbench roofline: what it prints and keeps, and the way it leaves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.comparison import threads
from rnnbench.files import machine
from rnnbench.roofline import measure, store
from rnnbench.roofline.caches import CachesError
from rnnbench.roofline.store import Bandwidth, Rate, Roof, Roofline


def run(*arguments):
    return CliRunner().invoke(app, ["roofline", *arguments])


def roofline(counts, median=220.0):
    roofs = tuple(
        Roof(
            count,
            {"float32": Rate(230.04, median)},
            (
                Bandwidth("L1", 16 << 10, 32 << 10, 400.0, 390.0),
                Bandwidth("memory", 1 << 30, None, 30.0, 29.0),
            ),
        )
        for count in counts
    )
    return Roofline(machine.identity(), {"python": "3"}, "AVX-512", "2026-01-02", roofs)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The numbers of threads that were asked for; nothing is measured."""
    found = []

    def measured(counts, progress):
        found.extend(counts)
        return roofline(counts)

    monkeypatch.setattr(store, "default_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(measure, "measure", measured)
    return found


def test_table_and_file(asked, tmp_path):
    result = run("--threads", "1")
    assert result.exit_code == 0, result.output
    for text in ("multiply-adds, float32", "230.0", "reads from L1", "16 KiB", "32 KiB", "1 GiB"):
        assert text in result.output
    path = tmp_path / "data" / "roofline" / f"{machine.identity()['host']}.jsonl"
    assert str(path) in result.output.replace("\n", "")
    assert store.read(path) == roofline([1])


def test_a_busy_machine_is_said_and_a_steady_one_is_not(asked, monkeypatch):
    assert "busy" not in run("--threads", "1").stderr
    monkeypatch.setattr(measure, "measure", lambda counts, progress: roofline(counts, 180.0))
    result = run("--threads", "1", "--json")
    assert "the machine was busy: on 1 thread(s)" in result.stderr
    assert json.loads(result.stdout)


def test_default_is_one_thread_and_all_cores_each_once(asked):
    assert run().exit_code == 0
    assert asked == sorted({1, threads.cores()})


def test_json_is_what_is_kept_in_both_places(asked, tmp_path):
    result = run("--threads", "1", "--json", "--save", str(tmp_path / "results"))
    assert result.exit_code == 0, result.output
    kept = list(tmp_path.rglob("*.jsonl"))
    assert len(kept) == 2
    assert all(json.loads(path.read_text()) == json.loads(result.stdout) for path in kept)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "threads must be numbers of at least 1, like 1,2; got '0'"),
        (["--threads", ","], "threads must be numbers of at least 1, like 1,2; got ','"),
        (["--threads", "4096"], f"threads must be at most {threads.cores()}"),
        (["--save", __file__], "save must be a folder; got"),
    ],
)
def test_wrong_usage_is_one_sentence_and_measures_nothing(asked, arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert asked == []


def test_a_system_that_hides_its_caches_breaks_it(asked, monkeypatch):
    def hidden(counts, progress):
        raise CachesError("the system does not tell the sizes of the caches")

    monkeypatch.setattr(measure, "measure", hidden)
    result = run("--threads", "1")
    assert result.exit_code == 5
    assert "does not tell the sizes" in result.stderr


def test_a_folder_that_cannot_be_written_breaks_it(asked, monkeypatch, tmp_path):
    (tmp_path / "data").write_text("a file")
    result = run("--threads", "1")
    assert result.exit_code == 5
    assert "cannot be kept" in result.stderr
