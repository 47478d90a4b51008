"""One side measured once: each way in which a case can go wrong costs that case only."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import timeit
from dataclasses import replace
from pathlib import Path

import pytest
from judge.verdict import planted

from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.process import WORKER, Measured, WorkerError, listed, measure
from rnnbench.judge.verdict.sides import quantity

WAYS = """
import math, os, signal, subprocess, sys, time
import planted

def time_good():
    planted.spin()
def time_reading():
    assert sys.stdin.read() == ""
    subprocess.run(["cat"], check=True)
def time_abort():
    os.abort()
def time_segfault():
    os.kill(os.getpid(), signal.SIGSEGV)
def time_hang():
    time.sleep(60)
def time_raise():
    raise ValueError("first line\\nsecond line")
def time_exit():
    sys.exit(3)
def track_nan():
    return math.nan
track_nan.unit = "bytes"
def track_none():
    return None
track_none.unit = "bytes"
def track_bytes():
    print("not a message")
    os.write(1, b"neither\\n")
    return 7
track_bytes.unit = "bytes"
def track_apples():
    return 7
def peakmem_much():
    return b"x" * 10**6
class Skipping:
    def setup(self):
        raise NotImplementedError("not on a Sunday")
    def time_skip(self):
        pass
class Failing:
    def teardown(self):
        raise RuntimeError("left the stove on")
    def time_teardown(self):
        pass
class Cached:
    params = [1, 2]
    def setup_cache(self):
        return {1: "one", 2: "two"}
    def setup(self, cache, n):
        assert cache[n] in ("one", "two")
    def time_cached(self, cache, n):
        pass
class Wrong:
    def setup(self):
        class ParityFailureError(Exception):
            pass
        raise ParityFailureError("7 eps of 3")
    def time_wrong(self):
        pass
"""


def measured(side, places, suite, folder: Path, sampling=planted.QUICK) -> Measured:
    """One side alone."""
    (found,) = measure([(side, places)], suite, folder, sampling)
    return found


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, float]:
    folder = tmp_path_factory.mktemp("ways")
    suite, side = planted.suite(folder, WAYS), planted.side(folder, "head", planted.package())
    index = listed(side, suite, folder).index
    started = time.monotonic()
    return measured(side, index, suite, folder), time.monotonic() - started


def reason(of: Measured, name: str) -> str:
    (found,) = [f for case, f in of.failed.items() if case.benchmark == f"work.{name}"]
    return found.reason


def names(cases) -> set[str]:
    return {case.name.removeprefix("work.") for case in cases}


def test_all_others_are_measured(ways):
    found, _ = ways
    assert names(found.samples) == {
        "time_good()", "time_reading()", "track_bytes()", "track_apples()", "peakmem_much()",
        "Cached.time_cached(1)", "Cached.time_cached(2)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("time_abort", "SIGABRT"),
        ("time_segfault", "SIGSEGV"),
        ("time_hang", "did not end within 3 s"),
        ("time_raise", "ValueError: first line"),
        ("time_exit", "SystemExit: 3"),
        ("track_nan", "it gave nan"),
        ("track_none", "TypeError"),
        ("Failing.time_teardown", "left the stove on"),
        ("Wrong.time_wrong", "ParityFailureError: 7 eps of 3"),
    ],
)
def test_a_case_that_goes_wrong_says_how(ways, name: str, said: str):
    assert said in reason(ways[0], name)
    assert "second line" not in reason(ways[0], name)


def test_a_skip_keeps_its_reason(ways):
    ((case, said),) = ways[0].skipped.items()
    assert case.name == "work.Skipping.time_skip()"
    assert "not on a Sunday" in said


def test_what_a_benchmark_prints_is_no_message(ways):
    (value,) = [v for case, v in ways[0].samples.items() if case.benchmark == "work.track_bytes"]
    assert value == [7.0]


@pytest.mark.parametrize(
    ("name", "kind", "unit", "measures"),
    [
        ("time_x", "time", "seconds", "time"),
        ("track_import_seconds", "track", "seconds", "import"),
        ("Compile.track", "track", "seconds", "compile"),
        ("track_latency", "track", "seconds", "value"),
        ("track_loss", "track", "loss", "value"),
        ("track_error", "track", "eps", "parity"),
        ("mem_x", "memory", "bytes", "memory"),
    ],
)
def test_every_benchmark_has_a_quantity(name, kind, unit, measures):
    assert quantity(name, kind, unit) == measures


def test_samples_come_from_all_sweeps_and_the_control_from_between(ways):
    (samples,) = [v for c, v in ways[0].samples.items() if c.benchmark == "work.time_good"]
    assert 2 <= len(samples) <= 4
    assert min(ways[0].control) > 0
    assert len(ways[0].control) >= 3 * 2  # before, between, after; two samples each


LOGGING = """
import os
import planted

