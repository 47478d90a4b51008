"""Counts are judged without noise, and where they contradict the times, that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnbench.judge.calibration import spread
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status
from rnnbench.judge.verdict.channels import SAYS, disagreements
from rnnbench.judge.verdict.choice import default
from rnnbench.judge.verdict.numbers import count_answer
from rnnbench.judge.verdict.process import Failure, Listed, Measured, Suite
from rnnbench.judge.verdict.sides import INSTRUCTIONS, TIME, Case, Side, quantity

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
    assert default([COUNT, timed]) == [timed]


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
