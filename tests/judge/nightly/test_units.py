"""Which units are left, and which comes first."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rnnbench.judge import engine
from rnnbench.judge.nightly import units
from rnnbench.judge.nightly.ledger import Ledger
from rnnbench.judge.nightly.units import Shard

SUITE = [
    {"name": "a.A.time_a", "params": [["1", "2", "3"], ["'x'", "'y'"]], "version": "1"},
    {"name": "b.B.time_b", "params": [], "version": "2"},
]
PARTS = units.slices(SUITE, Shard(), (), 4)
EVERY = [case for entry in SUITE for case in engine.case_names(entry)]


def test_slices_hold_all_cases_in_order() -> None:
    assert [case for part in PARTS for case in part.cases] == EVERY
    assert [len(part.cases) for part in PARTS] == [4, 2, 1]


@given(st.integers(1, 5), st.integers(1, 9))
def test_the_slices_of_all_shards_are_the_suite(n: int, size: int) -> None:
    found = [units.slices(SUITE, Shard(i, n), (), size) for i in range(1, n + 1)]
    assert sorted(case for parts in found for part in parts for case in part.cases) == sorted(EVERY)


def test_a_pattern_selects_its_cases_and_no_others() -> None:
    """Names hold brackets and quotes: as a pattern each must match itself alone."""
    for part in PARTS:
        (unit,) = units.waiting(["c"], [part], {}, Ledger(), "c")
        assert [case for case in EVERY if re.search(unit.pattern, case)] == list(part.cases)


def test_what_has_a_number_is_not_measured_again() -> None:
    done = {"c": {"a.A.time_a@1": {EVERY[0], *EVERY[4:6]}}}
    left = units.waiting(["c"], PARTS, done, Ledger(), "c")
    assert [unit.cases for unit in left] == [tuple(EVERY[1:4]), (EVERY[6],)]


def test_another_version_of_a_benchmark_is_measured_again() -> None:
    done = {"c": {"b.B.time_b@1": {EVERY[6]}}}
    left = units.waiting(["c"], PARTS, done, Ledger(), "c")
    assert EVERY[6] in left[-1].cases


def test_what_failed_is_tried_again_at_head_only_and_what_was_skipped_nowhere() -> None:
    ledger = Ledger()
    for commit in ("old", "head"):
        ledger.note_outcomes(commit, "a.A.time_a@1", {EVERY[0]: "failed", EVERY[1]: "none"})
    left = units.waiting(["old", "head"], PARTS[:1], {}, ledger, "head")
    assert {unit.commit: unit.cases for unit in left} == {
        "old": tuple(EVERY[2:4]),
        "head": (EVERY[0], *EVERY[2:4]),
    }


def test_a_case_that_measures_after_all_is_forgotten_as_failed() -> None:
    ledger = Ledger()
    ledger.note_outcomes("c", "k", {"x": "failed", "y": "failed"})
    ledger.note_outcomes("c", "k", {"x": "ok"})
    assert ledger.closed("c", "k", again=False) == {"y"}


def test_what_waited_longest_comes_first_and_then_the_oldest_commit() -> None:
    ledger = Ledger(last={PARTS[0].id: "2026-11-22", PARTS[1].id: "2026-11-21"})
    order = units.waiting(["old", "new"], PARTS, {}, ledger, "new")
    assert [(unit.commit, unit.slice.id) for unit in order] == [
        ("old", PARTS[2].id), ("new", PARTS[2].id), ("old", PARTS[1].id),
        ("new", PARTS[1].id), ("old", PARTS[0].id), ("new", PARTS[0].id),
    ]  # fmt: skip


@given(st.integers(1, 3))
def test_however_little_fits_into_a_night_every_slice_has_its_turn(per_night: int) -> None:
    """A new commit each night, and time for a few units of it only."""
    ledger, seen = Ledger(), set()
    for night in range(6):
        commits = [f"c{n}" for n in range(night + 1)]
        for unit in units.waiting(commits[-1:], PARTS, {}, ledger, commits[-1])[:per_night]:
            ledger.last[unit.slice.id] = f"night {night}"
            seen.add(unit.slice.id)
    assert seen == {part.id for part in PARTS}


def test_a_commit_that_does_not_build_is_tried_again_while_it_is_head() -> None:
    ledger = Ledger(unbuilt={"old": "no", "head": "no"})
    left = units.waiting(["old", "head"], PARTS, {}, ledger, "head")
    assert {unit.commit for unit in left} == {"head"}


def test_the_estimate_is_by_earlier_units_and_none_without_any() -> None:
    left = units.waiting(["c"], PARTS, {}, Ledger(), "c")
    assert units.estimate(left, Ledger()) is None
    assert units.estimate(left, Ledger(seconds={"a.A.time_a": 2.0, "<publish>": 99.0})) == 2.0 * 7


def known(*benchmarks: str, seconds: float = 1.0) -> Ledger:
    return Ledger(seconds=dict.fromkeys(benchmarks, seconds))


def unit(benchmark: str, commit: str = "a" * 40, cases: int = 10, number: int = 0) -> units.Unit:
    names = tuple(f"{benchmark}({n})" for n in range(cases))
    return units.Unit(commit, units.Slice(benchmark, "1", number, names), names)


def test_units_of_one_commit_that_are_known_to_be_short_share_a_run() -> None:
    every = [unit("a"), unit("b"), unit("a", commit="c" * 40), unit("b", number=1), unit("new")]
    ledger = known("a", "b", seconds=4.0)

    def batch(given: list[units.Unit], ledger: Ledger, alone: set[units.Unit]) -> list[units.Unit]:
        return units.batch(given, ledger, alone, 3600.0)

    assert batch(every, ledger, set()) == [every[0], every[1], every[3]]  # of 40 s each
    assert batch(every, known("a", "b", seconds=7.0), set()) == every[:1]
    assert batch(every[4:] + every[:4], ledger, set()) == [every[4]]
    assert batch(every, ledger, {every[0]}) == [every[0]]
    assert batch(every, ledger, {every[1]}) == [every[0], every[3]]
    assert units.batch(every, ledger, set(), 100.0) == every[:2]  # no more than the night has left
    assert units.batch(every, ledger, set(), 10.0) == every[:1]


def test_the_seconds_of_a_run_are_shared_as_before() -> None:
    both = [unit("a", cases=10), unit("b", cases=5)]
    ledger = Ledger(seconds={"a": 1.0, "b": 4.0})
    assert units.shares(both, ledger, 60.0) == {"a": 2.0, "b": 8.0}
    assert units.shares(both[:1], ledger, 60.0) == {"a": 6.0}
