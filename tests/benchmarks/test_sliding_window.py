"""The side-by-side measurement of mode "sliding": what it measures is the same gradient."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from benchmarks import sliding_window

from rnnbench.truncation import sliding

SMALL = ["--T", "20", "--K", "6", "--B", "2", "--H", "5", "--rounds", "2", "--loops", "1"]


@pytest.fixture
def measured(monkeypatch, capsys):
    """Runs the command with these arguments; its stdout."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sliding_window", *SMALL, *arguments])
        sliding_window.main()
        return capsys.readouterr().out

    yield run
    assert torch.get_num_threads() == threads


def test_each_cell_has_its_ratios_and_its_kernel(measured):
    found = json.loads(measured("--json"))
    assert [result["cell"] for result in found["cells"]] == ["rnn_tanh", "rnn_relu", "gru", "lstm"]
    for result in found["cells"]:
        assert result["kernel"] == "numba"
        assert result["seconds"].keys() == {"batched", "loop"}
        assert [len(samples) for samples in result["seconds"]["batched"].values()] == [2, 2]
        for middle, low, high in result["ratios"].values():
            assert 0 < low <= middle <= high
    lines = measured("--cells", "gru", "lstm", "--loops", "0").splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["gru", "lstm"]


def test_a_wrong_gradient_gets_no_figure(measured, monkeypatch):
    def wrong(spec, layers, dy, steps, k):
        return sliding.steps_back(spec, layers, dy, steps, k - 1)

    monkeypatch.setitem(sliding.KERNELS, ("gru", "float32"), wrong)
    with pytest.raises(SystemExit, match=r"gru: sliding is .* from batched"):
        measured("--cells", "gru")


def test_ratios_are_of_medians_and_quartiles():
    ratio = sliding_window.ratio([8.0, 10.0, 12.0], [1.0, 2.0, 3.0])
    assert ratio == (5.0, 9 / 2.5, 11 / 1.5)
    assert sliding_window.ratio([6.0], [2.0]) == (3.0, 3.0, 3.0)


def test_more_steps_in_a_window_than_there_are_is_wrong_usage(measured):
    with pytest.raises(SystemExit) as stopped:
        measured("--K", "21")
    assert stopped.value.code == 2
