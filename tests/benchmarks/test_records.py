"""Records: written by the benchmarks, read by the report."""

from __future__ import annotations

import platform

from benchmarks import records

PARAMS = ("manual", "gru", 16, 1, 1, "small")


def test_a_record_comes_back_as_it_was_written(suite):
    written = records.new("speed.Inference.time_inference", PARAMS) | {"status": "ok"}
    records.append(written)
    assert suite.records() == [written]
    assert records.path().parent == suite.folder / "results" / "records" / platform.node()
    assert records.path().name.startswith("00000000-existing-py")


def test_the_last_record_of_a_case_stands_and_a_cut_line_is_passed_over(suite):
    for status in ("error", "ok"):
        records.append(records.new("speed.Inference.time_inference", PARAMS) | {"status": status})
    with records.path().open("a") as file:
        file.write('{"schema": 1, "benchm')
    assert [record["status"] for record in suite.records()] == ["ok"]


def test_the_environment_is_called_as_asv_calls_it(monkeypatch):
    from asv.config import Config
    from asv.environment import ExistingEnvironment

    monkeypatch.delenv("ASV_ENV_NAME", raising=False)
    conf = Config.from_json({"repo": "."})
    assert records.environment_name() == ExistingEnvironment(conf, "same", {}, {}).name


def test_asv_tells_commit_and_environment_in_its_own_environments(monkeypatch, tmp_path):
    records.commit.cache_clear()
    monkeypatch.setenv("ASV_COMMIT", "1" * 40)
    monkeypatch.setenv("RNNBENCH_COMMIT", "2" * 40)
    monkeypatch.setenv("ASV_ENV_NAME", "virtualenv-py3.11")
    monkeypatch.setenv("ASV_CONF_DIR", str(tmp_path))
    monkeypatch.delenv("RNNBENCH_RESULTS_DIR", raising=False)
    assert records.path().relative_to(tmp_path).parts[:3] == (".asv", "results", "records")
    assert records.path().name == "11111111-virtualenv-py3.11.jsonl"
    records.commit.cache_clear()
