"""Train backends side by side: the same settings, an epoch of each by turns, in one process.

By turns, whatever slows the machine slows them all. A backend that raises ends with its error; the
others go on. For the report a training is kept as one line, of which the newest with the same
settings counts:

    {"schema", "at", "machine", "versions", "threads", "settings", "target",
     "task": {"kind", "train", "test"}, "band": the oracle's curve and the widths, or null,
     "runs": [an outcome each]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError, UnsupportedError
from rnnbench.files import records
from rnnbench.training import checkpoint
from rnnbench.training.band import Band, Verdict
from rnnbench.training.loop import Curve, Run
from rnnbench.training.settings import Settings
from rnnbench.training.tasks import Task

FOLDER = "training"
STATUSES = ("ok", "left the band", "diverged", "not judged", "unsupported", "broke")


@dataclass
class Outcome:
    """Result of one backend.

    warm_up      seconds of the first step, which compiles
    resumed      number of epochs that came from a checkpoint
    unsupported  why the backend cannot train the network, or nothing
    broke        error of the backend, or nothing
    alone        see `Run.alone`; None where it was not asked for
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
        """Reason of a status that is not ``ok``."""
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
    on_progress: Callable[[], None] = lambda: None,
    *,
    alone: bool = False,
) -> list[Outcome]:
    """Train on all backends; ``on_progress`` is called for each epoch of each backend.

    checkpoints  folder that a run is written to after every epoch, and resumed from
    alone        whether the test sequences are answered one by one as well

    Raises InputError if a checkpoint is of other settings.
    """
    begun = [_begin(settings, name, task, checkpoints) for name in backends]
    for epoch in range(settings.epochs):
        for outcome, run in begun:
            if run is not None and not outcome.broke and run.epochs == epoch:
                _epoch(outcome, run, checkpoints)
            on_progress()
    if alone:
        for outcome, run in begun:
            if run is not None and not outcome.broke:
                outcome.alone = run.alone()
    return [outcome for outcome, _ in begun]


def _begin(
    settings: Settings, backend: str, task: Task, checkpoints: Path | None
) -> tuple[Outcome, Run | None]:
    """Return a run at the end of its checkpoint, warmed up, or the reason why there is none."""
    outcome = Outcome(backend, Curve())
    try:
        run = Run(settings, backend, task)
        if checkpoints is not None:
            checkpoint.resume(run, checkpoint.path(checkpoints, backend))
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
        return outcome, run
    return outcome, None


def _epoch(outcome: Outcome, run: Run, checkpoints: Path | None) -> None:
    """Take a run one epoch on, unless it has stopped."""
    if run.finished:
        return
    try:
        run.epoch()
    except Exception as error:  # noqa: BLE001
        outcome.broke = _sentence(error)
        return
    if checkpoints is not None:
        checkpoint.save(run, checkpoint.path(checkpoints, run.backend))


def judge(outcomes: Iterable[Outcome], band: Band) -> None:
    """Set the verdict of each outcome that has a whole curve."""
    for outcome in outcomes:
        if not outcome.unsupported and not outcome.broke:
            outcome.verdict = band.judge(outcome.curve)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def record(
    settings: Settings,
    task: Task,
    outcomes: Sequence[Outcome],
    band: Band | None,
    target: float,
    threads: int,
) -> dict[str, Any]:
    """Return one training for JSON: settings, data, band, and the outcome of each backend."""
    runs = []
    for outcome in outcomes:
        epoch = outcome.curve.epoch_reaching(target, task.kind)
        reached = {
            "epochs_to_target": None if epoch is None else epoch + 1,
            "seconds_to_target": outcome.curve.seconds_to(target, task.kind),
        }
        runs.append(outcome.as_dict() | reached)
    parts = {"train": len(task.train.sequences), "test": len(task.test.sequences)}
    return records.about() | {
        "threads": threads,
        "settings": settings.as_dict(),
        "task": {"kind": task.kind, **parts},
        "target": target,
        "band": band and band.as_dict(),
        "runs": runs,
    }
