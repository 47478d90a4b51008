"""Alternation, samples and rotation, on a clock that only the calls move."""

from __future__ import annotations

import gc

import pytest

from rnnbench.comparison import timing


class Clock:
    """Stands in for the module time; a call takes what it says and nothing else does."""

    def __init__(self):
        self.now = self.cpu = 0.0
        self.slept = []

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.cpu

    def sleep(self, seconds):
        self.slept.append(seconds)

    def call(self, name, seconds, log=None, cores=1.0):
        def run():
            self.now += seconds
            self.cpu += seconds * cores
            if log is not None:
                log.append(name)

        return run


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def test_every_candidate_comes_first_in_turn():
    names = ["a", "b", "c"]
    turns = [timing.rotated(names, turn) for turn in range(6)]
    assert [turn[0] for turn in turns] == ["a", "b", "c", "a", "b", "c"]
    assert all(sorted(turn) == names for turn in turns)


@pytest.mark.parametrize(("seconds", "number"), [(0.001, 5), (0.0004, 13), (0.02, 1)])
def test_a_sample_is_long_enough(clock, seconds, number):
    assert timing.calls_per_sample(clock.call("a", seconds)) == number
    assert number * seconds >= timing.SAMPLE


def test_rounds_alternate_and_each_sample_follows_a_call_that_is_not_timed(clock):
    log = []
    calls = {"a": clock.call("a", 0.01, log), "b": clock.call("b", 0.02, log)}
    found = timing.alternate(calls, seconds=0.0)
    calibrating, rounds = log[:6], log[6:]
    assert calibrating == ["a"] * 3 + ["b"] * 3
    assert rounds[:8] == ["a", "a", "b", "b", "b", "b", "a", "a"]
    assert found["a"].seconds == pytest.approx([0.01] * timing.MIN_ROUNDS)
    assert found["b"].seconds == pytest.approx([0.02] * timing.MIN_ROUNDS)


def test_rounds_go_on_while_there_is_time_and_end(clock):
    long = timing.alternate({"a": clock.call("a", 0.01)}, seconds=1.0)["a"]
    assert timing.MIN_ROUNDS < len(long.seconds) <= 52
    endless = timing.alternate({"a": clock.call("a", 0.01)}, seconds=1e9)["a"]
    assert len(endless.seconds) == timing.MAX_ROUNDS


def test_cores_in_use_are_seen(clock):
    found = timing.alternate(
        {"one": clock.call("one", 0.01), "two": clock.call("two", 0.01, cores=2)}, seconds=0.0
    )
    assert found["one"].cores == pytest.approx(1)
    assert found["two"].cores == pytest.approx(2)


def test_threads_are_given_time_to_settle_before_each_sample(clock):
    timing.alternate({"a": clock.call("a", 0.01)}, seconds=0.0, settle=0.5)
    assert clock.slept == [0.5] * timing.MIN_ROUNDS


def test_no_garbage_is_collected_between_the_samples(clock):
    seen = []

    def call():
        clock.now += 0.01
        clock.cpu += 0.01
        seen.append(gc.isenabled())

    timing.alternate({"a": call}, seconds=0.0)
    assert not any(seen[3:])
    assert gc.isenabled()
    with pytest.raises(KeyError), timing.no_collection():
        raise KeyError
    assert gc.isenabled()
