r"""From rounds of pairs to a verdict on each case.

**Effect.** Round r measures a case at base and at head, each in a process of its own. With b_r, h_r
the `typical` seconds of the two processes, d_r = ln(h_r / b_r). Memory layout, hash seed and the
machine's state are drawn anew for each process, so a round is *one* observation, however many
samples its processes took. The effect is the trimmed mean of d over the n rounds that count, g =
⌊n/10⌋ cut off at either end, and its standard error is that of Tukey and McLaughlin (1963; Yuen
1974), with h = n − 2g and s_w the Winsorised standard deviation:

    se² = (n − 1) s_w² / (h (h − 1)),   h − 1 degrees of freedom.

On heavy tails (t₃; one round in ten with ten times the spread) it keeps the power that the plain
mean loses; trimming a fifth as is customary raises too many alarms where d has two modes
(`tests/judge/verdict/test_decision.py` has the simulation).

**Drift.** The two processes of a round sweep over the cases by turns (`process`), so that what is
slow for longer than a sweep is slow for both: on a virtual machine with two cores it took the
spread of a round from 3.4 to 2.1 % (36 cases, 13 to 15 rounds, some 18 samples in a process). What
still slows one process as a whole slows the control kernel c_r in it too, which no commit changes,
so that E c_r = 0. It serves as a control variate: d_r − β c_r has the same mean and less variance,
with β the slope of the median case on the control over the rounds, held within [0, 1]
(`without_drift`; Deng et al. 2013). As noise only adds time, what is `typical` of a process is the
mean of the lower half of its samples.

**Variance.** After eight rounds s_w alone knows its own size badly: t quantiles are large, and a
case whose rounds agree by chance looks certain. The cases of a verdict run in the same processes on
the same machine, so their variances inform each other (Smyth 2004, eq. 5 to 8): with a scaled
inverse χ² prior of d₀ degrees of freedom and scale s₀², both estimated from all cases by the
moments of ln se², each case's se² becomes (d₀ s₀² + (h−1) se²) / (d₀ + h − 1) with d₀ + h − 1
degrees of freedom. Where cases differ widely d₀ goes to 0 and each stands alone. And where a round
moves all of its cases together, as a loaded machine does, many variances are no more than one: with
ρ² the mean square of the correlation between cases, m variances of ν degrees of freedom average to
one of ν m / (1 + (m−1) ρ²) (Satterthwaite 1946; cov(s_i², s_j²) = 2ρ²σ⁴/ν). No case gets more.

**Looks.** Rounds are added to undecided cases until a look decides them, so there are up to K
looks. Each may spend α/K; the chance of any false alarm is then at most α by the union bound,
whatever the dependence between looks, and whenever one stops (Pocock's boundary is a little less
strict, but needs the joint distribution, which trimming and quarantine spoil). At each look the
p-values of all cases go through Benjamini and Hochberg (1995) at α/K.

**Two statistics of a time.** The lower half of the samples is blind to calls that are slow now and
then, so the *mean* of all samples of a process is judged beside it, from ratios, drift and
variances of its own. A pause of the machine falls on either side alike and on few rounds, which the
trimmed mean over the rounds cuts off; still the mean is noisier, and is called only beyond the
threshold, and excluded only to four times of it (`joined`).

**Called.** A *change* must be significant after that, and its interval, at 1 − α/K, must lie beyond
a practical floor of 1 %: processes differ by layouts that no number of rounds averages out for one
build (Mytkowicz et al. 2009). *No change* means that the interval lies within ± the threshold, or
a multiple of it for quantities that nobody watches so closely (`COARSER`). All else is
*inconclusive*. Seconds are decided from the second look on: a few rounds that agree by chance, of a
case whose processes fall into two modes, are too likely after the first. But a change by a large
factor in every round (`obvious`) needs no second look, and where the time is up not even three
rounds.

**Detectable.** A lone change of δ among m cases is called with probability 95 % if
δ ≥ max(t(α/2Km) se, floor + t(α/2K) se) + t(0.05) se, t(q) being the upper quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import scipy  # its parts are imported when first used: a night without a verdict needs none
from numpy.typing import NDArray

from rnnbench.errors import InputError
from rnnbench.judge.verdict.answer import Status
from rnnbench.judge.verdict.sides import COMPILE, IMPORT, MEAN, MEMORY, TIME

COARSER = {MEMORY: 2.0, IMPORT: 4.0, COMPILE: 4.0, MEAN: 4.0}
"""Quantity → its threshold over that of times."""
TRIM = 0.1
POWER = 0.95
LEAST = 3
"""Rounds without which there is no spread to speak of."""
CLEAN_LOST = 0.003
"""Share of undisturbed rounds that the quarantine may cost: three standard deviations."""
OBVIOUS = math.log(8)
"""Log ratio that a single round must show for a change that no noise explains."""
RESOLUTION = 1e-4
"""Least standard error of a log ratio, for numbers that are the same in every round."""
WIDEST = 100.0
"""Log ratio beyond which an interval says nothing, and which no floating-point number overflows."""
TIGHTEST_PRIOR = 50.0
"""Most degrees of freedom that a case gains from the others."""

Array = NDArray[np.float64]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Rule:
    """The strictness of a verdict."""

    threshold: float = 0.05
    """The relative change to find or to exclude."""
    alpha: float = 0.01
    floor: float = 0.01
    """A change within it is none that matters."""
    looks: tuple[int, ...] = (4, 8, 12, 16, 22, 30, 40)
    """Rounds after which cases are decided; at the first, only what is no time."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha must lie between 0 and 1; got {self.alpha!r}")
        if not 0 <= self.floor < self.threshold:
            raise InputError(
                f"threshold must be above the floor of {self.floor:.0%}, below which processes "
                f"differ by their memory layouts; got {self.threshold:.3g}"
            )
        rise = list(self.looks) == sorted(set(self.looks))
        if len(self.looks) < 2 or self.looks[0] < LEAST or not rise:
            raise InputError(
                f"looks must be two or more that rise, from {LEAST} rounds on; got {self.looks!r}"
            )

    @property
    def share(self) -> float:
        """The part of alpha that one look may spend."""
        return self.alpha / len(self.looks)

    def least(self, quantity: str) -> float:
        """Return the relative change within which none is called."""
        return self.threshold if quantity == MEAN else self.floor

    def excluded(self, quantity: str) -> float:
        """Return the relative change that *no change* excludes."""
        return self.threshold * COARSER.get(quantity, 1.0)

    def decides(self, quantity: str, rounds: int) -> bool:
        """Return True if a case may be decided after so many rounds."""
        return rounds >= (self.looks[0] if quantity == MEMORY else self.looks[1])


