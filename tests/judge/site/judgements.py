"""Made-up verdicts, cards and nights, in the package's own classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnbench.files import records
from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

BENCHMARK = "speed.Inference.time_inference"
NAMES = ("backend", "cell", "T", "layers", "directions", "shape")
NUMBA = ("numba", "gru", "128", "1", "1", "medium")


def case(
    values: tuple[str, ...] = NUMBA,
    status: Status = Status.NO_CHANGE,
    ratio: float = 1.0,
    **more: Any,
) -> CaseAnswer:
    """One answer on a time; 2 % to both sides."""
    answer = CaseAnswer(
        BENCHMARK,
        tuple(zip(NAMES, values, strict=True)),
        "time",
        status,
        ratio=ratio,
        low=ratio * 0.98,
        high=ratio * 1.02,
        detectable=0.03,
        p=0.001,
        base=2e-3,
        head=2e-3 * ratio,
        rounds=8,
    )
    return replace(answer, **more)


def slower(ratio: float = 1.12) -> CaseAnswer:
    """A regression of the first case."""
    return case(status=Status.REGRESSION, ratio=ratio)


def verdict(
    base: str, head: str, *cases: CaseAnswer, at: str = "2026-11-22T03:15:00+00:00", **more: Any
) -> Verdict:
    """Of two commits."""
    machine = {"host": "bench", "cpu": "Zen 4", "cpu_id": "1"}
    sides = (Commit(base, "base", "Before"), Commit(head, "main", "After"))
    return Verdict(at, machine, *sides, 0.05, 0.05, 8, 600.0, cases, **more)


def night(head: str, **more: Any) -> Night:
    """A good one that gave no verdict, unless told otherwise."""
    machine = {"host": "bench", "cpu": "Zen 4", "cpu_id": "1"}
    whole = {
        "at": "2026-11-22T03:00:00+00:00",
        "machine": machine,
        "head": head,
        "base": None,
        "commits": (head,),
        "budget": 3600.0,
        "seconds": 1800.0,
        "measured": 40,
        "left": 3,
        "troubles": (),
        "verdict": None,
        "exit_code": 0,
        "finished": True,
    }
    return Night(**whole | more)


def card(**more: Any) -> Card:
    """Measured on another day than all else."""
    planted = (
        Planted(0.02, 5, 150, 20, 130, 0, 10, 9, 146),
        Planted(0.05, 5, 150, 148, 2, 0, 140, 139, 145),
        Planted(0.1, 5, 150, 150, 0, 0, 150, 150, 148),
    )
    other = {
        "name": "asv continuous",
        "false_alarms": 31,
        "alarmed_verdicts": 17,
        "planted": [{"size": 0.05, "cases": 150, "found": 60}],
    }
    whole = Card(
        "2026-11-20T03:15:00+00:00",
        {"host": "bench", "cpu": "Zen 4", "cpu_id": "1"},
        {"torch": "2"},
        "a" * 40,
        {"rounds": 8, "threshold": 0.05},
        40,
        30,
        1,
        1,
        12,
        planted,
        {slower().name: 0.03, "control": 0.008},
        5400.0,
        other,
        {"available": False, "reason": "valgrind is not installed", "spread": None},
    )
    return replace(whole, **more)


def write(results: Path, *values: Verdict | Card | Night, host: str = "bench") -> list[Path]:
    """Put each where the package puts it."""
    written = []
    for value in values:
        if isinstance(value, Verdict):
            name = records.name(value.at, value.base.hash[:8], value.head.hash[:8])
            kind = records.VERDICTS
        else:
            name = records.name(value.at)
            kind = records.CARD if isinstance(value, Card) else records.NIGHTS
        written.append(records.write(results, kind, host, name, value.as_dict()))
    return written


def write_hostile(results: Path, commits: list[str], host: str, markup: str) -> None:
    """All kinds, with markup in everything that a stranger writes."""
    bad = slower()
    wild = case((markup, *NUMBA[1:]), Status.REGRESSION, 1.3, reason=markup)
    broken = case(("manual", *NUMBA[1:]), Status.BROKEN, reason=markup)
    broken = replace(broken, ratio=None, low=None, high=None, detectable=None, p=None, head=None)
    given = verdict(
        commits[-2],
        commits[-1],
        *[bad, wild, broken, case(("native", *NUMBA[1:]))],
        attribution={"code": {"differs": True, "says": markup, "cases": {}}, markup: markup},
        commits=(commits[-1],),
    )
    sides = {
        side: Commit(getattr(given, side).hash, markup, f"{markup}\x07]]>", {"torch": version})
        for side, version in (("base", "2.12"), ("head", markup))
    }
    given = replace(given, **sides, machine={**given.machine, "cpu": markup})
    (path,) = write(results, given, host=host)
    write(
        results,
        replace(card(), detectable={markup: 0.02}, settings={markup: markup}),
        night(
            commits[-1],
            exit_code=1,
            verdict=path.relative_to(results).as_posix(),
            troubles=(Trouble(markup, markup, markup),),
        ),
        host=host,
    )
    target = results / records.VERDICTS / host / "19990101T000000Z-half.json"
    target.write_text('{"schema": 1, "at": "<b>', encoding="utf-8")
