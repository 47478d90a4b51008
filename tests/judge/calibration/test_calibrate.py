"""Trials are made, kept, resumed and counted; a rule that is wrong gets a bad card."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from judge.calibration.simulated import CASES, SUITE, Judge, listing, older, side

from rnnbench.errors import InputError
from rnnbench.files import records
from rnnbench.judge.calibration import calibrate as calibration
from rnnbench.judge.calibration import count, plant
from rnnbench.judge.calibration.calibrate import Calibrated, Plan
from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.calibration.trial import Trial
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

PLAN = Plan(5, 8, instructions=False)


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Calibrates into one folder."""
    installed = side(tmp_path / "installed")

    def call(judge: Judge, plan: Plan = PLAN, suite: Suite = SUITE) -> Calibrated:
        return calibration.calibrate(
            installed, suite, tmp_path, list, plan, judged=judge, listing=listing
        )

    return call


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("trials/*/*.json"))


def test_a_right_rule_gets_a_good_card(run, tmp_path: Path) -> None:
    done = run(Judge())
    card = done.card
    assert (done.measured, done.missing, len(files(tmp_path))) == (13, 0, 13)
    assert (card.aa_verdicts, card.aa_cases, card.false_alarms) == (5, len(CASES), 0)
    assert [row.size for row in card.planted] == list(plant.SIZES)
    assert all(row.cases == len(CASES) for row in card.planted)
    assert all(row.denied == 0 and row.covered >= 15 for row in card.planted)
    assert [row.found for row in card.planted[2:]] == [len(CASES)] * 2
    assert all(row.found_of_detectable == row.detectable for row in card.planted)
    assert set(card.detectable) == {case.name for case in CASES}
    *_, latest = records.read(tmp_path, records.CARD, Card.from_dict)
    assert latest.value == card


def test_false_alarms_are_counted(run) -> None:
    card = run(Judge(bias=0.2)).card
    assert card.false_alarms == 5 * len(CASES)
    assert card.alarmed_verdicts == 5
    assert card.spared == card.spared_alarms == 4 * len(CASES)  # half of the cases of eight


def test_where_nothing_was_planted_a_planted_verdict_is_quiet(run) -> None:
    card = run(Judge()).card
    assert (card.spared, card.spared_alarms) == (4 * len(CASES), 0)


def test_a_slowdown_that_was_not_there_is_a_wrong_interval_and_a_denial(run) -> None:
    card = run(Judge(noise=0.001, bias=-0.1)).card
    assert all(row.covered == 0 for row in card.planted)
    assert all(row.denied == row.cases for row in card.planted if row.size <= 0.1)


def test_asv_stands_beside_on_the_same_pairs(run) -> None:
    other = run(Judge()).card.other
    found = {row["size"]: row["found"] / row["cases"] for row in other["planted"]}
    assert other["factor"] == 1.1
    assert (found[0.05], found[0.2]) == (0, 1)
    assert 0.1 < found[0.1] < 0.9  # at its factor it is a toss of a coin
    assert [row["factor"] for row in other["factors"]] == [1.05, 1.02]


def test_killed_in_the_middle_it_goes_on_where_it_was(run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Judge(dies_at=4))
    assert len(files(tmp_path)) == 4
    done = run(Judge(after=4))
    assert done.measured == 13 - 4
    assert (done.card.aa_verdicts, done.card.planted[0].verdicts) == (5, 8)


def test_a_part_of_the_trials_is_a_card_too(run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Judge(dies_at=5))
    done = run(Judge(after=5), replace(PLAN, budget=1e-9))
    assert (done.measured, done.missing) == (1, 7)
    assert done.card.aa_verdicts >= 2
    assert done.card.planted


def test_what_is_broken_foreign_or_old_does_not_count(run, tmp_path: Path) -> None:
    run(Judge())
    first, second, third, *_ = files(tmp_path)
    first.write_text("{")
    given = json.loads(second.read_text())
    given["verdict"]["machine"]["cpu"] = "another"
    second.write_text(json.dumps(given))
    third.write_text(json.dumps(older(json.loads(third.read_text()), 31)))
    assert run(Judge(after=13)).measured == 3


def test_a_whole_card_is_left_alone_or_refreshed_by_a_share(run) -> None:
    run(Judge())
    assert run(Judge()).measured == 0
    done = run(Judge(after=13), replace(PLAN, share=3))
    assert (done.measured, done.card.aa_verdicts) == (3, 5)
    assert done.card.planted[0].verdicts == 8


def test_a_suite_that_plants_no_slowdown_gets_a_card_of_false_alarms(run, tmp_path: Path) -> None:
    done = run(Judge(), suite=Suite(tmp_path))
    assert (done.measured, done.missing, done.plants) == (5, 0, False)
    assert (done.card.aa_verdicts, done.card.planted, done.card.spared) == (5, (), 0)


def test_other_settings_make_another_card(run) -> None:
    run(Judge())
    assert run(Judge(after=13), replace(PLAN, each=30.0)).measured == 13


def test_every_trial_plants_half_and_eight_trials_plant_all_alike() -> None:
    turns = [plant.sizes(plant.keyed(SUITE, CASES), turn) for turn in range(8)]
    assert [len(turn) for turn in turns] == [len(CASES) // 2] * 8
    for case in CASES:
        assert sorted(turn[case] for turn in turns if case in turn) == sorted(plant.SIZES)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(Plan, 0, 0), "must not both be 0"),
        (partial(Plan, -1), "verdicts must be at least 0; got -1"),
        (partial(Plan, budget=0.0), "budget must be more than 0"),
        (partial(Plan, sizes=()), "sizes must lie above 0"),
    ],
)
def test_a_plan_without_sense_is_refused(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_what_cannot_be_slowed_is_refused_before_any_work(tmp_path: Path) -> None:
    installed = side(tmp_path / "installed")
    (tmp_path / "installed" / "rnnbench" / "nn.py").write_text("")
    with pytest.raises(InputError, match="_Backed"):
        calibration.calibrate(
            installed, SUITE, tmp_path, list, PLAN, judged=Judge(), listing=listing
        )
    with pytest.raises(InputError, match="folder of its own"):
        plant.copied(replace(installed, path=None), tmp_path / "copy", SUITE)


def test_what_could_not_be_decided_yet_was_not_detectable() -> None:
    """Before the first look that decides times, a narrow spread promises nothing."""
    answer = CaseAnswer(
        "speed.time_it", (), "time", Status.INCONCLUSIVE, 1.05, 1.02, 1.08, 0.03, 0.1, 1.0, 1.05,
        count.FIRST_LOOK - 1,
    )  # fmt: skip
    here = {"host": "here", "cpu": "some", "cpu_id": "1"}
    sides = Commit("a" * 40, "main"), Commit("a" * 40, "main")

    def row(rounds: int) -> Planted:
        cases = (replace(answer, rounds=rounds),)
        verdict = Verdict("2026-11-22T03:15:00+00:00", here, *sides, 0.05, 0.01, 7, 9.0, cases)
        (found,) = count.card([Trial(verdict, {}, {answer.name: 0.05}, {})]).planted
        return found

    assert row(count.FIRST_LOOK - 1).detectable == 0
    assert row(count.FIRST_LOOK).detectable == 1