def note(text):
    with open(planted.LOG, "a") as log:
        log.write(f"{planted.NAME}{text} ")

def time_sample():
    note(f":{sorted(os.sched_getaffinity(0))}")
def track_value():
    note(f"={len(os.sched_getaffinity(0))}")
    return 1
track_value.unit = "bytes"
"""


def logging_sides(folder: Path, text: str, **own: str):
    """Two sides that differ by a name and by ``own``, and their suite."""
    suite = planted.suite(folder, text)
    places = []
    for name in "ab":
        source = f"NAME, LOG = {name!r}, {str(folder / 'log')!r}\n{own.get(name, '')}"
        side = planted.side(folder, name, source)
        places.append((side, listed(side, suite, folder).index))
    return places, suite


def test_the_sides_sweep_by_turns_on_one_processor(tmp_path: Path):
    sides, suite = logging_sides(tmp_path, LOGGING)
    core = max(os.sched_getaffinity(0))
    measure(sides, suite, tmp_path, replace(planted.QUICK, sweeps=3), core)
    said = (tmp_path / "log").read_text().replace(", ", ",").split()
    values = [one for one in said if "=" in one]
    assert values == [f"{side}={len(os.sched_getaffinity(0))}" for side in "ab"]
    samples = [one for one in said if ":" in one]
    assert {one[1:] for one in samples} == {f":[{core}]"}
    changes = [side[0] for n, side in enumerate(samples) if n == 0 or side[0] != samples[n - 1][0]]
    assert changes == ["a", "b", "a", "b"]  # a b, b a, a b


@pytest.mark.parametrize("bad", ["a", "b"])
def test_what_brings_down_one_side_costs_that_side_only(tmp_path: Path, bad: str):
    text = LOGGING + "def time_end():\n    planted.end()\n"
    good = "b" if bad == "a" else "a"
    end = {bad: "import os\ndef end():\n    os.abort()\n", good: "def end():\n    pass\n"}
    sides, suite = logging_sides(tmp_path, text, **end)
    found = dict(zip("ab", measure(sides, suite, tmp_path, planted.QUICK), strict=True))
    assert names(found[bad].failed) == {"time_end()"}
    assert names(found[bad].samples) == {"time_sample()", "track_value()"}
    assert not found[good].failed
    assert names(found[good].samples) == {"time_sample()", "track_value()", "time_end()"}


def test_a_module_that_breaks_when_it_is_measured_costs_its_own_cases_only(tmp_path: Path):
    suite, side = planted.suite(tmp_path, WAYS), planted.side(tmp_path, "head", planted.package())
    (suite.folder / "once.py").write_text(
        "import pathlib\n"
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "if seen.exists():\n    raise RuntimeError('imported twice')\n"
        "seen.touch()\n"
        "def time_once():\n    pass\n"
    )
    index = listed(side, suite, tmp_path).index
    wanted = ("time_good()", "time_once()")
    chosen = {case: at for case, at in index.items() if case.name.split(".")[1] in wanted}
    assert len(chosen) == 2
    found = measured(side, chosen, suite, tmp_path)
    ((failed, why),) = found.failed.items()
    assert failed.name == "once.time_once()"
    assert "imported twice" in why.reason
    assert names(found.samples) == {"time_good()"}


def test_a_process_that_dies_while_it_waits_is_begun_once_more(tmp_path: Path):
    text = (
        "import os, pathlib, threading, time\n"
        "import planted\n"
        "def end():\n    time.sleep(0.8)\n    os.abort()\n"
        "def time_sample():\n"
        "    ended = pathlib.Path(planted.LOG)\n"
        "    if planted.NAME == 'a' and not ended.exists():\n"
        "        ended.touch()\n        threading.Thread(target=end).start()\n"
        "    time.sleep(0.3 if planted.NAME == 'b' else 0)\n"
    )
    sides, suite = logging_sides(tmp_path, text)
    a, b = measure(sides, suite, tmp_path, replace(planted.QUICK, sweeps=3))
    assert (tmp_path / "log").exists()
    assert names(a.samples) == names(b.samples) == {"time_sample()"}
    assert not a.failed


def test_the_hanging_process_is_killed_with_its_children(tmp_path: Path):
    text = (
        "import subprocess, sys, time\n"
        "def time_hang():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "    time.sleep(60)\n"
    )
    suite, side = planted.suite(tmp_path, text), planted.side(tmp_path, "head", "")
    cases = listed(side, suite, tmp_path).index
    found = measured(side, cases, suite, tmp_path, replace(planted.QUICK, limit=2.0))
    assert [one.kind for one in found.failed.values()] == ["hang"]
    assert _ended(int((tmp_path / "pid").read_text()))


def _ended(pid: int) -> bool:
    """Gone, or waiting to be collected by a parent that is."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_the_side_is_imported_and_not_what_this_process_sees(tmp_path: Path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "planted.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    suite = planted.suite(tmp_path, planted.SPIN)
    side = planted.side(tmp_path, "head", planted.package())
    found = listed(side, suite, tmp_path)
    assert len(found.index) == 6
    assert {case.quantity for case in found.index} == {"time", "parity", "memory"}


