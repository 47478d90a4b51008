"""asv's results and the records become rows; nothing unreadable stops that."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from reports.data import report
from reports.data.rows import COLUMNS, PROVEN, frame, latest, load_rows
from reports.sections.headline import verdict
from synthetic import Project, Run, fail_parity

from rnnbench.judge.site.data import results
from rnnbench.judge.site.data.results import Status
from rnnbench.judge.site.data.store import counts

INFERENCE = "speed.Inference.time_inference"
TRAINING = "speed.Training.time_training"


def row(rows: pd.DataFrame, benchmark: str, index: int) -> pd.Series:
    """A benchmark's row in asv's order of cases."""
    return rows[rows["benchmark"] == benchmark].iloc[index]


@dataclass
class Loaded:
    """Rows, and a sentence for each thing that could not be read."""

    rows: pd.DataFrame
    problems: list[str]


def read_results(results_dir: Path) -> Loaded:
    figures, problems = results.read(results_dir, proven=PROVEN)
    benchmarks = results.read_benchmarks(results_dir, problems)
    return Loaded(frame(figures, benchmarks), problems)


def result_file(project: Project) -> Path:
    return next(project.results.glob("bench/*-*.json"))


def records_file(project: Project) -> Path:
    return next(project.results.glob("records/*/*.jsonl"))


@pytest.fixture
def run(project: Project) -> Run:
    return project.measure()


def test_one_row_per_case_with_its_interval_and_record(project: Project, run: Run) -> None:
    project.write()
    rows = load_rows(project.results)
    assert list(rows.columns) == COLUMNS
    assert len(rows) == sum(len(values) for values in run.values.values())
    first = row(rows, INFERENCE, 0)
    assert first["value"] == run.values[INFERENCE][0]
    assert first["ci_a"] < first["value"] < first["ci_b"]
    assert (first["n"], first["unit"], first["group"], first["kind"]) == (
        12,
        "seconds",
        "speed",
        "inference",
    )
    assert (first["backend"], first["cell"], first["T"], first["shape"]) == (
        "native",
        "rnn_tanh",
        16,
        "medium",
    )
    assert first["case"] == "T=16, 1 layer, 1 direction, medium"
    assert (first["status"], first["profile"]) == (Status.OK, "quick")
    assert first["identity"]["kernel"] == "ATen loop"
    assert first["parity"]["passed"] is True


def test_a_case_without_parameters_is_one_row(project: Project, run: Run) -> None:
    project.write()
    control = row(load_rows(project.results), "control.Control.time_matmul", 0)
    assert control["value"] == run.values["control.Control.time_matmul"][0]
    assert control["backend"] is None
    assert control["case"] == ""


def test_failed_parity_hides_the_time_that_asv_still_holds(project: Project, run: Run) -> None:
    fail_parity(run, INFERENCE, 5)
    project.write()
    failed = row(load_rows(project.results), INFERENCE, 5)
    assert run.values[INFERENCE][5] is not None
    assert math.isnan(failed["value"])
    assert failed["status"] == Status.PARITY


def test_a_record_that_says_ok_with_failed_parity_is_not_believed(
    project: Project, run: Run
) -> None:
    fail_parity(run, INFERENCE, 5)
    run.records[5]["status"] = "ok"
    project.write()
    assert row(load_rows(project.results), INFERENCE, 5)["status"] == Status.PARITY


@pytest.mark.parametrize(
    ("value", "record", "status"),
    [
        (math.nan, {"status": "unsupported", "reason": "no"}, Status.UNSUPPORTED),
        (math.nan, None, Status.UNSUPPORTED),
        (None, {"status": "error", "reason": "boom"}, Status.ERROR),
        (None, {"status": "ok"}, Status.ERROR),
        (None, None, Status.MISSING),
        (1.0, None, Status.UNRECORDED),
        (1.0, {"status": "ok", "parity": None}, Status.UNRECORDED),
        (1.0, {"status": "error", "reason": "graph break"}, Status.ERROR),
    ],
)
def test_status(
    project: Project, run: Run, value: float | None, record: dict[str, object] | None, status: str
) -> None:
    run.values[INFERENCE][0] = value
    if record is None:
        del run.records[0]
    else:
        run.records[0].update(record)
    project.write()
    found = row(load_rows(project.results), INFERENCE, 0)
    assert found["status"] == status
    assert math.isnan(found["value"]) == (status != Status.UNRECORDED)
    if record and record.get("reason"):
        assert found["reason"] == record["reason"]


def test_missing_records_are_said_and_nothing_is_green(project: Project, run: Run) -> None:
    project.write()
    records_file(project).unlink()
    loaded = report.read(project.load())
    assert set(loaded.rows["status"]) == {Status.UNRECORDED, Status.UNSUPPORTED}
    assert any("have no record" in problem for problem in loaded.problems)
    assert verdict(loaded.rows).look == "warn"


def test_a_last_line_cut_short_is_passed_over_in_silence(project: Project, run: Run) -> None:
    project.write()
    path = records_file(project)
    path.write_bytes(path.read_bytes()[:-40])
    loaded = read_results(project.results)
    assert (loaded.rows["status"] == Status.UNRECORDED).sum() == 1
    assert not any("broken" in problem for problem in loaded.problems)


def test_broken_lines_inside_are_counted(project: Project, run: Run) -> None:
    project.write()
    path = records_file(project)
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:50]
    lines[4] = "[1, 2]"
    lines[5] = json.dumps(json.loads(lines[5]) | {"schema": 99})
    lines[6] = json.dumps(json.loads(lines[6]) | {"params": "gru"})
    path.write_text("\n".join(lines) + "\n")
    loaded = read_results(project.results)
    assert (loaded.rows["status"] == Status.UNRECORDED).sum() == 4
    assert any("4 broken record(s)" in problem for problem in loaded.problems)


def test_the_last_record_of_a_case_wins(project: Project, run: Run) -> None:
    later = {**run.records[0], "status": "error", "reason": "second try"}
    run.records.append(later)
    project.write()
    assert row(load_rows(project.results), INFERENCE, 0)["reason"] == "second try"


def test_a_machine_that_asv_calls_otherwise_finds_its_records(project: Project, run: Run) -> None:
    for record in run.records:
        record["host"] = "vm.example"
    project.write()
    assert (load_rows(project.results)["status"] == Status.UNRECORDED).sum() == 0


def test_records_of_a_run_that_asv_never_saved_are_missing_cases(
    project: Project, run: Run
) -> None:
    project.measure(0)
    project.write()
    cut = project.results / "bench" / f"{run.commit[:8]}-{run.environment}.json"
    cut.unlink()
    rows = load_rows(project.results)
    lost = rows[rows["commit"] == run.commit]
    assert len(lost) == len(run.records)
    assert set(lost["status"]) == {Status.MISSING, Status.UNSUPPORTED}
    assert row(lost, INFERENCE, 0)["cell"] == "rnn_tanh"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 2, "results": 3}', "\udcff"])
def test_a_corrupt_result_file_is_named(project: Project, run: Run, content: str) -> None:
    project.measure(0)
    project.write()
    path = project.results / "bench" / f"{run.commit[:8]}-{run.environment}.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    loaded = read_results(project.results)
    assert any(path.name in problem for problem in loaded.problems)
    healthy = loaded.rows[loaded.rows["commit"] != run.commit]
    assert counts(healthy["status"]).measured > 400


def test_a_corrupt_list_of_benchmarks_is_named(project: Project, run: Run) -> None:
    project.write()
    (project.results / "benchmarks.json").write_text("{")
    loaded = read_results(project.results)
    assert any("benchmarks.json" in problem for problem in loaded.problems)
    assert row(loaded.rows, INFERENCE, 0)["cell"] == "rnn_tanh"


def test_files_of_other_tools_are_let_alone(project: Project, run: Run) -> None:
    project.write()
    synthetic.write_json(project.results / "other" / "vm.json", {"facts": 1})
    assert read_results(project.results).problems == []


def test_nothing_at_all(tmp_path: Path) -> None:
    loaded = read_results(tmp_path)
    assert loaded.rows.empty
    assert list(loaded.rows.columns) == COLUMNS
    assert latest(loaded.rows).empty
    assert verdict(loaded.rows).headline == "Nothing measured"


def test_results_of_an_older_version_of_a_benchmark_are_dropped(project: Project, run: Run) -> None:
    project.write()
    project.benchmarks[INFERENCE]["version"] = "2"
    synthetic.write_json(project.results / "benchmarks.json", {**project.benchmarks, "version": 2})
    rows = load_rows(project.results)
    with_value = rows[rows["value"].notna()]
    assert INFERENCE not in set(with_value["benchmark"])
    assert TRAINING in set(with_value["benchmark"])


def test_latest_is_each_machines_newest_commit(project: Project) -> None:
    newer, older = project.measure(1, machine="a"), project.measure(0, machine="a")
    other = project.measure(0, machine="b")
    project.write()
    rows = latest(load_rows(project.results))
    met = set(zip(rows["machine"], rows["commit"], strict=True))
    assert met == {("a", newer.commit), ("b", other.commit)}
    assert older.commit == other.commit


def test_a_case_that_only_one_commit_has_stays_there(project: Project) -> None:
    old = project.measure(0)
    new = project.measure(1)
    del new.values[TRAINING]
    new.records = [record for record in new.records if record["benchmark"] != TRAINING]
    project.write()
    rows = load_rows(project.results)
    assert set(rows[rows["benchmark"] == TRAINING]["commit"]) == {old.commit}
    assert TRAINING not in set(latest(rows)["benchmark"])
