"""One training: seeds, clipping, time to a target, and the account of a run that stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from rnnbench.errors import InputError, UnsupportedError
from rnnbench.training.loop import Curve, Run
from rnnbench.training.settings import Settings


def run(settings, backend, task):
    found = Run(settings, backend, task)
    while not found.finished:
        found.epoch()
    return found


def test_one_seed_one_curve_whatever_runs_beside_it(small, few):
    whole = run(small, "native", few)
    torch.manual_seed(99)
    first, second = Run(small, "native", few), Run(replace(small, seed=1), "native", few)
    for _ in range(small.epochs):
        first.epoch()
        torch.rand(7)
        second.epoch()
    assert first.curve.losses == whole.curve.losses
    assert second.curve.losses != whole.curve.losses


def test_warming_up_changes_nothing(small, few):
    cold, warm = Run(small, "native", few), Run(small, "native", few)
    assert warm.warm_up() > 0
    cold.epoch()
    warm.epoch()
    assert cold.curve.losses == warm.curve.losses


def test_norms_are_those_before_clipping_and_clipping_bounds_the_step(small, few):
    settings = replace(small, optimiser="sgd", lr=1.0, clip=1e-3, batch=30, epochs=1)
    found = Run(settings, "native", few)
    before = [p.detach().clone() for p in found.parameters]
    found.epoch()
    moved = math.sqrt(
        sum(
            float((p.detach() - b).norm()) ** 2
            for p, b in zip(found.parameters, before, strict=True)
        )
    )
    assert found.curve.norms[0] > 0.1
    assert moved == pytest.approx(1e-3, rel=1e-3)
    free = Run(replace(settings, clip=0.0), "native", few)
    free.epoch()
    assert free.curve.norms[0] == pytest.approx(found.curve.norms[0], rel=1e-6)


def test_a_run_that_stops_being_numbers_says_where_and_what_helps(few):
    settings = Settings(
        cell="rnn_relu", optimiser="sgd", lr=1e12, clip=0.0, epochs=5, batch=10, hidden_size=8
    )
    curve = run(settings, "native", few).curve
    account = str(curve.divergence)
    assert curve.divergence.step == len(curve.losses) > 0
    assert "in step" in account
    assert "lr=1e+12 and no clipping" in account
    assert "largest weight" in account
    assert all(map(math.isfinite, [*curve.losses, *curve.norms]))
    again = Curve.from_dict(json.loads(json.dumps(curve.as_dict(), allow_nan=False)))
    assert str(again.divergence) == account


def test_a_curve_knows_when_a_target_was_reached():
    curve = Curve(seconds=[1.0, 2.0, 3.0], scores=[0.5, 0.9, 0.8])
    assert curve.epoch_reaching(0.8, "classification") == 1
    assert curve.seconds_to(0.8, "classification") == 2.0
    assert curve.seconds_to(0.95, "classification") is None
    assert curve.seconds_to(0.5, "regression") == 1.0


def test_gated_cells_learn_a_lag_at_which_tanh_does_not():
    from rnnbench.training import tasks

    settings = Settings(
        task="adding", T=60, size=1500, hidden_size=24, dropout=0.0, batch=30, epochs=7, lr=0.01
    )
    task = tasks.load(settings)
    error = {
        c: run(replace(settings, cell=c), "numba", task).curve.scores[-1]
        for c in ("gru", "rnn_tanh")
    }
    assert error["gru"] < 0.03
    assert error["rnn_tanh"] > 0.12


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_japanese_vowels_are_learnt_to_96_percent(cell, vowels):
    found = run(Settings(cell=cell), "numba", vowels)
    assert found.curve.scores[-1] >= 0.96
    assert found.alone() == 1.0


def test_the_padded_last_step_costs_nearly_everything(vowels):
    wrong = run(Settings(reading="padded_last_step", epochs=8), "numba", vowels)
    assert wrong.curve.scores[-1] < 0.5


def test_a_reverse_direction_that_starts_in_padding_answers_by_its_company(vowels):
    settings = Settings(reading="reverse_starts_in_padding", directions=2, epochs=8)
    assert run(settings, "numba", vowels).alone() < 1.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "imdb"}, "task must be one of 'japanese_vowels', 'adding'; got 'imdb'"),
        ({"cell": "elman"}, "cell must be one of"),
        ({"optimiser": "lion"}, "optimiser must be one of 'sgd', 'rmsprop', 'adam'; got 'lion'"),
        ({"lr": 0.0}, "lr must be a positive number; got 0.0"),
        ({"lr": math.nan}, "lr must be a positive number"),
        ({"clip": -1.0}, "clip must be 0"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        ({"T": 1001}, "T must be between 2 and 1000; got 1001"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"hidden_size": 0}, "hidden_size must be an int of at least 1"),
        ({"reading": "reverse_starts_in_padding"}, "needs directions=2; got 1"),
        ({"reading": "last"}, "reading must be one of"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Settings(**changes)


def test_a_backend_without_gradients_is_refused_before_any_work(few):
    if "onnxruntime" not in __import__("rnnbench").backends():
        pytest.skip("onnxruntime is not installed")
    with pytest.raises(UnsupportedError, match="onnxruntime"):
        Run(Settings(), "onnxruntime", few)
