"""Training for real: Japanese Vowels on every backend and cell.

No band, no time: before anything is measured the backend trains a few epochs, and its losses and
gradient norms must lie in the band around the oracle's run. How much of the band they use is
tracked itself.
"""

from __future__ import annotations

from abc import abstractmethod
from statistics import median, median_low
from typing import Any

from . import agreement, cases, package
from .base import Measured
from .memoised import once
from .memory import rise

JUDGED_EPOCHS = 3
EPOCHS = 40
"""Most of them that a backend may take to the target."""
TARGET = 0.95
CALLS = 3


class Training:
    """A backend's training, by the package's public names."""

    def __init__(self, backend: str, cell: str, epochs: int) -> None:
        self.package = package.public("training")
        package.backend(backend)
        self.backend = backend
        self.settings = self.package.Settings(cell=cell, epochs=epochs)
        try:
            self.task = self.package.load(self.settings)
        except self.package.MissingDataError as error:
            raise package.UnsupportedCaseError(str(error)) from error

    def run(self) -> Any:
        """A new run, its first step and its first look at the test part behind it: what compiles,
        compiles here."""
        try:
            found = self.package.Run(self.settings, self.backend, self.task)
        except package.public("UnsupportedError") as error:
            raise package.UnsupportedCaseError(str(error)) from error
        found.warm_up()
        found.look()
        return found

    def to_target(self) -> float:
        """Seconds of training until the test accuracy is reached."""
        run = self.run()
        while not run.finished:
            run.epoch()
            if run.curve.scores and run.curve.scores[-1] >= TARGET:
                return float(run.curve.seconds[-1])
        raise RuntimeError(f"no test accuracy of {TARGET:.0%} in {EPOCHS} epochs")


def judged(backend: str, cell: str) -> dict[str, Any]:
    """The verdict on a few epochs, as agreement's: errors are shares of the band, budgets 1.

    Raises ParityFailureError for a backend outside of it.
    """
    verdict = once(("training", backend, cell), lambda: _verdict(backend, cell))
    shares = {name: at["error"] / at["band"] for name, at in verdict["worst"].items()}
    worst = max(shares, key=lambda name: shares[name], default="loss")
    parity = {
        "passed": verdict["passed"],
        "worst_quantity": worst,
        "worst_error": verdict["share"],
        "worst_budget": 1.0,
        "quantities": {
            name: {"error": share, "budget": 1.0, "status": "ok" if share <= 1 else "wrong"}
            for name, share in shares.items()
        },
    }
    if not verdict["passed"]:
        raise agreement.ParityFailureError(verdict["account"], parity)
    return parity


def _verdict(backend: str, cell: str) -> dict[str, Any]:
    training = Training(backend, cell, JUDGED_EPOCHS)
    run = training.run()
    while not run.finished:
        run.epoch()
    return dict(_band(training).judge(run.curve).as_dict())


def _band(training: Training) -> Any:
    """The same for all backends of a cell: measured once in asv's server's life."""
    cell = training.settings.cell
    kept = once(
        ("oracle's run", cell),
        lambda: training.package.measure(training.settings, training.task).as_dict(),
    )
    return training.package.Band.from_dict(kept)


class Trained(Measured):
    """A benchmark of one backend and cell."""

    params = cases.training_params()
    param_names = cases.names(cases.TRAINING)

    @property
    @abstractmethod
    def what(self) -> str:
        """Return what is measured of a training."""

    def prepare(self, *params: Any) -> dict[str, Any]:
        backend, cell = params
        self.parity = judged(backend, cell)
        self.training = Training(backend, cell, EPOCHS)
        self.running = self.training.run()
        return {"parity": self.parity, "identity": {"kernel": f"{backend}, packed"}}


class Epoch(Trained):
    """Seconds of one pass over the training part."""

    version = "1"
    what = "time"
    repeat, sample_time, warmup_time, rounds = cases.SAMPLING

    def time_epoch(self, *params: Any) -> None:
        self.running.learn()


class Accuracy(Trained):
    """Seconds of training until 95 % of the test part are right."""

    version = "1"
    what = "time to accuracy"
    unit = "seconds"

    def track_seconds_to_target(self, *params: Any) -> float:
        return median(self.training.to_target() for _ in range(CALLS))


class Memory(Trained):
    """Peak of one pass over the training part."""

    version = "1"
    what = "memory"
    unit = "bytes"

    def track_peak_bytes(self, *params: Any) -> int:
        return median_low(rise(self.running.learn) for _ in range(CALLS))


class Band(Trained):
    """The largest share that loss and gradient norm use of the band around the oracle's run."""

    version = "1"
    what = "parity"
    unit = "of the band"

    def track_share(self, *params: Any) -> float:
        return float(self.parity["worst_error"])
