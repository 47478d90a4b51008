"""Verdicts on simulated pairs: the rule is the real one, seconds are drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import suite as own

from rnnbench.files import machine
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Verdict
from rnnbench.judge.verdict.decision import Rule, decide
from rnnbench.judge.verdict.pairs import Judgement, Round
from rnnbench.judge.verdict.process import Listed, Measured
from rnnbench.judge.verdict.sides import TIME, Case, Side

SUITE = Suite(
    Path(own.__file__).parent,
    choose=own.choose,
    calibrated=own.calibrated,
    key=own.key,
    plant=own.plant,
)
VERSIONS = {"torch": "2"}
CASES = [
    Case(
        f"speed.{phase.title()}.time_{phase}",
        tuple(zip(own.PARTS, (backend, cell, "16", layers, "1"), strict=True)),
        TIME,
    )
    for phase in ("inference", "training")
    for backend in ("manual", "numba")
    for cell in ("gru", "lstm")
    for layers in ("1", "2")
]


def side(folder: Path) -> Side:
    """An installed commit that can be slowed."""
    package = folder / "rnnbench"
    package.mkdir(parents=True)
    text = "class _Backed(object):\n    def forward(self, x):\n        return x\n"
    (package / "nn.py").write_text(text)
    return Side(Commit("a" * 40, "HEAD"), "python", folder)


def listing(_side: Side, _suite: Suite, _scratch: Path) -> Listed:
    return Listed({case: place for place, case in enumerate(CASES)}, VERSIONS, None)


class Judge:
    """Stands in for `judge`; ``noise`` is that of a round, and ``bias`` a mistake.

    It is killed in its trial number ``dies_at``, and begins ``after`` so many earlier ones.
    """

    def __init__(
        self, noise: float = 0.01, bias: float = 0.0, dies_at: int = -1, after: int = 0
    ) -> None:
        self.noise, self.bias, self.dies_at = noise, bias, dies_at
        self.calls: list[dict[str, float]] = []
        self.clock = datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=40 * after)

    def __call__(
        self,
        _base: Side,
        head: Side,
        _suite: Suite,
        choose: Callable[[Iterable[Case]], Iterable[Case]],
        *,
        rule: Rule,
        seed: int,
        **_: Any,
    ) -> Judgement:
        if len(self.calls) == self.dies_at:
            self.dies_at = -1
            raise KeyboardInterrupt
        assert head.path is not None
        planted = head.path / "rnnbench" / "planted.json"
        sizes = json.loads(planted.read_text()) if planted.is_file() else {}
        self.calls.append(sizes)
        rng = np.random.default_rng([seed, len(self.calls)])
        cases = list(choose(CASES))
        rounds = [self._round(rng, cases, sizes) for _ in range(rule.looks[1])]
        ratios = {
            case: [float(np.log(h / b)) for b, h in (one.pair(case) for one in rounds)]  # type: ignore[misc]
            for case in cases
        }
        decisions = decide(ratios, rule)
        answers = tuple(
            CaseAnswer(
                case.benchmark, case.params, case.quantity, made.status, made.ratio, made.low,
                made.high, made.detectable, made.p, 1.0, made.ratio, made.rounds,
            )
            for case, made in decisions.items()
        )  # fmt: skip
        self.clock += timedelta(seconds=40)
        commits = (Commit("a" * 40, name, versions=VERSIONS) for name in ("base", "head"))
        verdict = Verdict(
            self.clock.isoformat(timespec="seconds"), machine.identity(), *commits, rule.threshold,
            rule.alpha, len(rounds), 40.0, answers,
        )  # fmt: skip
        return Judgement(verdict, rounds)

    def _round(self, rng: Any, cases: list[Case], sizes: dict[str, float]) -> Round:
        sides = []
        for slowed in (False, True):
            measured = Measured(control=[1.0])
            for case in cases:
                size = (sizes.get(str(own.key(case)), 0.0) + self.bias) if slowed else 0.0
                seconds = (1 + size) * np.exp(rng.normal(0, self.noise / 2**0.5, 1))
                measured.samples[case] = seconds.tolist()
            sides.append(measured)
        return Round(sides[0], sides[1], True)


def older(trial: dict[str, Any], days: float) -> dict[str, Any]:
    """The trial as it would read had it been measured before."""
    at = datetime.fromisoformat(trial["verdict"]["at"]) - timedelta(days=days)
    return trial | {"verdict": trial["verdict"] | {"at": at.isoformat(timespec="seconds")}}
