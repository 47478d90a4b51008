"""Which cases are measured unless told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from benchmarks import suite as own

from rnnbench.errors import InputError
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.choice import chooser, default
from rnnbench.judge.verdict.sides import Case

SUITE = Suite(Path(own.__file__).parent, choose=own.choose)
GRID = {"backend": ("manual", "numba", "compile"), "cell": ("gru", "lstm"), "T": ("16", "128")}


def grid(benchmark: str, quantity: str) -> list[Case]:
    combinations = itertools.product(*GRID.values())
    return [Case(benchmark, tuple(zip(GRID, v, strict=True)), quantity) for v in combinations]


def test_times_take_every_first_value_and_at_most_one_other_departs():
    names = {case.name for case in chooser([], [], SUITE)(grid("speed.t", "time"))}
    assert names == {
        "speed.t(manual, gru, 16)", "speed.t(manual, lstm, 16)", "speed.t(manual, gru, 128)",
        "speed.t(numba, gru, 16)", "speed.t(numba, lstm, 16)", "speed.t(numba, gru, 128)",
    }  # fmt: skip


def test_memory_is_chosen_sparsely_and_compile_seconds_not_at_all():
    assert len(own.choose(default(grid("memory.t", "memory")))) == 2
    assert len(default(grid("memory.t", "memory"))) == 3  # whatever the suite leaves out
    assert default(grid("cold.t", "compile")) == []
    assert len(default(grid("cold.t", "import"))) == 1
    assert default(grid("cold.t", "instructions")) == []


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
