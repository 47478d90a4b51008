"""Which cases are measured unless told."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from benchmarks import suite as own

from rnnbench.errors import InputError
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.choice import chooser, covering, default
from rnnbench.judge.verdict.sides import Case

SUITE = Suite(Path(own.__file__).parent, choose=own.choose)
GRID = {"backend": ("manual", "numba", "compile"), "cell": ("gru", "lstm"), "T": ("16", "128")}


def grid(benchmark: str, quantity: str, given: Mapping[str, Sequence[str]] = GRID) -> list[Case]:
    combinations = itertools.product(*given.values())
    return [Case(benchmark, tuple(zip(given, v, strict=True)), quantity) for v in combinations]


def pairs(cases: list[Case]) -> set[tuple[tuple[str, str], ...]]:
    return {pair for case in cases for pair in itertools.combinations(case.params, 2)}


WIDE = {"backend": "mno", "cell": "abcd", "T": "12", "layers": "12", "directions": "12"}
"""As this repository's own suite: 96 cases."""


def test_any_two_values_come_together_beside_each_first_one_in_a_quarter_of_the_cases():
    every = grid("speed.t", "time", WIDE)
    chosen = covering(every)
    assert len(chosen) <= len(every) // 3
    for backend in WIDE["backend"]:
        own = [case for case in every if ("backend", backend) in case.params]
        assert pairs([case for case in chosen if case in own]) == pairs(own)


def test_with_less_room_pairs_come_first():
    every = grid("speed.t", "time", WIDE)
    assert pairs(covering(every)[:16]) == pairs(every)


def test_a_benchmark_of_one_parameter_takes_all_values_and_one_of_none_its_case():
    assert len(covering(grid("speed.t", "time", {"n": "1234"}))) == 4
    assert len(default([Case("speed.u", (), "time")], 5)) == 1


@pytest.mark.parametrize("room", [1, 10, 40, 70, 96, 200])
def test_the_choice_keeps_to_the_room_and_the_rest_takes_turns(room):
    every = grid("speed.t", "time", WIDE) + grid("speed.u", "time", {"n": "12"})
    turns = [default(every, room, turn) for turn in range(120)]
    assert {len(one) for one in turns} == {min(room, len(every))}
    same = set.intersection(*map(set, turns))
    assert len(same) >= min(len(covering(every[:96])), round(0.8 * room))
    if room > 1:
        assert set().union(*turns) == set(every)
    assert default(every, room, 7) == turns[7]


def test_errors_are_measured_once_and_take_no_room():
    every = grid("parity.t", "parity", WIDE) + grid("speed.t", "time", WIDE)
    chosen = default(every, 5)
    assert len([case for case in chosen if case.quantity == "time"]) == 5
    assert pairs([case for case in chosen if case.quantity == "parity"]) == pairs(every)


def test_memory_and_values_are_chosen_sparsely_and_compile_seconds_not_at_all():
    assert len(default(grid("memory.t", "memory"), 50)) == 3
    assert len(default(grid("value.t", "value"), 50)) == 3
    assert default(grid("cold.t", "compile"), 50) == []
    assert len(default(grid("cold.t", "import"), 50)) == 1
    assert default(grid("cold.t", "instructions"), 50) == []


def test_our_suite_leaves_out_what_torch_compiles_and_nothing_else_of_that_name():
    chosen = chooser([], [], SUITE)(grid("speed.t", "time"))
    assert {dict(case.params)["backend"] for case in chosen} == {"manual", "numba"}
    other = grid("speed.u", "time", {"step": ("compile", "run")})
    assert len(chooser([], [], SUITE)(other)) == 2


def test_patterns_and_names_pick_without_the_default():
    cases = grid("speed.t", "time")
    assert len(chooser([r"compile, .*128"], [], SUITE)(cases)) == 2
    assert [c.name for c in chooser([], ["speed.t(compile, gru, 16)"], SUITE)(cases)] == [
        "speed.t(compile, gru, 16)"
    ]
    assert len(chooser(["."], [], SUITE)(cases)) == len(cases)


def test_what_does_not_exist_is_refused():
    with pytest.raises(InputError, match="regular expression"):
        chooser(["("], [], SUITE)
    with pytest.raises(InputError, match=r"there is no 'x\(\)'"):
        chooser([], ["x()"], SUITE)(grid("speed.t", "time"))
