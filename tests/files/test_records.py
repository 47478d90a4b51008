"""Verdicts, cards and nights survive their files; broken files are told apart, not fatal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rnnbench.files import records
from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

AT = "2026-11-22T03:15:00+00:00"
MACHINE = {"host": "here", "cpu": "some", "cpu_id": "1"}
CASE = CaseAnswer(
    "speed.Inference.time_inference", (("backend", "numba"), ("cell", "gru")), "time",
    Status.NO_CHANGE, 1.01, 0.99, 1.03, 0.03, 0.4, 0.001, 0.00101, 8, 1,
)  # fmt: skip
VERDICT = Verdict(
    AT, MACHINE, Commit("a" * 40, "main~1"), Commit("b" * 40, "main"), 0.05, 0.05, 8, 60.0, (CASE,)
)
CARD = Card(
    AT, MACHINE, {"torch": "2"}, "a" * 40, {"rounds": 8}, 40, 30, 1, 1, 12,
    (Planted(0.05, 5, 150, 148, 2, 0, 140, 139, 145),), {CASE.name: 0.03}, 1000.0,
)  # fmt: skip
NIGHT = Night(
    AT, MACHINE, "b" * 40, "a" * 40, ("b" * 40,), 3600.0, 1800.0, 40, 0,
    (Trouble("build", "c" * 8, "pip failed"),), "verdicts/here/x.json", 0, True,
)  # fmt: skip


@pytest.mark.parametrize("value", [VERDICT, CARD, NIGHT], ids=lambda value: type(value).__name__)
def test_what_was_written_is_read_back(tmp_path: Path, value: Verdict | Card | Night) -> None:
    records.write(tmp_path, "kind", "here", records.name(AT, "one"), value.as_dict())
    (found,) = records.read(tmp_path, "kind", type(value).from_dict)
    assert found.value == value
    assert found.file.name == "20261122T031500Z-one.json"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1, "x": 2}'])
def test_a_broken_file_is_named_and_the_others_are_read(tmp_path: Path, text: str) -> None:
    records.write(tmp_path, "kind", "here", "b.json", VERDICT.as_dict())
    (tmp_path / "kind" / "here" / "a.json").write_text(text)
    broken, whole = records.read(tmp_path, "kind", Verdict.from_dict)
    assert broken.value is None
    assert "a.json" in str(broken.broken)
    assert whole.value == VERDICT


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        records.write(tmp_path, "kind", "here", "a.json", {"value": float("nan")})
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((), 4),
        ((Status.SKIPPED, Status.NEW), 4),
        ((Status.NO_CHANGE, Status.IMPROVEMENT), 0),
        ((Status.NO_CHANGE, Status.INCONCLUSIVE), 3),
        ((Status.NO_CHANGE, Status.BROKEN, Status.INCONCLUSIVE), 5),
        ((Status.BROKEN,), 5),
        ((Status.REGRESSION, Status.BROKEN, Status.INCONCLUSIVE), 1),
    ],
)
def test_exit_codes(statuses: tuple[Status, ...], code: int) -> None:
    cases = tuple(replace(CASE, status=status) for status in statuses)
    assert replace(VERDICT, cases=cases).exit_code == code
