"""What asv prints becomes a kind of trouble and a sentence; a night becomes a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnbench.cli import nightly
from rnnbench.errors import InputError
from rnnbench.judge.nightly import accounts, summary
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.nightly.plan import Step
from rnnbench.judge.nightly.run import Result
from rnnbench.judge.nightly.units import Slice, Unit
from rnnbench.judge.supervised import CUT_OFF, Ended

UNIT = Unit("c" * 40, Slice("a.time_a", "1", 0, ("a.time_a(1)", "a.time_a(2)")), ("a.time_a(1)",))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "disk", "disk is full"),
        ("asv: benchmark timed out (timeout 600.0s)", "hang", "600 s"),
        ("asv: benchmark failed (exit status -9)", "memory", "SIGKILL"),
        ("asv: benchmark failed (exit status -11)", "crash", "SIGSEGV"),
        ("asv: benchmark failed (exit status -6)", "crash", "SIGABRT"),
        ("MemoryError\nasv: benchmark failed (exit status 1)", "memory", "out of memory"),
        ("RuntimeError: [enforce fail] can't allocate memory: you tried", "memory", "memory"),
        ("benchmarks.agreement.ParityFailureError: 9 eps of 4", "parity", "9 eps of 4"),
        ("Traceback\nValueError: no\nasv: benchmark failed (exit status 1)", "error", "no"),
        ("something else", "error", "something else"),
        ("", "error", "it said nothing"),
        ("ValueError: \x1b[2J\x07gone", "error", "gone"),
    ],
)
def test_what_failed_and_why(text: str, kind: str, words: str) -> None:
    trouble = accounts.failed_cases(UNIT, 1, Ended(2, 3.0, text), again=True)
    assert trouble.what == kind
    assert words in trouble.account
    assert "\x1b" not in trouble.account
    assert trouble.unit == "cccccccc a.time_a#0"


def test_long_words_are_cut() -> None:
    trouble = accounts.part_failed("publish", Ended(1, 1.0, "ValueError: " + "x" * 9999))
    assert len(trouble.account) < accounts.LONGEST + 100


@pytest.mark.parametrize(
    ("text", "built"),
    [
        ("[ 0.00%] ·· Skipping virtualenv-py3.11-torch2.13.0", False),
        (f"· {accounts.DISCOVERY}.", False),
        (f"Error running python /asv/benchmark.py discover\n· {accounts.DISCOVERY}.", True),
        ("·· Skipping results: could not load machine.json", True),
        ("[50.00%] ··· a.time_a skipped", True),
        ("Skipping over this one", True),
    ],
)
def test_whether_the_commit_was_built(text: str, built: bool) -> None:
    assert accounts.built(Ended(1, 1.0, text)) is built


def test_a_unit_past_the_night_is_a_hang() -> None:
    assert accounts.no_results(UNIT, Ended(CUT_OFF, 99.0, "")).what == "hang"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("45m", 2700), ("2 min", 120)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert nightly.seconds_of("budget", text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5m", "5d", "five", "1h30m", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="budget must be a time like"):
        nightly.seconds_of("budget", text)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("listing"), "listing"),
        (Step("judging", seconds_left=600.0), "judging, about 10 min left"),
        (Step("judging", seconds_left=-100.0), "judging, 2 min over its estimate"),
        (Step("measuring", 3, 40, None), "measuring 3 of 40 units, no estimate yet"),
        (Step("measuring", 3, 40, 12000.0), "measuring 3 of 40 units, about 3 h 20 min left"),
    ],
)
def test_progress_says_what_is_known(step: Step, words: str) -> None:
    assert nightly._words(step) == words


def test_the_markdown_shows_no_markup_of_an_account() -> None:
    hostile = Trouble("error", "unit", "a | b <img src=x> @all [x](http://x.example) `code`")
    machine = {"host": "here", "cpu": "", "cpu_id": ""}
    night = Night(
        "2026-11-22T03:15:00+00:00", machine, "b" * 40, None, ("b" * 40,), 3600.0, 60.0, 3, 2,
        (hostile,) * 30, None, 5, True,
    )  # fmt: skip
    text = summary.markdown(Result(night, None, Path("x.json"), Path("index.html")))
    assert "something broke" in text.splitlines()[0]
    for markup in ("<img", "@all", "](", " `"):
        assert markup not in text.replace("\\<img", "").replace("\\`", "").replace("\\](", "")
    assert "and 10 more" in text
