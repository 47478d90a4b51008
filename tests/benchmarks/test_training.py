"""The benchmarks of trainings: nothing is measured of a backend that trains differently."""

from __future__ import annotations

import math

import pytest
from benchmarks import agreement, training
from benchmarks.training import Accuracy, Band, Epoch, Memory

import rnnbench
from rnnbench import interface
from rnnbench.backends.manual import Manual
from rnnbench.training import tasks


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(training, "JUDGED_EPOCHS", 1)
    monkeypatch.setattr(training, "CALLS", 1)


def test_a_run_has_looked_at_the_test_part_before_it_is_timed(monkeypatch):
    """`compile` makes a graph of it, which a time would contain."""
    from rnnbench.training.loop import Run

    looks = []
    real = Run.look
    monkeypatch.setattr(Run, "look", lambda run: looks.append(run) or real(run))
    run = training.Training("manual", "gru", 1).run()
    assert looks == [run]
    assert run.epochs == 0


def test_each_figure_is_measured_and_the_band_once(suite, monkeypatch):
    from rnnbench.training import band

    measured = []
    real = band.measure
    monkeypatch.setattr(band, "measure", lambda *given: measured.append(1) or real(*given))
    for kind in (Accuracy, Band, Epoch, Memory):
        monkeypatch.setattr(kind, "params", [["numba"], ["gru"]])
    assert 0 < suite.run("training.Band.track_share") <= 1
    assert min(suite.run("training.Epoch.time_epoch")["samples"]) > 0
    assert suite.run("training.Accuracy.track_seconds_to_target") > 0
    assert suite.run("training.Memory.track_peak_bytes") > 0
    records = suite.records()
    assert {record["status"] for record in records} == {"ok"}
    assert all(record["parity"]["passed"] for record in records)
    assert len(records) == 4
    assert len(measured) == 1


class Leaning(Manual):
    """Right but for a thousandth."""

    def run(self, spec, inputs):
        y, final = super().run(spec, inputs)
        return y, tuple(part * 1.001 for part in final)


def test_a_backend_outside_of_its_band_gets_no_figure(suite, monkeypatch):
    rnnbench.register("leaning", Leaning())
    try:
        monkeypatch.setattr(Epoch, "params", [["leaning"], ["gru"]])
        with pytest.raises(agreement.ParityFailureError, match="beyond its band"):
            suite.run("training.Epoch.time_epoch")
    finally:
        interface.unregister("leaning")
    (record,) = suite.records()
    assert record["status"] == "parity"
    assert not record["parity"]["passed"]
    assert record["parity"]["worst_error"] > 1


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [("onnxruntime", "onnxruntime"), ("numba", "sktime, which is not installed")],
)
def test_what_cannot_train_here_is_skipped_with_the_reason(suite, monkeypatch, backend, sentence):
    if backend not in rnnbench.backends():
        pytest.skip(f"{backend} is not installed")
    if backend == "numba":
        monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    monkeypatch.setattr(Epoch, "params", [[backend], ["gru"]])
    assert math.isnan(suite.run("training.Epoch.time_epoch"))
    (record,) = suite.records()
    assert record["status"] == "unsupported"
    assert sentence in record["reason"]
