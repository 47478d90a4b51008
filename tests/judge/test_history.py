"""Change points: found where they were planted, not found where nothing was."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import detectors
from judge.detectors import HISTORIES, PLANTS, Plant, score

from rnnbench.errors import InputError
from rnnbench.judge import history
from rnnbench.judge.history import Series, changes

MID = Plant("mid", 0.2, 20)


@pytest.mark.parametrize("kind", HISTORIES, ids=lambda kind: kind.__name__)
def test_a_large_step_is_found_in_every_kind_of_history(kind: detectors.Detector) -> None:
    assert score(detectors.ours, kind, MID, 20).recall >= 0.9


@pytest.mark.parametrize("kind", HISTORIES, ids=lambda kind: kind.__name__)
def test_few_alarms_where_nothing_was_planted(kind: detectors.Detector) -> None:
    assert score(detectors.ours, kind, PLANTS[0], 40).false <= 0.1


def test_drift_of_the_machine_is_taken_out_and_uncovers_small_steps() -> None:
    plant = Plant("small", 0.1, 35)
    with_control = score(detectors.ours, detectors.shared_drift, plant, 20)
    without = score(detectors.ours_uncorrected, detectors.shared_drift, plant, 20)
    assert with_control.recall >= 0.95 > without.recall


@pytest.mark.skipif(not importlib.util.find_spec("asv"), reason="asv is not installed")
def test_a_fresh_regression_is_found_that_asv_misses() -> None:
    plant = Plant("fresh", 0.2, 38)
    ours, theirs = (score(d, detectors.white, plant, 30) for d in (detectors.ours, detectors.asv))
    assert ours.recall >= 0.9
    assert theirs.recall <= 0.5


def test_a_regression_and_its_repair_are_both_found() -> None:
    assert score(detectors.ours, detectors.shared_drift, PLANTS[-1], 20).recall >= 0.9


def series(levels: list[float], sd: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.array(levels) * np.exp(sd * np.random.default_rng(seed).standard_normal(len(levels)))


def test_the_account_of_a_change_holds_what_was_planted() -> None:
    held = []
    for seed in range(40):
        (change,) = changes(Series(series([2.0] * 20 + [2.2] * 15, seed=seed).tolist()))
        held.append(change.low <= 1.1 <= change.high)
        assert change.earliest <= 20 <= change.latest
        assert change.before == pytest.approx(2.0, rel=0.02)
        assert change.after == pytest.approx(change.before * change.ratio)
        assert change.confidence > 0.99
    assert sum(held) >= 34  # 95 % of 40 is 38


def test_missing_nights_widen_the_range_of_commits() -> None:
    values: list[float | None] = series([1.0] * 20 + [1.3] * 20).tolist()
    values[18:22] = [None] * 4
    (change,) = changes(Series(values))
    assert (change.index, change.earliest, change.latest) == (22, 18, 22)


def test_one_spike_and_one_noisy_night_are_no_change() -> None:
    values = series([1.0] * 30)
    values[12] *= 1.5
    values[29] *= 1.5  # the last night: a change is told from its second night on
    assert changes(Series(values.tolist())) == []
    values = series([1.0] * 20 + [1.3] * 3 + [1.0] * 10)
    errors = np.full(33, 0.01)
    errors[20:23] = 0.2
    assert len(changes(Series(values.tolist()))) == 2
    assert changes(Series(values.tolist(), errors=errors.tolist())) == []


def test_a_change_that_the_control_shares_is_the_machine() -> None:
    machine = np.array([1.0] * 20 + [1.3] * 20)
    both = Series((series([1.0] * 40) * machine).tolist(), (series([3.0] * 40) * machine).tolist())
    assert changes(both) == []
    assert len(changes(Series(both.values))) == 1


def test_counts_without_noise_show_a_small_step_and_no_other() -> None:
    (change,) = changes(Series([1000.0] * 12 + [1050.0] * 12))
    assert (change.index, change.ratio) == (12, pytest.approx(1.05))
    assert changes(Series([1000.0] * 24)) == []


def test_a_long_series_is_searched_in_windows() -> None:
    levels = [1.0] * 90 + [1.1] * 55 + [1.2] * 150 + [1.0] * 105
    found = changes(Series(series(levels, 0.02).tolist()))
    assert [change.index for change in found] == pytest.approx([90, 145, 295], abs=2)


@given(st.integers(0, history.FEWEST - 1))
def test_nothing_is_said_of_few_nights(nights: int) -> None:
    assert changes(Series([1.0 + night for night in range(nights)])) == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(1e-6, 1e6)), min_size=0, max_size=30),
    st.floats(1e-3, 1e3),
)
def test_any_series_has_an_answer_that_its_unit_does_not_change(
    values: list[float | None], unit: float
) -> None:
    found = changes(Series(values))
    scaled = changes(Series([None if v is None else v * unit for v in values]))
    assert [change.index for change in found] == [change.index for change in scaled]
    assert all(change.earliest <= change.index <= change.latest for change in found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Series([1.0, -1.0]), "values must be positive"),
        (lambda: Series([1.0, float("inf")]), "values must be positive and finite"),
        (lambda: Series([1.0], [1.0, 2.0]), "control must have 1 nights"),
        (lambda: changes(Series([1.0]), alpha=0.0), "alpha must be in"),
        (lambda: changes(Series([1.0]), least=-1.0), "least must be in"),
    ],
)
def test_bad_input_is_named(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


def test_the_kept_quantiles_are_those_of_histories_without_a_step() -> None:
    kept = json.loads(history.NULL.read_text())
    one, two = detectors.simulate(24, 1500, seed=1)
    at = kept["nights"].index(24)
    upto = detectors.PROBABILITIES.index(0.975) + 1
    for steps, simulated in (("1", one), ("2", two)):
        assert kept["quantiles"][steps][at][:upto] == pytest.approx(simulated[:upto], rel=0.1)


def test_the_table_has_a_line_for_every_history_and_plant() -> None:
    lines = list(detectors.table(1))
    assert len(lines) == 1 + len(HISTORIES) * len(PLANTS)
    assert "ours" in lines[0]
