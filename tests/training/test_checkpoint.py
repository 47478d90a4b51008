"""Killed at any moment, a training goes on with the very same curve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.errors import InputError
from rnnbench.training import checkpoint
from rnnbench.training.loop import Run
from rnnbench.training.settings import OPTIMISERS

ARGUMENTS = [
    "train", "--no-band", "--json", "--task", "adding", "--T", "20", "--size", "200",
    "--hidden-size", "8", "--layers", "2", "--dropout", "0.3", "--backend", "manual,native",
    "--epochs", "20",
]  # fmt: skip
COMMAND = [sys.executable, "-c", "from rnnbench.cli import app; app()", *ARGUMENTS]


def steps(output):
    """Everything of the runs that is not a time."""
    return [
        (run["backend"], {name: v for name, v in run["curve"].items() if name != "seconds"})
        for run in json.loads(output)["runs"]
    ]


def test_killed_in_the_middle_it_resumes_to_the_same_curve(tmp_path):
    whole = CliRunner().invoke(app, ARGUMENTS)
    resuming = ["--checkpoint", str(tmp_path)]
    last = checkpoint.path(tmp_path, "native")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*COMMAND, *resuming], **quiet) as process:
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(torch.load(last)["curve"]["scores"]) < 20
    resumed = CliRunner().invoke(app, [*ARGUMENTS, *resuming])
    assert steps(resumed.stdout) == steps(whole.stdout)
    assert all(run["resumed_epochs"] > 0 for run in json.loads(resumed.stdout)["runs"])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_each_optimiser_resumes_exactly(small, few, tmp_path, optimiser):
    settings = replace(small, optimiser=optimiser, epochs=4, layers=2, dropout=0.4)
    whole = Run(settings, "native", few)
    for _ in range(4):
        whole.epoch()
    first = Run(settings, "native", few)
    first.epoch()
    first.epoch()
    checkpoint.save(first, tmp_path / "native.pt")
    second = Run(settings, "native", few)
    assert checkpoint.resume(second, tmp_path / "native.pt")
    second.warm_up()
    while not second.finished:
        second.epoch()
    assert second.curve.losses == whole.curve.losses
    assert second.curve.norms == whole.curve.norms
    assert second.curve.scores == whole.curve.scores


def test_more_epochs_go_on_where_fewer_ended(small, few, tmp_path):
    whole = Run(replace(small, epochs=3), "native", few)
    for _ in range(3):
        whole.epoch()
    first = Run(replace(small, epochs=1), "native", few)
    first.epoch()
    checkpoint.save(first, tmp_path / "native.pt")
    second = Run(replace(small, epochs=3), "native", few)
    checkpoint.resume(second, tmp_path / "native.pt")
    second.epoch()
    second.epoch()
    assert second.curve.losses == whole.curve.losses


def test_a_run_that_stopped_being_numbers_stays_stopped(small, few, tmp_path):
    wild = replace(small, cell="rnn_relu", optimiser="sgd", lr=1e12, clip=0.0, epochs=5)
    first = Run(wild, "native", few)
    while not first.finished:
        first.epoch()
    checkpoint.save(first, tmp_path / "native.pt")
    second = Run(wild, "native", few)
    checkpoint.resume(second, tmp_path / "native.pt")
    assert second.finished
    assert str(second.curve.divergence) == str(first.curve.divergence)


def test_other_settings_are_refused_with_what_differs(small, few, tmp_path):
    run = Run(small, "native", few)
    run.epoch()
    checkpoint.save(run, tmp_path / "native.pt")
    other = Run(replace(small, lr=0.5, cell="lstm"), "native", few)
    with pytest.raises(InputError, match=r"cell='gru' \(now 'lstm'\), lr=0.005 \(now 0.5\)"):
        checkpoint.resume(other, tmp_path / "native.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint_is_said(small, few, tmp_path, content):
    (tmp_path / "native.pt").write_bytes(content)
    with pytest.raises(InputError, match="checkpoint must be a file that a training wrote"):
        checkpoint.resume(Run(small, "native", few), tmp_path / "native.pt")


def test_nothing_there_is_nothing_resumed(small, few, tmp_path):
    assert not checkpoint.resume(Run(small, "native", few), tmp_path / "native.pt")


def test_a_write_that_is_cut_off_leaves_the_old_file(small, few, tmp_path, monkeypatch):
    run, target = Run(small, "native", few), tmp_path / "native.pt"
    run.epoch()
    checkpoint.save(run, target)
    before = target.read_bytes()
    real = torch.save

    def cut_off(state, path):
        real(state, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, target)
    assert target.read_bytes() == before
