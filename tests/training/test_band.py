"""The band: every backend is in it, and who trains differently is not."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest

import rnnbench
from rnnbench import interface
from rnnbench.backends.manual import Manual
from rnnbench.training import band, sidebyside
from rnnbench.training.loop import Run
from rnnbench.training.settings import Settings

HARD = Settings(hidden_size=8, epochs=5, batch=10, layers=2, directions=2, dropout=0.3, lr=0.03)


@pytest.fixture(scope="module")
def hard(few):
    """A band with layers, directions, dropout, packing and clipping in it."""
    return band.measure(HARD, few, draws=3)


def run(settings, backend, task, **options):
    found = Run(settings, backend, task, **options)
    while not found.finished:
        found.epoch()
    return found.curve


@pytest.fixture
def registered():
    """Registers a backend of one class under the name ``planted``."""

    def register(kind):
        rnnbench.register("planted", kind())
        return "planted"

    yield register
    if "planted" in rnnbench.backends():
        interface.unregister("planted")


def test_each_backend_trains_within_the_band(backend, few, hard):
    if backend in ("jax", "compile") and os.environ.get("RNNBENCH_PROFILE") != "full":
        pytest.skip(f"{backend} compiles for a minute; RNNBENCH_PROFILE=full runs it")
    (outcome,) = sidebyside.train(HARD, [backend], few)
    sidebyside.judge([outcome], hard)
    if outcome.status == "unsupported":
        pytest.skip(outcome.detail)
    assert outcome.status == "ok", outcome.detail
    assert 0 < outcome.verdict.share < 1
    assert outcome.verdict.gated == len(outcome.curve.losses)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam"])
def test_each_cell_and_optimiser_has_a_band_that_torch_is_in(cell, optimiser, few):
    settings = Settings(cell=cell, hidden_size=6, epochs=2, batch=15, optimiser=optimiser, lr=0.01)
    verdict = band.measure(settings, few, draws=2).judge(run(settings, "native", few))
    assert verdict.passed, verdict.left


def test_regression_has_a_band_too(sums):
    settings = Settings(task="adding", T=10, size=40, hidden_size=6, epochs=2)
    assert band.measure(settings, sums, draws=2).judge(run(settings, "numba", sums)).passed


def test_the_band_begins_at_four_eps_and_only_grows(hard):
    for width in hard.widths.values():
        assert width[0] >= 4.0
        assert (np.diff(width) >= 0).all()
        assert np.isfinite(width).all()
    assert hard.widths["loss"][-1] > 4.0


class Leaning(Manual):
    """An output that is a little too large."""

    def run(self, spec, inputs):
        y, final = super().run(spec, inputs)
        return y, tuple(part * (1 + 1e-5) for part in final)


class Forgetful(Manual):
    """Right forward; backward the recurrent weights get no gradient."""

    def run(self, spec, inputs):
        weights = [
            w.detach() if "weight_hh" in p.name else w
            for p, w in zip(spec.parameters, inputs.weights, strict=True)
        ]
        y, final = super().run(spec, inputs._replace(weights=tuple(weights)))
        keep = sum(0 * w.sum() for w in inputs.weights)
        return y + keep, tuple(part + keep for part in final)


class Undropped(Manual):
    """Leaves the dropout between the layers out."""

    def run(self, spec, inputs):
        return super().run(spec, inputs._replace(dropout=0.0))


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [(Leaning, "loss"), (Forgetful, "gradient norm"), (Undropped, "loss")],
)
def test_a_backend_that_trains_differently_is_red_in_the_first_steps(
    kind, quantity, few, hard, registered
):
    curve = run(HARD, registered(kind), few)
    verdict = hard.judge(curve)
    assert not verdict.passed
    assert verdict.left.quantity == quantity
    assert verdict.left.step == 0
    assert "beyond its band" in str(verdict.left)
    assert verdict.share > 1


def test_another_seed_is_out_of_the_band(few, hard):
    assert not hard.judge(run(replace(HARD, seed=1), "native", few)).passed


def test_a_late_departure_is_found_at_its_step(few, hard):
    curve = run(HARD, "native", few)
    curve.norms[5] *= 1 + 1e-2
    verdict = hard.judge(curve)
    assert (verdict.left.quantity, verdict.left.step) == ("gradient norm", 5)


def test_nan_where_the_oracle_has_none_is_red(few, hard):
    curve = run(HARD, "native", few)
    other = run(replace(HARD, cell="rnn_relu", lr=1e30, clip=0.0), "native", few)
    assert other.divergence is not None
    curve.divergence = other.divergence
    verdict = hard.judge(curve)
    assert not verdict.passed
    assert math.isinf(verdict.share)
    assert "the oracle's run went on" in verdict.diverged
    assert verdict.as_dict()["share"] is None


def test_chaotic_steps_are_reported_not_gated(few, hard):
    curve = run(HARD, "native", few)
    curve.losses[-1] *= 2
    wide = {name: width.copy() for name, width in hard.widths.items()}
    wide["loss"][-1] = 2 * band.WIDEST / band.UNIT
    verdict = replace(hard, widths=wide).judge(curve)
    assert verdict.passed
    assert verdict.gated == len(curve.losses) - 1
    assert not hard.judge(curve).passed


def test_a_band_survives_json(hard, few):
    import json

    again = band.Band.from_dict(json.loads(json.dumps(hard.as_dict())))
    curve = run(HARD, "native", few)
    assert again.judge(curve) == hard.judge(curve)
