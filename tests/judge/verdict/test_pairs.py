"""Two sides judged: each kind of case gets the status that it deserves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from judge.verdict import planted

from rnnbench.errors import InputError
from rnnbench.exit_codes import FAILED, NOTHING_MEASURED
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Undecided
from rnnbench.judge.verdict.decision import Rule
from rnnbench.judge.verdict.pairs import Judgement, _Work, judge
from rnnbench.judge.verdict.sides import Side

KINDS = """
import os, time
import planted

class ParityFailureError(Exception):
    pass
class Spin:
    timer = time.process_time
    def time_slower(self):
        planted.spin()
def time_crash():
    if planted.HEAD: os.abort()
def time_crash_both():
    os.abort()
def time_mended():
    if not planted.HEAD: raise ValueError("bad")
class Skipped:
    def setup(self):
        raise NotImplementedError("never")
    def time_skipped(self):
        pass
class Added:
    def setup(self):
        if not planted.HEAD: raise NotImplementedError("not yet")
    def time_added(self):
        pass
class Dropped:
    def setup(self):
        if planted.HEAD: raise NotImplementedError("no more")
    def time_dropped(self):
        pass
class Wrong:
    def setup(self):
        if planted.HEAD: raise ParityFailureError("7 eps of 3")
    def time_wrong(self):
        pass
class WrongBoth:
    def setup(self):
        raise ParityFailureError("7 eps of 3")
    def time_wrong_both(self):
        pass
def track_grown():
    return 2 + 3 * planted.HEAD
track_grown.unit = "eps"
def track_held():
    return 100 + 50 * planted.HEAD
track_held.unit = "bytes"
def track_same():
    return 100
track_same.unit = "bytes"
def track_nothing():
    return 0
track_nothing.unit = "bytes"
def track_from_nothing():
    return 3 * planted.HEAD
def track_score():
    return 10 + 5 * planted.HEAD
track_score.unit = "points"
def track_loss():
    return -1.5
track_loss.unit = "loss"
def timeraw_start():
    return "pass"
timeraw_start.number = timeraw_start.repeat = 1
if planted.HEAD:
    def time_new():
        pass
else:
    def time_gone():
        pass
