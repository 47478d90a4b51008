"""Backends trained side by side: the same settings, alternated epoch by epoch in one process.

Alternation lets whatever slows the machine slow them all. A backend that raises is out, with its
sentence; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError, UnsupportedError
from rnnbench.training import checkpoint
from rnnbench.training.band import Band, Verdict
from rnnbench.training.loop import Curve, Run
from rnnbench.training.settings import Settings
from rnnbench.training.tasks import Task

STATUSES = ("ok", "left the band", "diverged", "not judged", "unsupported", "broke")


@dataclass
class Outcome:
    """What became of one backend.

    warm_up   seconds of the first step, which compiles
    resumed   epochs that a checkpoint brought
    alone     see `Run.alone`; None where it was not asked for
    """

    backend: str
    curve: Curve
    warm_up: float = 0.0
    resumed: int = 0
    verdict: Verdict | None = None
    unsupported: str = ""
    broke: str = ""
    alone: float | None = None

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        if self.unsupported or self.broke:
            return "unsupported" if self.unsupported else "broke"
        if self.verdict is not None and not self.verdict.passed:
            return "left the band"
        if self.curve.divergence is not None:
            return "diverged"
        return "ok" if self.verdict is not None else "not judged"

    @property
    def detail(self) -> str:
        """Why, where the status is not ``ok``."""
        if self.verdict is not None and not self.verdict.passed:
            return self.verdict.diverged or str(self.verdict.left)
        return self.unsupported or self.broke or str(self.curve.divergence or "")

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "status": self.status,
            "detail": self.detail,
            "warm_up_seconds": self.warm_up,
            "resumed_epochs": self.resumed,
            "alone": self.alone,
            "band": self.verdict and self.verdict.as_dict(),
            "curve": self.curve.as_dict(),
        }


def train(
    settings: Settings,
    backends: Sequence[str],
    task: Task,
    checkpoints: Path | None = None,
    advance: Callable[[], None] = lambda: None,
    *,
    alone: bool = False,
) -> list[Outcome]:
    """Train them all; ``advance`` is called for each epoch of each backend.

    checkpoints  folder that a run is written to after every epoch, and resumed from; InputError if
                 what lies there is of other settings
    alone        whether the test sequences are answered one by one as well
    """
    outcomes = {name: Outcome(name, Curve()) for name in backends}
    begun = {
        name: _begin(settings, outcome, task, checkpoints) for name, outcome in outcomes.items()
    }
    runs = {name: run for name, run in begun.items() if run is not None}
    for epoch in range(settings.epochs):
        for name in backends:
            going = runs.get(name)
            if going is not None and going.epochs == epoch and not going.finished:
                try:
                    going.epoch()
                except Exception as error:  # noqa: BLE001
                    outcomes[name].broke = _sentence(error)
                    del runs[name]
                    continue
                if checkpoints is not None:
                    checkpoint.save(going, checkpoint.path(checkpoints, name))
            advance()
    if alone:
        for name, run in runs.items():
            outcomes[name].alone = run.alone()
    return list(outcomes.values())


def _begin(
    settings: Settings, outcome: Outcome, task: Task, checkpoints: Path | None
) -> Run | None:
    """A run up to where its checkpoint ends, warmed up; None, and why, if it cannot be made."""
    try:
        run = Run(settings, outcome.backend, task)
        if checkpoints is not None:
            checkpoint.resume(run, checkpoint.path(checkpoints, outcome.backend))
        outcome.curve, outcome.resumed = run.curve, run.epochs
        if not run.finished:
            outcome.warm_up = run.warm_up()
    except UnsupportedError as error:
        outcome.unsupported = str(error)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 (a backend may raise anything)
        outcome.broke = _sentence(error)
    else:
        return run
    return None


def judge(outcomes: Iterable[Outcome], band: Band) -> None:
    """Give each that trained its verdict."""
    for outcome in outcomes:
        if not outcome.unsupported and not outcome.broke:
            outcome.verdict = band.judge(outcome.curve)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
