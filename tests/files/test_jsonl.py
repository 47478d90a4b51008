"""Lines are appended whole, and each that cannot be read is named."""

from __future__ import annotations

import pytest

from rnnbench.files import jsonl


def test_lines_that_cannot_be_read_are_named_and_the_rest_is_read(tmp_path):
    file = tmp_path / "below" / "log.jsonl"
    jsonl.append({"schema": 1, "x": 1}, file)
    with file.open("ab") as stream:
        stream.write(b'{"x": \n[1]\n{"schema": 2}\n\xff\n')
    jsonl.append({"schema": 1, "x": 2}, file)
    found = list(jsonl.read(file, schema=1))
    assert [one for one in found if isinstance(one, dict)] == [
        {"schema": 1, "x": 1},
        {"schema": 1, "x": 2},
    ]
    assert [one.partition(": ")[0] for one in found if isinstance(one, str)] == [
        f"log.jsonl, line {number}" for number in (2, 3, 4, 5)
    ]
    assert "schema 2 must be 1" in str(found[3])


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        jsonl.append({"x": float("nan")}, tmp_path / "log.jsonl")
    assert not (tmp_path / "log.jsonl").exists()