"""
FEW = Rule(threshold=0.3, looks=(4, 6))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    folder = tmp_path_factory.mktemp("kinds")
    suite = planted.suite(folder, KINDS)
    base = planted.side(folder, "base", planted.package(2000) + "HEAD = False\n")
    head = planted.side(folder, "head", planted.package(6000) + "HEAD = True\n")
    return judge(base, head, suite, rule=FEW, sampling=planted.QUICK)


def answer(judged: Judgement, name: str) -> CaseAnswer:
    (found,) = [c for c in judged.verdict.cases if c.benchmark.rpartition(".")[2] == name]
    return found


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("time_slower", Status.REGRESSION, None),
        ("time_crash", Status.BROKEN, "SIGABRT"),
        ("time_crash_both", Status.BROKEN, "SIGABRT"),
        ("time_mended", Status.NEW, "base fails: ValueError: bad"),
        ("time_skipped", Status.SKIPPED, "never"),
        ("time_added", Status.NEW, "not yet"),
        ("time_dropped", Status.BROKEN, "no more"),
        ("time_wrong", Status.REGRESSION, "wrong at head: ParityFailureError: 7 eps of 3"),
        ("time_wrong_both", Status.BROKEN, "wrong at base and at head"),
        ("track_grown", Status.REGRESSION, "from 2 to 5 eps"),
        ("track_held", Status.REGRESSION, None),
        ("track_same", Status.NO_CHANGE, None),
        ("track_nothing", Status.NO_CHANGE, None),
        ("track_from_nothing", Status.REGRESSION, "no ratio: 0 → 3"),
        ("track_score", Status.REGRESSION, None),
        ("track_loss", Status.NO_CHANGE, None),
        ("time_new", Status.NEW, "base does not have it"),
        ("time_gone", Status.BROKEN, "head does not have it"),
    ],
)
def test_status(judged: Judgement, name: str, status: Status, said: str | None):
    found = answer(judged, name)
    assert found.status is status, found
    assert found.reason is None if said is None else said in str(found.reason)


def test_a_benchmark_in_a_process_of_its_own_is_timed(judged: Judgement):
    assert answer(judged, "timeraw_start").status in (Status.NO_CHANGE, Status.INCONCLUSIVE)
    assert answer(judged, "timeraw_start").base > 0


def test_a_value_keeps_its_unit(judged: Judgement):
    found = answer(judged, "track_score")
    assert (found.quantity, found.unit, found.base, found.head) == ("value", "points", 10, 15)


def test_a_regression_comes_with_size_interval_and_rounds(judged: Judgement):
    found = answer(judged, "time_slower")
    assert found.low < found.ratio < found.high
    assert found.low > 1.01
    assert found.base < found.head
    assert 4 <= found.rounds + found.quarantined <= 6
    assert found.p <= FEW.share


def test_a_number_without_noise_takes_four_rounds(judged: Judgement):
    found = answer(judged, "track_held")
    assert found.ratio == pytest.approx(1.5)
    assert found.rounds + found.quarantined == 4


def test_each_two_rounds_have_both_orders(judged: Judgement):
    orders = [one.base_first for one in judged.rounds]
    assert len(orders) >= 4
    assert all(a != b for a, b in zip(orders[::2], orders[1::2], strict=False))


def test_the_verdict_exits_1_and_says_what_was_where(judged: Judgement):
    assert judged.verdict.exit_code == FAILED
    assert judged.verdict.base.versions["python"] == sys.version.split()[0]
    assert type(judged.verdict).from_dict(judged.verdict.as_dict()) == judged.verdict


def test_samples_of_each_process_are_handed_on(judged: Judgement):
    (case,) = [c for c in judged.rounds[0].base.samples if c.benchmark.endswith("time_slower")]
    pair = judged.rounds[0].pair(case)
    assert pair is not None
    assert min(judged.rounds[0].head.samples[case]) <= pair[1]


def test_everything_skipped_is_nothing_measured(tmp_path: Path):
    text = "def setup():\n    raise NotImplementedError\ndef time_it():\n    pass\n"
    suite = planted.suite(tmp_path, text)
    base, head = (planted.side(tmp_path, name, "") for name in ("base", "head"))
    found = judge(base, head, suite, sampling=planted.QUICK)
    assert found.verdict.exit_code == NOTHING_MEASURED
    assert found.rounds == []


def test_no_time_is_inconclusive_and_says_so(tmp_path: Path):
    suite = planted.suite(tmp_path, "def time_it():\n    pass\n")
    base, head = (planted.side(tmp_path, name, "") for name in ("base", "head"))
    found = judge(base, head, suite, sampling=planted.QUICK, budget=0.001)
    (case,) = found.verdict.cases
    assert case.status is Status.INCONCLUSIVE
    assert "the time was spent after 0 rounds; 8 should decide it: --budget" in str(case.reason)
    assert case.undecided is Undecided.TIME
    assert case.budget > 0


def test_what_stays_open_after_the_last_look_is_too_noisy(tmp_path: Path):
    """Each process sleeps for a time drawn between 1 and 4 ms."""
    text = "import time, random\nown = random.uniform(0.001, 0.004)\n"
    suite = planted.suite(tmp_path, text + "def time_it():\n    time.sleep(own)\n")
    base, head = (planted.side(tmp_path, name, "") for name in ("base", "head"))
    found = judge(base, head, suite, sampling=planted.QUICK, rule=Rule(looks=(3, 4)))
    (case,) = found.verdict.cases
    assert (case.status, case.undecided, case.budget) == (
        Status.INCONCLUSIVE, Undecided.NOISE, None,
    )  # fmt: skip
    assert "too noisy: 4 rounds do not exclude" in str(case.reason)


def test_an_import_that_takes_forty_times_as_long_is_called_after_one_round(tmp_path: Path):
    """Seconds that the clock does not decide: the benchmark says them."""
    text = "import planted\ndef track_import():\n    return planted.SECONDS\n"
    suite = planted.suite(tmp_path, text + "track_import.unit = 'seconds'\n")
    base, head = (
        planted.side(tmp_path, name, f"SECONDS = {seconds}")
        for name, seconds in (("base", 0.007), ("head", 0.309))
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    work = _Work(base, head, suite, Rule(), planted.QUICK, scratch)
    work.prepare(list)
    work._round(True)
    work._look()
    (case,) = work.verdict().cases
    assert case.status is Status.REGRESSION
    assert case.low < 309 / 7 < case.high


def test_every_third_call_three_times_as_long_is_found(tmp_path: Path):
    """By sleeping, which noise makes longer by little: typical calls stay as they were."""
    text = "import planted\ndef time_it():\n    planted.work()\n"
    suite = planted.suite(tmp_path, text + "time_it.number = 1\n")
    package = (
        "import time\ncalls = 0\ndef work():\n    global calls\n    calls += 1\n"
        "    time.sleep(0.01 if SLOW and calls % 3 == 0 else 0.003)\n"
    )
    base = planted.side(tmp_path, "base", "SLOW = False\n" + package)
    head = planted.side(tmp_path, "head", "SLOW = True\n" + package)
    sampling = replace(planted.QUICK, sweeps=6, sweep_time=0.05)
    found = judge(base, head, suite, sampling=sampling, rule=Rule(threshold=0.3, looks=(4, 6)))
    (case,) = found.verdict.cases
    assert case.status is Status.REGRESSION, case
    assert "some calls are much slower" in str(case.reason)
    assert case.ratio > 1.4


def test_what_was_not_chosen_is_counted(tmp_path: Path):
    text = "def time_it(n):\n    pass\ntime_it.params = [1, 2, 3]\ndef track_it():\n    return 1\n"
    suite = planted.suite(tmp_path, text)
    side = planted.side(tmp_path, "base", "")
    found = judge(side, replace(side), suite, lambda cases: [c for c in cases if "track" in c.name])
    assert found.verdict.not_chosen == {"work.time_it": 3}


def counting(seen: Path, last: int, otherwise: str) -> str:
    """A package that goes wrong when it is imported more than ``last`` times."""
    return (
        "import os\nfrom pathlib import Path\n"
        f"seen = Path({str(seen)!r})\n"
        "with seen.open('a') as stream:\n"
        "    stream.write('x')\n"
        f"late = len(seen.read_text()) > {last}\n{otherwise}\n"
    )


def test_a_case_that_breaks_in_a_later_round_is_broken(tmp_path: Path):
    """Listed, prepared, and then round 1."""
    suite = planted.suite(tmp_path, "import planted\ndef time_it():\n    planted.work()\n")
    base = planted.side(tmp_path, "base", "def work():\n    pass\n")
    work = "def work():\n    if late:\n        raise OSError('no third time')"
    head = planted.side(tmp_path, "head", counting(tmp_path / "seen", 2, work))
    (case,) = judge(base, head, suite, sampling=planted.QUICK).verdict.cases
    assert case.status is Status.BROKEN
    assert case.reason == "OSError: no third time (in round 1)"


def test_processes_that_end_at_once_end_the_rounds_and_what_was_measured_stays(tmp_path: Path):
    """Listed, prepared, five rounds: memory is decided after four, times are not."""
    text = "import planted\ndef time_it():\n    pass\ndef track_it():\n    return 5\n"
    suite = planted.suite(tmp_path, text + "track_it.unit = 'bytes'\n")
    (suite.folder / "control.py").write_text("import planted\ndef time_control():\n    pass\n")
    base = planted.side(tmp_path, "base", "")
    head = planted.side(
        tmp_path, "head", counting(tmp_path / "seen", 7, "if late:\n    os._exit(9)")
    )
    found = judge(base, head, suite, sampling=planted.QUICK)
    status = {case.benchmark: case.status for case in found.verdict.cases}
    assert len(found.rounds) == 5
    assert status["work.track_it"] is Status.NO_CHANGE
    assert status["work.time_it"] is Status.INCONCLUSIVE
    assert "after 5 rounds: the measuring process ended with code 9" in str(
        next(case.reason for case in found.verdict.cases if case.benchmark == "work.time_it")
    )


def test_nothing_chosen_is_wrong_usage(tmp_path: Path):
    suite = planted.suite(tmp_path, "def time_it():\n    pass\n")
    side = planted.side(tmp_path, "base", "")
    with pytest.raises(InputError, match="no case is chosen out of 1"):
        judge(side, side, suite, lambda cases: [])


def test_a_python_that_is_none_is_wrong_usage(tmp_path: Path):
    side = Side(Commit("a" * 40, "a"), str(tmp_path / "python"))
    with pytest.raises(InputError, match="executable"):
        judge(side, replace(side), planted.suite(tmp_path, ""))
