"""The benchmarks of truncated BPTT measure the passes that they name."""

from __future__ import annotations

import pytest
import torch
from benchmarks import package, truncation
from benchmarks.truncation import Bias, Lag, Memory, Pass, Running, Seconds, distance

from rnnbench.truncation import lag_norms, sliding

MODES = ("chunks", "k1_k2", "sliding", "full", "checkpoints", "artbp", "windows")


def found(mode, cell="gru", T=12, K=4):
    return Running(Pass(mode, cell, T, K, "small")).step()


@pytest.mark.parametrize("K", [1, 4, 12, 20])
def test_windows_and_sliding_are_the_same_gradient(cell, K):
    assert distance(found("sliding", cell, K=K), found("windows", cell, K=K)) < truncation.SAME


def test_checkpoints_are_full_and_the_others_are_not():
    assert distance(found("checkpoints"), found("full")) < truncation.SAME
    for mode in ("chunks", "k1_k2", "sliding", "artbp"):
        assert distance(found(mode), found("full")) > truncation.SAME


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("benchmark_class", [Seconds, Memory])
def test_each_mode_is_measured(suite, monkeypatch, mode, benchmark_class):
    monkeypatch.setattr(benchmark_class, "params", [[mode], ["gru"], [12], [4], ["small"]])
    name = {Seconds: "Seconds.time_pass", Memory: "Memory.track_peak_bytes"}[benchmark_class]
    answer = suite.run(f"truncation.{name}")
    assert (min(answer["samples"]) if benchmark_class is Seconds else answer) >= 0
    (record,) = suite.records()
    assert record["status"] == "ok"
    assert record["params"] == [mode, "gru", "12", "4", "small"]


def test_bias_falls_with_k(suite, monkeypatch):
    monkeypatch.setattr(Bias, "params", [["sliding"], ["gru"], [24], [1, 8, 24], ["small"]])
    biases = [suite.run("truncation.Bias.track_bias", index) for index in range(3)]
    assert biases[0] > biases[1] > biases[2]
    assert biases[2] < truncation.SAME


def test_norms_at_a_lag_are_those_of_the_package(suite, monkeypatch):
    lags = [1, 3, 9]
    monkeypatch.setattr(Lag, "params", [["lstm"], lags, ["small"]])
    for index, lag in enumerate(lags):
        running = Running(Pass("full", "lstm", lag + 1, 1, "small"))
        expected = lag_norms(running.module, running.x)
        assert len(expected) == lag
        got = suite.run("truncation.Lag.track_norm", index)
        assert got == pytest.approx(float(expected[-1].mean()))


def test_a_wrong_sliding_pass_gets_no_figure(suite, monkeypatch):
    right = sliding.steps_back

    def wrong(spec, layers, dy, steps, k):
        return right(spec, layers, dy, steps, k + 1)

    monkeypatch.setattr(Seconds, "params", [["sliding"], ["gru"], [12], [4], ["small"]])
    monkeypatch.setitem(sliding.KERNELS, ("gru", "float32"), wrong)
    with pytest.raises(RuntimeError, match=r"sliding is .* from windows"):
        suite.run("truncation.Seconds.time_pass")
    (record,) = suite.records()
    assert record["status"] == "error"


def test_a_commit_without_the_modes_is_skipped(suite, monkeypatch):
    def missing(name):
        raise package.UnsupportedCaseError(f"this commit has no rnnbench.{name}")

    monkeypatch.setattr(package, "public", missing)
    monkeypatch.setattr(Seconds, "params", [["full"], ["gru"], [12], [4], ["small"]])
    suite.run("truncation.Seconds.time_pass")
    (record,) = suite.records()
    assert record["status"] == "unsupported"
    assert "no rnnbench.truncated_bptt" in record["reason"]
    assert torch.get_num_threads() == 1
