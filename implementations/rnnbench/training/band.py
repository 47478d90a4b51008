r"""How far apart rounding alone drives two trainings, and who is farther.

Reference.  The run of the float64 oracle. It begins with the same float32 weights as every backend,
sees the same batches and drops the same units, so what a float32 run differs by comes from rounding,
or from a mistake.

Growth.  A difference in step t is carried on by the weights, magnified by the loss surface and the
optimiser; how fast is a matter of the run, and is measured, not guessed. In each of `DRAWS` runs in
float64 every weight is multiplied by 1 ± u before every step, u = 2⁻²⁴ and signs at random: one
rounding to float32 for each number. With q the loss of a step, its gradient norm or the test loss
of an epoch,

    e(q_t) = |q_t − oracle's| / |oracle's| / u
    A(t) = max over s ≤ t and draws of e(q_s)
    band(t) = 4 · max(1, A(t))

which is rule 2 of `rnnbench.budget`: a floor of 4 u, times the conditioning A ≥ 1. A run with an
e(q_t) beyond band(t) has left the band; so has one that stopped being numbers where the oracle did
not.

Chaos.  Where the band is wider than `WIDEST` of the value itself, a curve says nothing any more:
steps from there on are reported, not gated. A verdict says how many steps were.

Known shortcoming: a mistake smaller than the band passes. In the first steps the band is a few u.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.budget import FLOOR
from rnnbench.spec import UNIT_ROUNDOFF
from rnnbench.training import reference
from rnnbench.training.loop import Curve, Disturb, Run
from rnnbench.training.settings import Settings
from rnnbench.training.tasks import Task

DRAWS = 4
DRAWN_ON = "native"
"""What the draws run on, in float64: its own errors are 10⁹ times smaller than the disturbance."""
WIDEST = 0.1
UNIT = UNIT_ROUNDOFF["float32"]
QUANTITIES = {"loss": "losses", "gradient norm": "norms", "test loss": "test_losses"}

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Left:
    """Where a curve first left its band: error and band in u."""

    quantity: str
    step: int
    error: float
    band: float

    def __str__(self) -> str:
        when = "after epoch" if self.quantity == "test loss" else "in step"
        return (
            f"{self.quantity} {when} {self.step} is {self.error:.3g} eps from the oracle's run, "
            f"beyond its band of {self.band:.3g} eps"
        )


@dataclass(frozen=True)
class Verdict:
    """What a curve is, beside the oracle's.

    shares  quantity → largest error as a share of the band, over the steps that are gated
    gated   steps of the curve where the band is narrow enough to tell
    left    where it first left the band, or None
    """

    shares: Mapping[str, float]
    gated: int
    left: Left | None
    diverged: str = ""

    @property
    def passed(self) -> bool:
        return self.left is None and not self.diverged

    @property
    def share(self) -> float:
        """The worst of the shares; infinite for a run that stopped being numbers."""
        return math.inf if self.diverged else max(self.shares.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "share": self.share if math.isfinite(self.share) else None,
            "shares": dict(self.shares),
            "gated_steps": self.gated,
            "account": self.diverged or (str(self.left) if self.left else None),
        }


@dataclass(frozen=True)
class Band:
    """The oracle's curve, and by quantity how far from it is too far, in u."""

    curve: Curve
    widths: Mapping[str, Figures]
    scores: tuple[float, float]
    """The lowest and the highest last score of the oracle's run and the draws."""

    def judge(self, curve: Curve) -> Verdict:
        """Where ``curve``, of the same settings, lies in the band."""
        if curve.divergence is not None and self.curve.divergence is None:
            return Verdict({}, 0, None, f"the oracle's run went on, but here {curve.divergence}")
        shares: dict[str, float] = {}
        first: Left | None = None
        for quantity, name in QUANTITIES.items():
            error = _errors(getattr(curve, name), getattr(self.curve, name))
            width = self.widths[quantity][: len(error)]
            gated = np.flatnonzero(width * UNIT <= WIDEST)
            beyond = gated[error[gated] > width[gated]]
            shares[quantity] = float((error[gated] / width[gated]).max(initial=0.0))
            if beyond.size and first is None:
                at = int(beyond[0])
                first = Left(quantity, at, float(error[at]), float(width[at]))
        width = self.widths["loss"][: len(curve.losses)]
        return Verdict(shares, int((width * UNIT <= WIDEST).sum()), first)

    def as_dict(self) -> dict[str, Any]:
        return {
            "curve": self.curve.as_dict(),
            "widths": {name: width.tolist() for name, width in self.widths.items()},
            "scores": list(self.scores),
        }


def _errors(got: list[float], expected: list[float]) -> Figures:
    """e(q_t) for the steps that both have."""
    n = min(len(got), len(expected))
    ours, theirs = np.array(got[:n]), np.array(expected[:n])
    return np.abs(ours - theirs) / np.maximum(np.abs(theirs), np.finfo(float).tiny) / UNIT


def rounding(seed: int) -> Disturb:
    """Multiplies every weight by 1 ± u, signs at random."""
    generator = torch.Generator().manual_seed(seed)

    def disturb(parameters: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter in parameters:
                signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                parameter.mul_(1 + UNIT * signs.double())

    return disturb


def measure(
    settings: Settings, task: Task, draws: int = DRAWS, advance: Callable[[], None] = lambda: None
) -> Band:
    """Train on the oracle and ``draws`` times with roundings; ``advance`` is called every epoch."""

    def trained(run: Run) -> Curve:
        for _ in range(settings.epochs):
            run.epoch()
            advance()
        return run.curve

    with reference.registered() as name:
        exact = trained(Run(settings, name, task, "float64"))
    drawn = [
        trained(Run(settings, DRAWN_ON, task, "float64", rounding(seed))) for seed in range(draws)
    ]
    widths = {}
    for quantity, name in QUANTITIES.items():
        expected = getattr(exact, name)
        growth = np.zeros(len(expected))
        for curve in drawn:
            error = _errors(getattr(curve, name), expected)
            growth[: len(error)] = np.maximum(growth[: len(error)], error)
            growth[len(error) :] = math.inf  # a draw that stopped being numbers: anything may be
        widths[quantity] = FLOOR * np.maximum(1.0, np.maximum.accumulate(growth))
    last = [curve.scores[-1] for curve in (exact, *drawn) if curve.scores]
    return Band(exact, widths, (min(last), max(last)) if last else (math.nan, math.nan))
