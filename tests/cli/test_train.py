"""rnnbench train: what it prints, its JSON, and the way it leaves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import rnnbench
from rnnbench import interface
from rnnbench.backends.manual import Manual
from rnnbench.cli import app
from rnnbench.training import sidebyside, tasks

SHORT = ["--task", "adding", "--T", "6", "--size", "20", "--hidden-size", "4", "--epochs", "2"]


def run(*arguments):
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def plant():
    """Registers a backend's class under the name ``planted``."""

    def register(kind):
        rnnbench.register("planted", kind())

    yield register
    if "planted" in rnnbench.backends():
        interface.unregister("planted")


class Wrong(Manual):
    def run(self, spec, inputs):
        y, final = super().run(spec, inputs)
        return y, tuple(part * 1.01 for part in final)


class Broken(Manual):
    def run(self, spec, inputs):
        raise ZeroDivisionError("a kernel that divides")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--backend", "cudnn"], "backend must be one of"),
        (["--backend", ","], "backend must be names"),
        (["--task", "imdb"], "task must be one of"),
        (["--epochs", "0"], "epochs must be at least 1; got 0"),
        (["--lr", "-1"], "lr must be a positive number"),
        (["--threads", "0"], "threads must be numbers of at least 1"),
        (["--save", __file__], "save must be a folder"),
        (["--checkpoint", __file__], "checkpoint must be a folder"),
        (["--task", "adding", "--alone"], "alone is for classification"),
    ],
)
def test_wrong_usage_is_one_sentence_and_trains_nothing(arguments, sentence, monkeypatch):
    monkeypatch.setattr(tasks, "load", lambda settings: pytest.fail("loaded"))
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_data_that_is_missing_is_wrong_usage(monkeypatch):
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    result = run("--no-band")
    assert result.exit_code == 2
    assert "pip install 'rnnbench[train]'" in result.stderr


def test_json_and_the_kept_line_are_the_whole_run(tmp_path):
    result = run(*SHORT, "--backend", "native,manual", "--json", "--save", str(tmp_path))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (path,) = (tmp_path / sidebyside.FOLDER).glob("*.jsonl")
    assert json.loads(path.read_text()) == found
    assert [one["backend"] for one in found["runs"]] == ["native", "manual"]
    for one in found["runs"]:
        assert one["status"] == "ok"
        assert 0 <= one["band"]["share"] < 1
        assert len(one["curve"]["losses"]) == len(found["band"]["widths"]["loss"]) == 2
        assert len(one["curve"]["scores"]) == len(one["curve"]["seconds"]) == 2


def test_all_is_every_backend_with_gradients(monkeypatch):
    from rnnbench.cli import train as command

    seen = []

    def record(settings, names, *_, **__):
        seen.extend(names)
        return [], None

    monkeypatch.setattr(command, "_trained", record)
    run(*SHORT, "--backend", "all")
    assert {"manual", "numba", "native", "compile"} <= set(seen)
    assert "onnxruntime" not in seen


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [(Wrong, 1, "beyond its band"), (Broken, 5, "a kernel that divides")],
)
def test_a_backend_that_is_wrong_or_breaks_is_said_and_the_others_go_on(plant, kind, code, words):
    plant(kind)
    result = run(*SHORT, "--backend", "native,planted", "--json")
    assert result.exit_code == code
    first, second = json.loads(result.stdout)["runs"]
    assert first["status"] == "ok"
    assert words in second["detail"]
    table = run(*SHORT, "--backend", "native,planted", "--epochs", "1")
    assert table.exit_code == code
    assert words in table.output


def test_no_gradients_is_nothing_measured():
    if "onnxruntime" not in rnnbench.backends():
        pytest.skip("onnxruntime is not installed")
    result = run(*SHORT, "--backend", "onnxruntime", "--no-band")
    assert result.exit_code == 4
    assert "computes no gradients" in result.output


def test_nan_has_an_account_and_is_a_failure():
    result = run(
        *SHORT, "--no-band", "--backend", "native", "--cell", "rnn_relu", "--optimiser", "sgd",
        "--lr", "1e30", "--clip", "0",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "diverged" in result.output
    assert "no clipping; gradient norms of the steps before" in result.output


def test_a_resumed_run_says_so(tmp_path):
    once = run(*SHORT, "--no-band", "--backend", "native", "--checkpoint", str(tmp_path))
    assert once.exit_code == 0
    again = run(*SHORT, "--no-band", "--backend", "native", "--checkpoint", str(tmp_path))
    assert "native: resumed after epoch 2" in again.output
    other = run(
        *SHORT, "--no-band", "--backend", "native", "--checkpoint", str(tmp_path), "--lr", "1"
    )
    assert other.exit_code == 2
    assert "lr=0.005 (now 1.0)" in other.stderr
