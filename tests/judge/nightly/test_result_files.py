"""Result files are taken over whole, lose nothing that is known, and are told from foreign ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rnnbench.judge.nightly import result_files

COLUMNS = ["result", "params", "version"]
NAN = math.nan


def written(folder: Path, values: list[float | None], **changes: Any) -> Path:
    """A result file of asv's with one benchmark of three cases."""
    file = folder / "here" / "aaaaaaaa-env.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    given = {
        "version": 2,
        "commit_hash": "a" * 40,
        "params": {"machine": "here"},
        "result_columns": COLUMNS,
        "results": {"a.time_a": [values, [["1", "2", "3"]], "v"]},
    }
    file.write_text(json.dumps(given | changes))
    return file


def test_outcomes_tell_a_number_from_a_failure_and_from_none(tmp_path: Path) -> None:
    file = written(tmp_path, [1.0, None, NAN])
    assert result_files.outcomes(result_files.load(file)) == {
        "a.time_a@v": {"a.time_a(1)": "ok", "a.time_a(2)": "failed", "a.time_a(3)": "none"}
    }


def test_what_failed_as_a_whole_has_failed_in_each_case(tmp_path: Path) -> None:
    results = {"a.time_a": [None, [["1", "2"]], "v"], "a.time_b": [None, [], "v"]}
    file = written(tmp_path, [], results=results)
    assert result_files.outcomes(result_files.load(file)) == {
        "a.time_a@v": {"a.time_a(1)": "failed", "a.time_a(2)": "failed"},
        "a.time_b@v": {"a.time_b": "failed"},
    }


def test_what_adds_to_the_known_is_taken_over(tmp_path: Path) -> None:
    known = written(tmp_path / "results", [1.0, NAN, NAN])
    new = written(tmp_path / "scratch", [1.0, 2.0, NAN])
    result_files.adopt(tmp_path / "scratch", tmp_path / "results")
    assert known.read_bytes() == new.read_bytes()
    assert [file.name for file in known.parent.iterdir()] == [known.name]


@pytest.mark.parametrize("half", [True, False])
def test_what_is_half_or_lacks_a_known_number_is_left_behind(tmp_path: Path, half: bool) -> None:
    known = written(tmp_path / "results", [1.0, 2.0, NAN])
    before = known.read_bytes()
    new = written(tmp_path / "scratch", [1.0, 2.0, 3.0] if half else [1.0, NAN, 3.0])
    if half:
        new.write_bytes(new.read_bytes()[:-20])
    result_files.adopt(tmp_path / "scratch", tmp_path / "results")
    assert known.read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"params": {"machine": "there"}},
        {"commit_hash": "b" * 40},
        {"commit_hash": None},
        {"results": []},
        {"results": {"a": 1}},
        {"params": {}},
    ],
    ids=repr,
)
def test_a_foreign_file_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = written(tmp_path, [1.0, 2.0, 3.0], **changes)
    with pytest.raises(result_files.ForeignError):
        result_files.load(file)
    (trouble,) = result_files.set_broken_aside(tmp_path)
    assert not file.exists()
    assert (tmp_path / "aside" / "here" / file.name).exists()
    assert file.name in trouble.account


def test_a_second_file_of_a_name_does_not_replace_the_first(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        file = tmp_path / "here" / "aaaaaaaa-env.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        result_files.set_broken_aside(tmp_path)
    kept = sorted((tmp_path / "aside" / "here").iterdir())
    assert [file.read_text() for file in kept] == ["one", "two", "three"]


def test_records_are_added_once_and_half_lines_are_cut_off(tmp_path: Path) -> None:
    known = tmp_path / "results" / "records" / "here" / "a.jsonl"
    new = tmp_path / "scratch" / "records" / "here" / "a.jsonl"
    for file, text in ((known, '{"a": 1}\n{"b"'), (new, '{"a": 1}\n{"c": 1}\n{"d"')):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    for _ in range(2):
        result_files.adopt(tmp_path / "scratch", tmp_path / "results")
        assert known.read_text() == '{"a": 1}\n{"c": 1}\n'


def test_a_commit_measured_in_several_environments_needs_a_number_in_each(tmp_path: Path) -> None:
    one = written(tmp_path, [1.0, 2.0, NAN])
    one.rename(one.with_name("aaaaaaaa-other.json"))
    written(tmp_path, [1.0, NAN, 3.0])
    found = result_files.numbers(tmp_path, "here", ["a" * 40], existing=False)
    assert found == {"a" * 40: {"a.time_a@v": {"a.time_a(1)"}}}
    assert result_files.numbers(tmp_path, "here", ["a" * 40], existing=True) == {}
