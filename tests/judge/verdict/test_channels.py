"""Counts are judged without noise, and where they contradict the times, that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnbench.judge.calibration import spread
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status
from rnnbench.judge.verdict.channels import SAYS, disagreements
from rnnbench.judge.verdict.choice import default
from rnnbench.judge.verdict.decision import Decision, Rule, decide, joined
from rnnbench.judge.verdict.numbers import count_answer
from rnnbench.judge.verdict.process import Failure, Listed, Measured, Suite
from rnnbench.judge.verdict.sides import INSTRUCTIONS, MEAN, TIME, Case, Side, quantity

PARAMS = (("backend", "numba"), ("cell", "gru"))
COUNT = Case("instructions.Training.track_instructions", PARAMS, INSTRUCTIONS)
SIDE, SUITE = Side(Commit("a", "a"), "python"), Suite(Path())


def answer(kind: str, quantity_: str, status: Status) -> CaseAnswer:
    name = {"time": f"speed.{kind}.time_x", "instructions": f"instructions.{kind}.track_y"}
    return CaseAnswer(name[quantity_], PARAMS, quantity_, status)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (1_000_000, Status.NO_CHANGE),
        (1_009_000, Status.NO_CHANGE),
        (1_011_000, Status.REGRESSION),
        (985_000, Status.IMPROVEMENT),
    ],
)
def test_a_count_changed_if_it_lies_beyond_the_floor(head: int, status: Status) -> None:
    found = count_answer(COUNT, 1_000_000, head, 0.01)
    assert (found.status, found.ratio) == (status, head / 1_000_000)


@pytest.mark.parametrize("pair", SAYS)
def test_each_disagreement_has_its_meaning(pair: tuple[Status, Status]) -> None:
    time, count = (
        answer("Training", quantity_, status)
        for quantity_, status in zip(("time", "instructions"), pair, strict=True)
    )
    (found,) = disagreements([time, count])
    assert (found.time, found.count, found.says) == (time, count, SAYS[pair])


@pytest.mark.parametrize(
    "answers",
    [
        [answer("Training", "time", Status.REGRESSION)],
        [
            answer("Training", "time", Status.REGRESSION),
            answer("Inference", "instructions", Status.NO_CHANGE),
        ],
        [
            answer("Training", "time", Status.INCONCLUSIVE),
            answer("Training", "instructions", Status.REGRESSION),
        ],
        [
            answer("Training", "time", Status.REGRESSION),
            answer("Training", "instructions", Status.REGRESSION),
        ],
    ],
    ids=["one channel", "another phase", "time undecided", "agreed"],
)
def test_what_agrees_or_is_unknown_is_no_disagreement(answers: list[CaseAnswer]) -> None:
    assert disagreements(answers) == []


def test_counts_are_known_by_their_unit_and_measured_when_asked_for() -> None:
    assert quantity(COUNT.benchmark, "track", "instructions") == INSTRUCTIONS
    timed = Case("speed.Training.time_training", PARAMS, TIME)
    assert default([COUNT, timed], 10) == [timed]


def decided(status: Status, low: float, high: float) -> Decision:
    return Decision(status, (low * high) ** 0.5, low, high, 0.05, 0.001, 8)


SAME = decided(Status.NO_CHANGE, 0.99, 1.02)


@pytest.mark.parametrize(
    ("typical", "mean", "quantity_", "status", "said"),
    [
        (SAME, decided(Status.REGRESSION, 1.4, 1.6), MEAN, Status.REGRESSION, "some calls"),
        (
            decided(Status.REGRESSION, 1.1, 1.2), decided(Status.REGRESSION, 1.4, 1.6), MEAN,
            Status.REGRESSION, "some calls",
        ),
        (
            decided(Status.REGRESSION, 1.1, 1.2), decided(Status.REGRESSION, 1.1, 1.3), TIME,
            Status.REGRESSION, None,
        ),
        (
            decided(Status.IMPROVEMENT, 0.8, 0.9), decided(Status.REGRESSION, 1.1, 1.3), MEAN,
            Status.REGRESSION, "some calls",
        ),
        (SAME, decided(Status.IMPROVEMENT, 0.6, 0.7), MEAN, Status.IMPROVEMENT, "fewer calls"),
        (SAME, decided(Status.INCONCLUSIVE, 0.9, 1.4), MEAN, Status.INCONCLUSIVE, "may have"),
        (SAME, decided(Status.NO_CHANGE, 0.9, 1.1), TIME, Status.NO_CHANGE, None),
        (
            decided(Status.REGRESSION, 1.1, 1.2), decided(Status.INCONCLUSIVE, 0.9, 1.4), TIME,
            Status.REGRESSION, None,
        ),
        (
            decided(Status.INCONCLUSIVE, 0.9, 1.2), decided(Status.NO_CHANGE, 0.95, 1.1), TIME,
            Status.INCONCLUSIVE, None,
        ),
    ],
)  # fmt: skip
def test_what_the_mean_knows_more_of_decides(
    typical: Decision, mean: Decision, quantity_: str, status: Status, said: str | None
) -> None:
    shown, found = joined(typical, mean)
    assert (shown, found.status) == (quantity_, status)
    assert found.reason is None if said is None else said in str(found.reason)


CASES, SAMPLES, PAUSES = 20, 12, 0.01


def statuses(rng: np.random.Generator, slow: float = 0.0, rounds: int = 40) -> list[Status]:
    """A verdict on cases whose processes pause now and then, and head's calls are slow as told.

    A sample has 2 % of noise, a process 1 %; one sample in a hundred is paused for up to some ten
    times what it takes.
    """
    shape = (2, CASES, rounds, SAMPLES)
    seconds = np.exp(rng.normal(0, 0.02, shape) + rng.normal(0, 0.01, (*shape[:3], 1)))
    seconds += (rng.random(shape) < PAUSES) * rng.exponential(5, shape)
    seconds[1] *= np.where(rng.random(shape[1:]) < slow, 3, 1)
    lower = np.sort(seconds, axis=-1)[..., : SAMPLES // 2].mean(axis=-1)
    d = {TIME: np.log(lower[1] / lower[0])}
    d[MEAN] = np.diff(np.log(seconds.mean(axis=-1)), axis=0)[0]
    done: dict[int, Status] = {}
    for look in Rule().looks[1:]:
        keys = [(i, one) for i in range(CASES) for one in d]
        found = decide({(i, one): d[one][i, :look] for i, one in keys}, Rule(), lambda key: key[1])
        for i in range(CASES):
            _, decision = joined(found[i, TIME], found[i, MEAN])
            if done.get(i, Status.INCONCLUSIVE) is Status.INCONCLUSIVE:
                done[i] = decision.status
    return [done[i] for i in range(CASES)]


def test_pauses_of_the_machine_raise_no_alarm_and_are_excluded_in_time() -> None:
    found = [one for seed in range(40) for one in statuses(np.random.default_rng(seed))]
    assert found.count(Status.REGRESSION) + found.count(Status.IMPROVEMENT) <= 1
    assert found.count(Status.NO_CHANGE) >= 0.9 * len(found)


@pytest.mark.parametrize(("slow", "share"), [(1 / 3, 0.95), (1 / 5, 0.95), (1 / 10, 0.7)])
def test_calls_that_are_slow_now_and_then_are_found(slow: float, share: float) -> None:
    found = [one for seed in range(5) for one in statuses(np.random.default_rng(seed), slow)]
    assert found.count(Status.REGRESSION) >= share * len(found)
    assert Status.NO_CHANGE not in found


def measured(*counts: float, **rest: object):  # type: ignore[no-untyped-def]
    drawn = iter(counts)
    return lambda *_: [Measured(samples={COUNT: [next(drawn)]} if counts else {}, **rest)]


def spread_of(measuring, index=None):  # type: ignore[no-untyped-def]
    has = Listed({COUNT: 0} if index is None else index, {}, None)
    return spread.spread(SIDE, SUITE, Path(), measuring, lambda *_: has)


def test_the_spread_is_the_widest_over_ten_runs() -> None:
    found = spread_of(measured(*[1000.0] * 9, 1002.0))
    assert found == {"available": True, "reason": None, "spread": pytest.approx(0.002)}
    wide = spread_of(measured(*[1000.0] * 9, 1005.0))
    assert not wide["available"]
    assert "0.50%" in wide["reason"]


def test_why_there_are_no_counts_is_said() -> None:
    assert "counts no instructions" in spread_of(measured(), {})["reason"]
    skipped = measured(skipped={COUNT: "valgrind not installed"})
    broken = measured(failed={COUNT: Failure("it died", "crash")})
    for one, reason in ((skipped, "valgrind not installed"), (broken, "it died")):
        found = spread_of(one)
        assert found == {"available": False, "reason": reason, "spread": None}
