"""What a comparison leaves for the report: a line for each case, whole, and never overwritten."""

from __future__ import annotations

import json
import math

import pytest

from rnnbench import Case, Spec
from rnnbench.comparison import saving
from rnnbench.comparison.compare import Line
from rnnbench.comparison.plan import case_from_dict
from rnnbench.files import machine
from rnnbench.roofline.cost import flops

CASE = Case(Spec("lstm", 3, 4), 5, 2)


def line(backend, seconds=(), status="ok", **more):
    return Line(CASE, backend, 2, status, seconds=tuple(seconds), **more)


LINES = [
    line("native", [2.0] * 7, cores=1.0),
    line("numba", [1.0] * 7, identity={"kernel": "vectors"}),
    line("jax", [0.5] * 7),
    line("onnxruntime", status="unsupported", detail="no gradients"),
]


def test_record_holds_case_ratios_machine_and_date():
    found = saving.record(LINES)
    assert case_from_dict(json.loads(json.dumps(found["case"]))) == CASE
    assert (found["threads"], found["name"]) == (2, CASE.name)
    assert found["flops"] == flops(CASE)
    assert found["machine"] == machine.identity()
    assert found["versions"] == machine.versions()
    assert found["at"].endswith("+00:00")
    assert found["fastest_reference"] == "jax"
    assert set(found["lines"][0]) == {
        "backend", "status", "detail", "median", "rounds", "gflops", "cores", "identity",
        "ratio_to_native", "ratio_to_fastest_reference",
    }  # fmt: skip
    by_name = {entry["backend"]: entry for entry in found["lines"]}
    assert by_name["numba"]["ratio_to_native"] == (2.0, 2.0, 2.0)
    assert by_name["numba"]["ratio_to_fastest_reference"] == (0.5, 0.5, 0.5)
    assert by_name["numba"]["identity"] == {"kernel": "vectors"}
    assert by_name["numba"]["rounds"] == 7


def test_what_has_no_time_has_no_number():
    entry = saving.record(LINES)["lines"][3]
    assert entry["status"] == "unsupported"
    assert entry["detail"] == "no gradients"
    for name in ("median", "gflops", "cores", "ratio_to_native", "ratio_to_fastest_reference"):
        assert entry[name] is None


def test_without_any_time_there_is_no_reference():
    found = saving.record([line("native", status="broke"), line("numba", status="wrong")])
    assert found["fastest_reference"] is None


def test_each_case_is_a_line_of_its_own_and_older_lines_stay(tmp_path):
    path = saving.append(LINES, tmp_path)
    before = path.read_bytes()
    assert saving.append(LINES[:2], tmp_path) == path
    assert path.read_bytes().startswith(before)
    first, second = map(json.loads, path.read_text().splitlines())
    assert len(first["lines"]) == 4
    assert len(second["lines"]) == 2


def test_a_record_that_is_no_json_is_not_begun(tmp_path):
    saving.append(LINES, tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        saving.append([line("native", [1.0] * 7, identity={"bias": math.nan})], tmp_path)
    (path,) = tmp_path.rglob("*.jsonl")
    assert len(path.read_text().splitlines()) == 1
