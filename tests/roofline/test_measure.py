"""Measuring: every kernel in every round, on threads that run at once, with positive figures."""

from __future__ import annotations

import os
import threading
import time

import pytest

from rnnbench.roofline import measure
from rnnbench.roofline.caches import Cache


@pytest.fixture
def quick(monkeypatch):
    """Small caches, few and short rounds; two "cores" wherever the process may run."""
    first = measure.cores()[0]
    small = [Cache(1, 16 << 10, frozenset({first})), Cache(2, 128 << 10, frozenset({first}))]
    monkeypatch.setattr(measure, "caches", lambda cpu: small)
    monkeypatch.setattr(measure, "cores", lambda: [first, first])
    monkeypatch.setattr(measure, "ROUNDS", 3)
    monkeypatch.setattr(measure, "SAMPLE", 0.001)


def test_every_kernel_has_a_figure_for_each_number_of_threads(quick):
    calls = []
    found = measure.measure([1, 2], lambda: calls.append(None))
    assert [roof.threads for roof in found.roofs] == [1, 2]
    for roof in found.roofs:
        assert set(roof.peak_gflops) == {"float32", "float64"}
        assert [one.name for one in roof.read_gbytes] == ["L1", "L2", "memory"]
        for rate in (*roof.peak_gflops.values(), *roof.read_gbytes):
            assert rate.best >= rate.median > 0
    assert len(calls) == 2 * 4
    assert found.vectors
    assert found.at.endswith("+00:00")


def test_parts_run_at_once_and_each_has_its_thread():
    meeting = threading.Barrier(2, timeout=20)
    core = measure.cores()[0]

    def part():
        meeting.wait()  # two parts one after the other would never meet
        return threading.get_ident(), os.sched_getaffinity(0)

    before = os.sched_getaffinity(0)
    with measure.team([core, core]) as threads:
        _, first = threads.seconds([part, part])
        _, again = threads.seconds([part, part])
    assert {ident for ident, _ in first} == {ident for ident, _ in again}
    assert len({ident for ident, _ in first}) == 2
    assert all(where == {core} for _, where in first)
    assert os.sched_getaffinity(0) == before


def test_no_thread_takes_two_parts_however_short_they_are():
    core = measure.cores()[0]
    with measure.team([core, core]) as threads:
        for _ in range(50):
            _, idents = threads.seconds([threading.get_ident, threading.get_ident])
            assert len(set(idents)) == 2


def test_time_is_from_the_first_start_to_the_last_end():
    core = measure.cores()[0]
    with measure.team([core, core]) as threads:
        seconds, _ = threads.seconds([lambda: None, lambda: time.sleep(0.05)])
    assert seconds >= 0.05


def test_a_rate_is_work_over_time():
    class Clocked:
        def seconds(self, parts):
            for part in parts:
                part()
            return 0.5, []

    seen = []
    timed = measure.Timed([seen.append, seen.append], work=8.0, times=3)
    assert measure._sample(Clocked(), timed) == 0.5
    assert seen == [3, 3]
    assert timed.rate == measure.Rate(48.0, 48.0)


def test_an_error_in_a_part_is_not_lost():
    def fail():
        raise MemoryError("no room")

    with (
        measure.team([measure.cores()[0]]) as threads,
        pytest.raises(MemoryError, match="no room"),
    ):
        threads.seconds([fail])