def test_the_worker_imports_nothing_of_this_package(tmp_path: Path):
    text = "import sys\ndef track_seen():\n    return len([m for m in sys.modules if m in " + (
        "('rnnbench', 'answer', 'sides', 'judge')])\ntrack_seen.unit = 'bytes'\n"
    )
    suite, side = planted.suite(tmp_path, text), planted.side(tmp_path, "head", "")
    found = measured(side, listed(side, suite, tmp_path).index, suite, tmp_path)
    assert list(found.samples.values()) == [[0.0]]


def test_a_suite_without_a_control_and_a_module_that_breaks_is_listed_all_the_same(tmp_path: Path):
    suite = planted.suite(tmp_path, planted.SPIN)
    (suite.folder / "broken.py").write_text("import no_such_module")
    found = listed(planted.side(tmp_path, "head", planted.package()), suite, tmp_path)
    assert found.control is None
    assert len(found.index) == 6
    assert found.versions["asv-runner"]
    assert found.versions["pytest"]  # of every distribution, whether anybody thought of it or not


def test_the_suites_own_control_is_found_and_is_no_case(tmp_path: Path):
    suite = planted.suite(tmp_path, planted.SPIN)
    (suite.folder / "control.py").write_text("def time_nothing():\n    pass\n")
    side = planted.side(tmp_path, "head", planted.package())
    found = listed(side, suite, tmp_path)
    assert found.control == "control.time_nothing"
    assert len(found.index) == 6
    suite = Suite(suite.folder, found.control)
    (case,) = [c for c in found.index if c.name == "work.Spin.time_spin(a)"]
    control = measured(side, {case: found.index[case]}, suite, tmp_path).control
    assert 0 < min(control) < 1e-3


def test_a_control_that_the_project_names_comes_before_one_of_that_module(tmp_path: Path):
    suite = planted.suite(tmp_path, planted.SPIN)
    (suite.folder / "control.py").write_text("def time_nothing():\n    pass\n")
    (suite.folder / "mine.py").write_text("def time_mine():\n    pass\n")
    side = planted.side(tmp_path, "head", planted.package())
    for name, control in (("mine.time_mine",) * 2, ("no.such", "control.time_nothing")):
        found = listed(side, replace(suite, control=name), tmp_path)
        assert found.control == control
        assert len(found.index) == 7  # the other one is a case like any


def test_a_python_without_asv_runner_is_an_error_with_its_words(tmp_path: Path):
    suite = planted.suite(tmp_path, planted.SPIN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    side = replace(planted.side(tmp_path, "head", ""), python=os.fspath(python))
    with pytest.raises(WorkerError, match="asv_runner"):
        listed(side, suite, tmp_path)


def clock(schedstat: Path, monkeypatch: pytest.MonkeyPatch):
    """The worker's clock where the kernel counts in that file."""
    found = importlib.util.spec_from_file_location("worker_by_path", WORKER)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "SCHEDSTAT", str(schedstat))
    return module._clock()


def test_the_clock_stands_while_another_process_has_the_processor(tmp_path: Path, monkeypatch):
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("700 0 1\n")
    now = clock(schedstat, monkeypatch)
    started, wall = now(), timeit.default_timer()
    schedstat.write_text("700 5000000000 2\n")
    assert now() - started == pytest.approx(timeit.default_timer() - wall - 5, abs=0.5)


@pytest.mark.parametrize("content", [None, "", "nonsense\n", "1\n"])
def test_where_nobody_counts_the_clock_is_the_walls(tmp_path: Path, monkeypatch, content):
    schedstat = tmp_path / "schedstat"
    if content is not None:
        schedstat.write_text(content)
    assert clock(schedstat, monkeypatch) is timeit.default_timer