@dataclass(frozen=True)
class Decision:
    """The outcome of one case after some rounds; ratios are head over base."""

    status: Status
    ratio: float
    low: float
    high: float
    detectable: float
    p: float | None
    """Adjusted; None where there are too few rounds for one."""
    rounds: int
    reason: str | None = None


def quarantined(controls: Sequence[tuple[float, float]], floor: float) -> list[bool]:
    """Return, for each round, True if its control kernel drifted from base to head.

    ``controls`` are the medians of its seconds, at base and at head. No commit changes the control,
    so without drift c = ln(head / base) is symmetric about 0, with the spread
    σ̂ = median|c| / Φ⁻¹(¾). A round drifted if |c| > 3 σ̂, which costs 0.3 % of the undisturbed ones.
    A drift below the floor can raise no alarm and is let pass. The cases have no say in it, so that
    what is left is no selection of their ratios.
    """
    if not controls:
        return []
    # a clock that gave nothing at all drifted, however far
    c = [abs(math.log(head / base)) if min(base, head) > 0 else math.inf for base, head in controls]
    spread = np.median(c) / scipy.stats.norm.ppf(0.75)
    limit = max(scipy.stats.norm.isf(CLEAN_LOST / 2) * spread, math.log1p(floor))
    return [bool(one > limit) for one in c]


