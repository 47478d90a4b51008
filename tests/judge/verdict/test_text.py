"""What a commit calls itself can't write the issue that is opened about it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

CASE = CaseAnswer(
    "speed.time_it", (("n", "1"),), "time", Status.REGRESSION, 1.1, 1.05, 1.15, 0.04, 0.001,
    0.001, 0.0011, 8, 1,
)  # fmt: skip
VERDICT = Verdict(
    "2026-11-22T03:15:00+00:00", {"host": "here", "cpu": "some"}, Commit("a" * 40, "main~1"),
    Commit("b" * 40, "main"), 0.05, 0.01, 8, 60.0, (CASE,),
)  # fmt: skip
EVIL = [
    "<img src=x onerror=alert(1)>", "[click](http://evil)", "@everyone", "`rm -rf /` | x",
    "# Heading", "![p](http://evil/p.png)", "\x1b[2Jgone", "a\n\n# b", "\u202etxt.exe",
    "https://evil.example/x", "&lt;script&gt;", "1. one", "***",
]  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_subject_reason_and_name_are_shown_not_obeyed(evil: str):
    case = replace(CASE, params=(("n", evil),), reason=evil)
    commit = Commit("b" * 40, evil, evil, {"torch": evil})
    body = text.markdown(replace(VERDICT, head=commit, cases=(case,)))
    outside = "".join(part for i, part in enumerate(body.split("`")) if i % 2 == 0)
    outside = outside.replace("<sub>", "").replace("</sub>", "")
    for mark in ("<img", "](http", "@everyone", "\x1b", "\u202e", "https://evil", "&lt;"):
        assert not re.search(rf"(?<!\\){re.escape(mark)}", outside), mark
    assert body.count("```") == 2
    assert not [line for line in body.splitlines() if line.startswith("# ")]


@given(st.text(max_size=60))
@example("a\u2028b\u2029c\x85d")
def test_escaped_text_is_one_line_and_every_mark_is_escaped(given_: str):
    escaped = text.escaped(given_)
    assert len(escaped.splitlines()) <= 1
    unescaped = escaped.replace("\\\\", "")
    for mark in "`*_[]<>|#":
        assert unescaped.count(mark) == unescaped.count("\\" + mark)


@given(st.text(max_size=60))
def test_code_stays_within_its_span(given_: str):
    span = text.code(given_)
    assert span.count("`") == 2
    assert "|" not in span
    assert "\n" not in span


def test_the_command_is_quoted_for_a_shell():
    case = replace(CASE, params=(("n", "$(reboot); 'x"),))
    words = shlex.split(text.command(VERDICT, [case]))
    assert words[:4] == ["rnnbench", "verdict", "a" * 40, "b" * 40]
    assert words[-1] == f"--case={case.name}"


def test_markdown_says_what_how_much_since_when_where_and_how_to_reproduce():
    body = text.markdown(
        replace(VERDICT, commits=("c" * 40, "b" * 40)), "https://example.org/report/"
    )
    for said in (
        "Regression: 1 of 1 cases", "+10.0 %", "+5.0 % … +15.0 %", "4.0 %", "one of 2 commits",
        "the same versions on both sides", "rnnbench verdict", "](<https://example.org/report/>)",
    ):  # fmt: skip
        assert said in body.replace("\\", "")


@pytest.mark.parametrize(
    ("status", "start"),
    [
        (Status.REGRESSION, "Regression"),
        (Status.BROKEN, "Broken"),
        (Status.INCONCLUSIVE, "Inconclusive"),
        (Status.NO_CHANGE, "No regression"),
        (Status.SKIPPED, "Nothing measured"),
        (Status.NEW, "Nothing measured"),
    ],
)
def test_the_headline_is_the_answer(status: Status, start: str):
    assert text.headline(replace(VERDICT, cases=(replace(CASE, status=status),))).startswith(start)


def test_versions_that_differ_are_named():
    base = Commit("a", "a", versions={"torch": "2.12", "numpy": "2"})
    head = Commit("b", "b", versions={"torch": "2.13", "numpy": "2", "jax": "1"})
    assert text.differences(base, head) == ["jax absent → 1", "torch 2.12 → 2.13"]


@pytest.mark.parametrize(
    ("value", "quantity", "said"),
    [
        (0.0123, "time", "12.3 ms"),
        (4.56e-6, "time", "4.56 µs"),
        (2.0, "import", "2 s"),
        (3.21, "parity", "3.21 eps"),
        (2048.0, "memory", "2 KiB"),
        (None, "time", ""),
    ],
)
def test_amounts_have_their_unit(value: float | None, quantity: str, said: str):
    assert text.amount(value, quantity) == said


def test_where_instructions_contradict_the_time_the_issue_says_what_that_means():
    time = replace(CASE, benchmark="speed.Inference.time_it")
    count = replace(
        time, benchmark="instructions.Inference.track_it", quantity="instructions",
        status=Status.NO_CHANGE,
    )  # fmt: skip
    body = text.markdown(replace(VERDICT, cases=(time, count)))
    assert "**Seconds and instructions disagree:**" in body
    assert "slower with the same instructions" in body
    assert "disagree" not in text.markdown(VERDICT)
