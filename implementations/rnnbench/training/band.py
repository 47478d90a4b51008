r"""The distance that rounding alone makes between two trainings, and the runs beyond it.

Reference.  The run of the float64 oracle. It begins with the same float32 weights as every backend,
sees the same batches and drops the same units, so what a float32 run differs by comes from
rounding, or from a mistake.

Growth.  A difference in step t is carried on by the weights, magnified by the loss surface and the
optimiser; how fast is a matter of the run, and is measured, not guessed. In each of `DRAWS` runs
every weight is multiplied by 1 ± u before every step, u = 2⁻²⁴ and signs at random: one rounding to
float32 for each number. With q the loss of a step, its gradient norm or the test loss of an epoch,

    e(q_t) = |q_t − oracle's| / |oracle's| / u
    A(t) = max over s ≤ t and draws in float64 of e(q_s)
    E(t) = the same over draws in float32, whose every operation rounds
    band(t) = max(4, 4 · A(t), min(4 · E(t), R))     R = 8 · ⌈log₂(k·T)⌉

as in `rnnbench.parity.budget`: a floor of 4 u, times the conditioning; and twice over what torch's
own module errs by (4 · E for its factor 2, as a run has many steps), but no more than rule 1 grants
one pass, so that torch cannot widen the band by being wrong. A run with an e(q_t) beyond band(t)
has left the band; so has one that stopped being numbers where the oracle did not.

Chaos.  Where the band is wider than `WIDEST` of the value itself, a curve says nothing any more:
steps from there on are reported, not gated. A verdict says how many steps were.

Known shortcoming: a mistake smaller than the band passes. In the first steps the band is a few u.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.parity.budget import FLOOR, rule
from rnnbench.spec import UNIT_ROUNDOFF, Case
from rnnbench.training import reference
from rnnbench.training.loop import Curve, Disturb, Run
from rnnbench.training.settings import DRAWS, Settings
from rnnbench.training.tasks import Task

DRAWN_ON = "native"
"""Backend of the draws; in float64 its errors are 10⁹ times smaller than the disturbance."""
WIDEST = 0.1
UNIT = UNIT_ROUNDOFF["float32"]
SMALLEST = float(np.finfo(float).tiny)
QUANTITIES = {"loss": "losses", "gradient norm": "norms", "test loss": "test_losses"}

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class At:
    """Error of one figure of a curve, and its band, both in units of u."""

    quantity: str
    step: int
    error: float
    band: float

    @property
    def share(self) -> float:
        return self.error / self.band

    def __str__(self) -> str:
        when = "after epoch" if self.quantity == "test loss" else "in step"
        return (
            f"{self.quantity} {when} {self.step} is {self.error:.3g} eps from the oracle's run, "
            f"beyond its band of {self.band:.3g} eps"
        )


@dataclass(frozen=True)
class Verdict:
    """Result of comparing a curve with the oracle's.

    worst     of each quantity the gated figure that uses the largest share of its band
    gated     number of steps that are gated: where the band is narrow enough
    left      the first figure outside of the band, or None
    diverged  account of a run that alone stopped being numbers, or nothing
    """

    worst: Mapping[str, At]
    gated: int
    left: At | None
    diverged: str = ""

    @property
    def passed(self) -> bool:
        return self.left is None and not self.diverged

    @property
    def share(self) -> float:
        """Largest share of a band; infinite for a run that alone stopped being numbers."""
        if self.diverged:
            return math.inf
        return max((at.share for at in self.worst.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "share": self.share if math.isfinite(self.share) else None,
            "worst": {quantity: asdict(at) for quantity, at in self.worst.items()},
            "gated_steps": self.gated,
            "account": self.diverged or (str(self.left) if self.left else None),
        }


@dataclass(frozen=True)
class Band:
    """The oracle's curve, and the width of the band by quantity, in units of u."""

    curve: Curve
    widths: Mapping[str, Figures]
    scores: tuple[float, float]
    """Lowest and highest last score of the oracle's run and the draws."""

    def judge(self, curve: Curve) -> Verdict:
        """Return the verdict on ``curve``, which has the same settings."""
        if curve.divergence is not None and self.curve.divergence is None:
            return Verdict({}, 0, None, f"the oracle's run went on, here {curve.divergence}")
        worst: dict[str, At] = {}
        left: list[At] = []
        for quantity, name in QUANTITIES.items():
            error = _errors(getattr(curve, name), getattr(self.curve, name))
            width = self.widths[quantity][: len(error)]
            gated = np.flatnonzero(width * UNIT <= WIDEST)
            figures = [At(quantity, int(n), float(error[n]), float(width[n])) for n in gated]
            worst |= {quantity: max(figures, key=lambda at: at.share)} if figures else {}
            left += [at for at in figures if not at.error <= at.band][:1]
        width = self.widths["loss"][: len(curve.losses)]
        first = min(left, key=lambda at: at.step, default=None)
        return Verdict(worst, int((width * UNIT <= WIDEST).sum()), first)

    def as_dict(self) -> dict[str, Any]:
        return {
            "curve": self.curve.as_dict(),
            "widths": {
                name: [value if math.isfinite(value) else None for value in width.tolist()]
                for name, width in self.widths.items()
            },
            "scores": list(self.scores),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Band:
        """Return the band that `as_dict` was called on; a width of null is infinite."""
        widths = {
            name: np.array([math.inf if value is None else value for value in width])
            for name, width in given["widths"].items()
        }
        return cls(Curve.from_dict(given["curve"]), widths, tuple(given["scores"]))


def _errors(got: list[float], expected: list[float]) -> Figures:
    """Return e(q_t) for the steps that both have."""
    n = min(len(got), len(expected))
    ours, theirs = np.array(got[:n]), np.array(expected[:n])
    found: Figures = np.abs(ours - theirs) / np.maximum(np.abs(theirs), SMALLEST) / UNIT
    return found


def rounding(seed: int) -> Disturb:
    """Return a function that multiplies every weight by 1 ± u, signs at random."""
    generator = torch.Generator().manual_seed(seed)

    def disturb(parameters: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter in parameters:
                signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                parameter.mul_(1 + UNIT * signs.double())

    return disturb


def _growth(drawn: Sequence[list[float]], expected: list[float]) -> Figures:
    """Return the largest error of any draw up to each step; infinite once a draw has stopped."""
    found = np.zeros(len(expected))
    for values in drawn:
        error = _errors(values, expected)
        found[: len(error)] = np.maximum(found[: len(error)], error)
        found[len(error) :] = math.inf
    largest: Figures = np.maximum.accumulate(found)
    return largest


def measure(
    settings: Settings,
    task: Task,
    draws: int = DRAWS,
    on_progress: Callable[[], None] = lambda: None,
) -> Band:
    """Train on the oracle, and ``draws`` times in each dtype with roundings.

    ``on_progress`` is called after every epoch.
    """

    def trained(run: Run) -> Curve:
        for _ in range(settings.epochs):
            run.epoch()
            on_progress()
        return run.curve

    with reference.registered() as name:
        exact = trained(Run(settings, name, task, "float64"))
    drawn = {
        dtype: [
            trained(Run(settings, DRAWN_ON, task, dtype, rounding(seed))) for seed in range(draws)
        ]
        for dtype in ("float64", "float32")
    }
    longest = max(len(one) for one in task.train.sequences)
    case = Case(settings.spec(task.input_size), longest, settings.batch)
    most = rule(case, "grad_weight_hh_l0")
    widths = {}
    for quantity, name in QUANTITIES.items():
        growth, own = (
            _growth([getattr(curve, name) for curve in curves], getattr(exact, name))
            for curves in drawn.values()
        )
        widths[quantity] = FLOOR * np.maximum(1.0, growth)
        widths[quantity] = np.maximum(widths[quantity], np.minimum(FLOOR * own, most))
    last = [curve.scores[-1] for curve in (exact, *chain(*drawn.values())) if curve.scores]
    return Band(exact, widths, (min(last), max(last)) if last else (math.nan, math.nan))