def typical(samples: Sequence[float]) -> float:
    """Return the mean of the lower half of a process's samples, those least disturbed."""
    ordered = sorted(samples)
    return float(np.mean(ordered[: max(1, len(ordered) // 2)]))


def average(samples: Sequence[float]) -> float:
    """Return the mean of all of a process's samples, those of slow calls included."""
    return float(np.mean(samples))


def obvious(d: Sequence[float]) -> bool:
    """Return True if all log ratios have one sign, and n times the smallest is ln 8 or more.

    One round must show a factor of 8, two of 2.8 each, four of 1.7: beyond what disturbs a process.
    """
    same = len({one > 0 for one in d}) == 1
    return same and len(d) * min(map(abs, d)) >= OBVIOUS


def without_drift(
    ratios: Mapping[Key, Sequence[float]], controls: Sequence[float]
) -> dict[Key, list[float]]:
    """Subtract from log ratios of times what the control's log ratio of the same round explains.

    All have the same rounds. With fewer than `LEAST` of them, or a control that never moves,
    nothing is taken away.
    """
    d = np.array(list(ratios.values()), float)
    c = np.asarray(controls, float)
    if d.size == 0 or len(c) < LEAST:
        return {key: list(own) for key, own in ratios.items()}
    away, common = c - c.mean(), np.median(d, axis=0)
    spread = float(away @ away)
    slope = float(np.clip(away @ common / spread, 0, 1)) if spread > 0 else 0.0
    return {key: list(own - slope * c) for key, own in zip(ratios, d, strict=True)}


def decide(
    ratios: Mapping[Key, Sequence[float]],
    rule: Rule,
    quantity: Callable[[Key], str] = lambda _: TIME,
) -> dict[Key, Decision]:
    """Decide all cases of a verdict together from the log ratios of the rounds that count.

    Those of the same quantity inform each other's variance. A case with fewer than three rounds
    gets no decision unless its change is `obvious`.
    """
    early = {key: _early(d) for key, d in ratios.items() if obvious(d)}
    known = {key: np.asarray(d, float) for key, d in ratios.items() if len(d) >= LEAST}
    if not known:
        return early
    centre, se, df = np.array([_trimmed(d) for d in known.values()]).T
    quantities = np.array([quantity(key) for key in known])
    for one in set(quantities):
        alike = quantities == one
        rounds = [d for d, like in zip(known.values(), alike, strict=True) if like]
        se[alike], df[alike] = shrunk(se[alike], df[alike], together(rounds))
    p = scipy.stats.false_discovery_control(
        2 * scipy.stats.t.sf(np.abs(centre) / se, df), method="bh"
    )
    half = scipy.stats.t.isf(rule.share / 2, df) * se
    least = np.log1p([rule.least(one) for one in quantities])
    detectable = _detectable(se, df, least, rule)
    found = {
        key: Decision(
            _status(centre[i], half[i], p[i], rule, quantities[i]),
            math.exp(centre[i]),
            math.exp(max(centre[i] - half[i], -WIDEST)),
            math.exp(min(centre[i] + half[i], WIDEST)),
            math.expm1(min(detectable[i], WIDEST)),
            float(p[i]),
            len(d),
        )
        for i, (key, d) in enumerate(known.items())
    }
    return early | {
        key: one
        for key, one in found.items()
        if key not in early or one.status is not Status.INCONCLUSIVE
    }


def joined(typical: Decision, mean: Decision) -> tuple[str, Decision]:
    """Return what decides a timed case, `TIME` (its typical seconds) or `MEAN`, and the decision.

    The mean decides where it alone changed, or changed beyond all that typical calls may have; and
    the case is undecided while the mean's change can't be excluded.
    """
    calls = f"typical calls {_percent(typical.ratio)}, all calls {_percent(mean.ratio)} on average"
    if mean.status is Status.REGRESSION and mean.low > typical.high:
        return MEAN, replace(mean, reason=f"{calls}: some calls are much slower than others")
    better = typical.status in (Status.NO_CHANGE, Status.IMPROVEMENT)
    if better and mean.status is Status.IMPROVEMENT and mean.high < typical.low:
        return MEAN, replace(mean, reason=f"{calls}: fewer calls are slow")
    if typical.status is Status.NO_CHANGE and mean.status is Status.INCONCLUSIVE:
        limits = f"{_percent(mean.low)} … {_percent(mean.high)}"
        return MEAN, replace(
            mean, reason=f"typical calls did not change, the mean may have: {limits}"
        )
    return TIME, typical


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _early(d: Sequence[float]) -> Decision:
    """Return the decision on an obvious change; its interval is as wide as what is not noise."""
    centre, noise = float(np.median(d)), OBVIOUS / len(d)
    ratio, low, high = (
        math.exp(float(np.clip(one, -WIDEST, WIDEST)))
        for one in (centre, centre - noise, centre + noise)
    )
    status = Status.REGRESSION if centre > 0 else Status.IMPROVEMENT
    return Decision(status, ratio, low, high, math.expm1(noise), None, len(d))


def rounds_needed(found: Decision, rule: Rule, quantity: str) -> int | None:
    """Return the first look at which an undecided case should be decided; None for none of them.

    The interval shrinks with the square root of the rounds; it is to fit between ± the threshold,
    or to lie beyond the floor.
    """
    centre, half = abs(math.log(found.ratio)), math.log(found.high / found.low) / 2
    rooms = (
        math.log1p(rule.excluded(quantity)) - centre,
        centre - math.log1p(rule.least(quantity)),
    )
    room = max(rooms)
    if room <= 0:
        return None
    needed = max(found.rounds * (half / room) ** 2, found.rounds + 1)
    return next((look for look in rule.looks[1:] if look >= needed), None)


def _trimmed(d: Array) -> tuple[float, float, float]:
    """Return the trimmed mean, its standard error and degrees of freedom."""
    n = len(d)
    cut = int(TRIM * n)
    ordered = np.sort(d)
    left = n - 2 * cut
    se = math.sqrt(_winsorised(d).var(ddof=1) * (n - 1) / (left * (left - 1)))
    return float(ordered[cut : n - cut].mean()), max(se, RESOLUTION), left - 1


def together(rounds: Sequence[Array]) -> float:
    """Return ρ²: mean square of the correlation between cases, less that of chance, 1/(n − 1).

    Over the rounds that all have, wild ones clipped.
    """
    n = min(map(len, rounds))
    d = np.array([_winsorised(one[:n]) for one in rounds])
    d = d[d.std(axis=1) > RESOLUTION]
    if len(d) < 2:
        return 0.0
    squares = np.corrcoef(d)[np.triu_indices(len(d), 1)] ** 2
    chance = 1 / (n - 1)
    return float(np.clip((squares.mean() - chance) / (1 - chance), 0, 1))


def _winsorised(d: Array) -> Array:
    ordered, cut = np.sort(d), int(TRIM * len(d))
    return d.clip(ordered[cut], ordered[len(d) - cut - 1])


def shrunk(se: Array, df: Array, together: float) -> tuple[Array, Array]:
    """Return standard errors and degrees of freedom, shrunk towards those of the other cases.

    ln se² has mean ln s₀² + ψ(df/2) − ln(df/2) − ψ(d₀/2) + ln(d₀/2) and variance
    ψ′(df/2) + ψ′(d₀/2); ψ and ψ′ are the digamma and trigamma functions. Cases at the resolution
    are deterministic: they neither inform the others nor change.
    """
    noisy = se > RESOLUTION
    if noisy.sum() < 3:
        return se, df
    half = df[noisy] / 2
    e = 2 * np.log(se[noisy]) - scipy.special.digamma(half) + np.log(half)
    excess = e.var(ddof=1) - scipy.special.polygamma(1, half).mean()
    d0 = min(2 * _inverse_trigamma(excess), TIGHTEST_PRIOR) if excess > 0 else TIGHTEST_PRIOR
    s0 = math.exp(e.mean() + scipy.special.digamma(d0 / 2) - math.log(d0 / 2))
    shared, freedom = se.copy(), df.copy()
    shared[noisy] = np.sqrt((d0 * s0 + df[noisy] * se[noisy] ** 2) / (d0 + df[noisy]))
    worth = noisy.sum() / (1 + (noisy.sum() - 1) * together)
    freedom[noisy] = np.minimum(df[noisy] + d0, df[noisy] * worth)
    return shared, freedom


def _inverse_trigamma(y: float) -> float:
    """Return x > 0 with ψ′(x) = y > 0, by Newton's method on 1/ψ′ (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(20):
        value = float(scipy.special.polygamma(1, x))
        x += value * (1 - value / y) / float(scipy.special.polygamma(2, x))
    return x


def _detectable(se: Array, df: Array, least: Array, rule: Rule) -> Array:
    alone = scipy.stats.t.isf(rule.share / (2 * len(se)), df) * se
    beyond = least + scipy.stats.t.isf(rule.share / 2, df) * se
    return np.asarray(np.maximum(alone, beyond) + scipy.stats.t.isf(1 - POWER, df) * se)


def _status(centre: float, half: float, p: float, rule: Rule, quantity: str) -> Status:
    floor, threshold = math.log1p(rule.least(quantity)), math.log1p(rule.excluded(quantity))
    if p <= rule.share and abs(centre) - half > floor:
        return Status.REGRESSION if centre > 0 else Status.IMPROVEMENT
    if abs(centre) + half < threshold:
        return Status.NO_CHANGE
    return Status.INCONCLUSIVE
