"""rnnbench tune: the table that it writes is the one that "auto" goes by, and the way it leaves."""

from __future__ import annotations

import json
from itertools import product

import pytest
from typer.testing import CliRunner

from rnnbench.cli import app, tune
from rnnbench.exit_codes import BROKEN, GOOD, USAGE
from rnnbench.nn import auto
from rnnbench.spec import CELLS, PHASES, Spec


def run(*arguments):
    return CliRunner().invoke(app, ["tune", *arguments])


@pytest.fixture
def small(monkeypatch):
    """A grid of one size, measured in this process and hardly at all."""
    monkeypatch.setattr(auto, "BATCHES", (2,))
    monkeypatch.setattr(auto, "HIDDEN", (4,))
    monkeypatch.setattr(auto, "DTYPES", ("float32",))
    monkeypatch.setattr(auto, "STEPS", 4)
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    monkeypatch.setattr("rnnbench.comparison.timing.SAMPLE", 0.0)
    monkeypatch.setattr(tune, "_in_a_process", tune.measure)


def test_every_point_is_measured_and_the_lookup_goes_by_them(small, tmp_path, monkeypatch):
    table = tmp_path / "new" / "auto.json"
    result = run("--threads", "1", "--table", str(table), "--json")
    assert result.exit_code == GOOD, result.output
    written = json.loads(table.read_text(encoding="utf-8"))
    assert json.loads(result.stdout) == written
    grid = list(product([1], CELLS, PHASES, ["float32"], [False, True], [2], [4]))
    assert [tuple(row["point"]) for row in written["points"]] == grid
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in written["points"])
    assert written["about"].keys() >= {"machine", "cores", "T", "torch", "numba"}
    monkeypatch.setattr(auto, "TABLE", table)
    auto._ratios.cache_clear()
    auto.numba_is_faster.cache_clear()
    try:
        for row, point in zip(written["points"], map(auto.Point._make, grid), strict=True):
            found = auto.numba_is_faster(Spec(point.cell, 4, 4), point.phase, point.packed, 4, 2, 1)
            assert found == (row["low"] >= 1)
    finally:
        auto._ratios.cache_clear()
        auto.numba_is_faster.cache_clear()


def test_what_is_printed_counts_the_cases(monkeypatch, tmp_path):
    rows = [{"point": [1, "gru"], "ratio": 2.0, "low": low, "high": 3.0} for low in (0.9, 1.0, 1.5)]
    monkeypatch.setattr(tune, "_in_a_process", lambda count: iter(rows))
    result = run("--threads", "1", "--table", str(tmp_path / "auto.json"))
    assert "numba is faster in 2 of 3 cases; kept in" in result.output


def test_the_process_that_measures_is_this_program(monkeypatch):
    """One point of it, and what the end of a killed process is."""
    points = tune._in_a_process(1)
    first = next(points)
    assert first["point"][:3] == [1, CELLS[0], PHASES[0]]
    points.gi_frame.f_locals["process"].kill()
    with pytest.raises(tune.BrokenError, match="measuring with 1 threads ended with -9"):
        list(points)


def test_a_table_is_kept_where_measuring_breaks(monkeypatch, tmp_path):
    def broken(count):
        yield {"point": [count], "ratio": 1.0, "low": 1.0, "high": 1.0}
        raise tune.BrokenError("measuring with 1 threads ended with 1")

    table = tmp_path / "auto.json"
    table.write_text("old")
    monkeypatch.setattr(tune, "_in_a_process", broken)
    result = run("--threads", "1", "--table", str(table))
    assert result.exit_code == BROKEN
    assert "ended with 1" in result.output
    assert table.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "threads must be numbers of at least 1"),
        (["--threads", "x"], "threads must be numbers of at least 1"),
        (["--threads", "1", "--table", "{file}/auto.json"], "the folder of table must be a folder"),
    ],
)
def test_wrong_options_are_found_before_anything_is_measured(
    arguments, sentence, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tune, "_in_a_process", lambda count: pytest.fail("measured"))
    result = run(*(one.format(file=tmp_path / "file") for one in arguments))
    assert result.exit_code == USAGE
    assert sentence in result.output
