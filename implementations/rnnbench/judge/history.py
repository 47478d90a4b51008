"""Change points in the nightly series of one case.

Values v₁ … v_n of nights t₁ < … < t_n, some nights missing; c is the control kernel's series.

1. *Drift out*: r = log v − β (log c − median log c). The machine moves both; β ∈ [0, 1] is the
   least squares slope of log v on log c, first of their differences from night to night, then of
   their deviations within the segments found. Independent noise of the control gives β ≈ 0, and
   then nothing is subtracted.
2. *Spikes out*: a night further than 4 s from the median of itself and its two neighbours tells of
   that night, not of the code (s: scale of the differences by their median, so that steps do not
   count). The last night has one neighbour only: a change is found from its second night on.
3. *Model*: r_i = μ + Σ_j δ_j [i ≥ k_j] + u_i, where u is Gaussian with correlation ρ^|t_i − t_j|:
   an AR(1), observed with gaps. With φ_i = ρ^(t_i − t_{i−1}) the rows
   (x_i − φ_i x_{i−1}) / √(1 − φ_i²) make it white; least squares is then maximum likelihood, and
   with the RSS of that fit

        2 log L = −n log RSS − Σ log(1 − φ_i²) + const,   maximised over ρ ∈ {0, .2, …, .9}.

4. *Test*: Λ = twice the gain in log L by one more step anywhere, or by two more at once (a
   regression and its repair can hide each other from a search for one). Drift of its own raises ρ̂
   in both hypotheses and gains little, which a test that assumes white noise takes for steps.
   Steps are added while Λ is above its 1 − α quantile in histories without any.
   Those quantiles have no closed form: ``history.json`` has them simulated (ρ uniform on [0, 0.9])
   by the repository's ``python tests/judge/detectors.py --null``.

Sources: AR(1) with steps, Chakar, Lebarbier, Lévy-Leduc, Robin (Bernoulli 23, 2017); one step
against none by likelihood ratio, Davis, Huang, Yao (Annals of Statistics 23, 1995); two at once,
circular binary segmentation, Olshen et al. (Biostatistics 5, 2004).

``python tests/judge/detectors.py`` compares this with asv's detector and with PELT on planted
histories. Shortcomings: a step smaller than a few standard deviations of one night needs many
nights; drift that the control does not see and that is stronger than ρ = 0.9 looks like steps;
two neighbouring spikes look like a change and its repair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.errors import InputError

Floats = NDArray[np.float64]

CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
HOLDS = 2
"""Nights that a level lasts at least."""
FEWEST = 8
"""Nights below which no change is looked for."""
WINDOW = 96
"""Nights that are searched together; a longer series in windows that overlap by half."""
SPIKE = 4.0
NOISY = 3.0
"""A night whose own standard error is so many times the usual one does not count."""
FLOOR = 1e-6
"""Relative noise that is always allowed for: counts of instructions may have none."""
NULL = Path(__file__).with_name("history.json")


@dataclass(frozen=True)
class Series:
    """One case by night; None or NaN where a night is missing.

    values   in any unit, all positive
    control  the control kernel's seconds in the same nights
    errors   relative standard error of each value, where known

    Raises InputError for lengths that differ or a value that is not positive.
    """

    values: Sequence[float | None]
    control: Sequence[float | None] | None = None
    errors: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        for name in ("control", "errors"):
            other = getattr(self, name)
            if other is not None and len(other) != len(self.values):
                raise InputError(
                    f"{name} must have {len(self.values)} nights, as values; got {len(other)}"
                )
        for name in ("values", "control"):
            given = _array(getattr(self, name) or ())
            if not np.all((given > 0) | np.isnan(given)) or np.isinf(given).any():
                raise InputError(f"{name} must be positive and finite, or None; got {min(given)!r}")


@dataclass(frozen=True)
class Change:
    """A step of the level; nights are indices into the series.

    index             first night of the new level
    earliest, latest  nights that it may have begun in (95 %), missing ones among them: the
                      commits of these nights are the ones to look at
    before, after     levels in the series' unit, drift taken out
    ratio, low, high  after / before, with its 95 % interval
    confidence        1 − the share of histories without a step that look like one as much
    """

    index: int
    earliest: int
    latest: int
    before: float
    after: float
    ratio: float
    low: float
    high: float
    confidence: float


class _Cleaned(NamedTuple):
    """Measured nights and log values, drift and spikes taken out; and the steps' places in them."""

    nights: NDArray[np.int64]
    r: Floats
    cuts: list[int]


def changes(series: Series, *, alpha: float = 0.01, least: float = 0.03) -> list[Change]:
    """Return all change points of at least ``least`` (relative), oldest first.

    alpha: probability of a false one in a series of up to `WINDOW` nights; 0.001 to 0.5.
    Raises InputError for an alpha or a least that is out of range.
    """
    if not 0.001 <= alpha <= 0.5:
        raise InputError(f"alpha must be in [0.001, 0.5]; got {alpha!r}")
    if not 0.0 <= least < 1.0:
        raise InputError(f"least must be in [0, 1); got {least!r}")
    cleaned = _clean(series, alpha)
    if cleaned is None or not cleaned.cuts:
        return []
    found = _described(cleaned)
    return [change for change in found if abs(np.log(change.ratio)) >= np.log1p(least)]


def _array(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _clean(series: Series, alpha: float) -> _Cleaned | None:
    """Take out drift and spikes, and find the steps; None for too short a series."""
    values = _array(series.values)
    counts = np.isfinite(values)
    if series.control is not None:
        control = _array(series.control)
        counts &= np.isfinite(control)
    if series.errors is not None:
        errors = _array(series.errors)
        if np.isfinite(errors).any():
            counts &= ~(errors > NOISY * np.nanmedian(errors))
    nights = np.flatnonzero(counts)
    if len(nights) < FEWEST:
        return None
    y = np.log(values[nights])
    if series.control is None:
        return _steps(nights, y, alpha)
    c = np.log(control[nights])
    c -= np.median(c)
    first = _steps(nights, y - _slope(np.diff(y), np.diff(c)) * c, alpha)
    edges = [0, *np.searchsorted(nights, first.nights[first.cuts]), len(y)]
    within = [
        np.concatenate([one[a:b] - np.median(one[a:b]) for a, b in pairwise(edges)])
        for one in (y, c)
    ]
    return _steps(nights, y - _slope(*within) * c, alpha)


def _scale(x: Floats) -> float:
    """Return the standard deviation around zero by the median, for normal x."""
    return 1.4826 * float(np.median(np.abs(x)))


def _slope(y: Floats, c: Floats) -> float:
    """Return β: least squares through zero, steps and spikes cut down to three deviations."""
    y, c = (np.clip(x, -3 * _scale(x), 3 * _scale(x)) for x in (y, c))
    return float(np.clip(y @ c / (c @ c), 0, 1)) if c.any() else 0.0


def _steps(nights: NDArray[np.int64], r: Floats, alpha: float) -> _Cleaned:
    """Drop spikes and find steps, in windows whose middle halves join."""
    keep = _no_spikes(r)
    nights, r = nights[keep], r[keep]
    n = len(r)
    starts = range(0, max(1, n - WINDOW // 2), WINDOW // 2)
    cuts: list[int] = []
    for start in starts:
        end = min(n, start + WINDOW)
        low = start + WINDOW // 4 if start else 0
        high = start + 3 * WINDOW // 4 if start != starts[-1] else n
        own = [start + cut for cut in _search(nights[start:end], r[start:end], alpha)]
        fresh = (cut for cut in own if low <= cut < high)
        cuts += [cut for cut in fresh if not cuts or cut - cuts[-1] >= HOLDS]
    return _Cleaned(nights, r, cuts)


def _no_spikes(r: Floats) -> NDArray[np.bool_]:
    """Return True for each night that agrees with a neighbour's level."""
    far = SPIKE * max(_scale(np.diff(r)) / np.sqrt(2), FLOOR)
    keep = np.ones(len(r), bool)
    keep[1:-1] = np.abs(r[1:-1] - np.median([r[:-2], r[1:-1], r[2:]], axis=0)) <= far
    keep[0] = min(abs(r[0] - r[1]), abs(r[0] - r[2])) <= far
    keep[-1] = abs(r[-1] - r[-2]) <= far
    return keep


def _search(nights: NDArray[np.int64], r: Floats, alpha: float) -> list[int]:
    """Add steps, one or two at a time, while they gain more than chance does."""
    cuts: list[int] = []
    # either test may alarm: each gets half
    bars = [quantile(len(r), steps, 1 - alpha / 2) for steps in (1, 2)]
    while True:
        gain = gains(nights, r[:, None], tuple(cuts))
        over = [float(gain.one[0]) - bars[0], float(gain.two[0]) - bars[1]]
        if max(over) <= 0:
            return cuts
        # two steps always gain more than one: they must gain what a further one has to
        if over[0] > 0 and gain.two[0] - gain.one[0] <= bars[0]:
            cuts.append(int(gain.at_one[0]))
        else:
            cuts += [int(k) for k in gain.at_two[0]]
        cuts.sort()


class Gains(NamedTuple):
    """Λ of the best further step and of the best two, for each series; −∞ where none fits."""

    one: Floats
    at_one: NDArray[np.int64]
    two: Floats
    at_two: NDArray[np.int64]


def gains(nights: NDArray[np.int64], r: Floats, cuts: tuple[int, ...] = ()) -> Gains:
    """Return the gain of further steps over those at ``cuts``; r is (nights, series)."""
    n, many = r.shape
    base, one, two = (np.full(many, -np.inf) for _ in range(3))
    at_one, at_two = np.zeros(many, np.int64), np.zeros((many, 2), np.int64)
    for fit, rss, v in _projected(nights, r, cuts):
        base = np.maximum(base, fit.likelihood(n, rss))
        if not len(fit.places):
            continue
        drop = v**2 / fit.norms[:, None]
        best = drop.argmax(axis=0)
        level = fit.likelihood(n, rss - np.take_along_axis(drop, best[None], 0)[0])
        at_one = np.where(level > one, fit.places[best], at_one)
        one = np.maximum(one, level)
        if not len(fit.pairs):
            continue
        i, j = fit.pairs.T
        for s in range(many):
            a, b = v[i, s], v[j, s]
            both = a * a * fit.wa + b * b * fit.wb - a * b * fit.wab
            pair = int(both.argmax())
            level_two = float(fit.likelihood(n, rss[s] - both[pair]))
            if level_two > two[s]:
                two[s], at_two[s] = level_two, fit.places[fit.pairs[pair]]
    return Gains(one - base, at_one, two - base, at_two)


def _projected(
    nights: NDArray[np.int64], r: Floats, cuts: tuple[int, ...]
) -> Iterator[tuple[_Fit, Floats, Floats]]:
    """Yield for each ρ the fit, the RSS of each series with the steps at ``cuts``, and Cᵀ z."""
    gaps = tuple(int(gap) for gap in np.diff(nights))
    for rho in CORRELATIONS:
        fit = _prepared(gaps, cuts, rho)
        z = _whiten(r, gaps, rho)
        z = z - fit.Q @ (fit.Q.T @ z)
        yield fit, np.sum(z**2, axis=0), fit.C.T @ z


class _Fit(NamedTuple):
    """The whitened parts of a fit that do not depend on the values.

    Q               orthonormal, spans the mean and the present steps
    C               candidate steps (n, m) without their part in Q; norms their squares
    places          where the candidates lie
    pairs           candidates two at a time; wa, wb, wab weigh a², b², ab in what they explain
    log_det         Σ log(1 − φ_i²)
    """

    Q: Floats
    C: Floats
    norms: Floats
    places: NDArray[np.int64]
    pairs: NDArray[np.int64]
    wa: Floats
    wb: Floats
    wab: Floats
    log_det: float

    def likelihood(self, n: int, rss: Any) -> Any:
        """Return 2 log L of n nights, but for a constant."""
        return -n * np.log(np.maximum(rss, n * FLOOR**2)) - self.log_det


@lru_cache(maxsize=256)
def _prepared(gaps: tuple[int, ...], cuts: tuple[int, ...], rho: float) -> _Fit:
    """Return the fit of given nights and steps; cached, as all cases of a report share nights."""
    n = len(gaps) + 1
    places = np.array(
        [k for k in range(HOLDS, n - HOLDS + 1) if all(abs(k - cut) >= HOLDS for cut in cuts)],
        dtype=np.int64,
    )
    Q = np.linalg.qr(_whiten(_columns(n, cuts), gaps, rho))[0]
    C = _whiten((np.arange(n)[:, None] >= places).astype(float), gaps, rho)
    C = C - Q @ (Q.T @ C)
    G = C.T @ C
    i, j = np.triu_indices(len(places), HOLDS)
    norms = np.diag(G)
    det = norms[i] * norms[j] - G[i, j] ** 2
    sound = det > 1e-9 * norms[i] * norms[j]  # two columns that differ, the present steps aside
    i, j, det = i[sound], j[sound], det[sound]
    log_det = float(np.log1p(-(rho ** (2 * np.array(gaps, float)))).sum())
    return _Fit(
        Q, C, norms, places, np.stack([i, j], axis=1), norms[j] / det, norms[i] / det,
        2 * G[i, j] / det, log_det,
    )  # fmt: skip


def _columns(n: int, cuts: Sequence[int]) -> Floats:
    """Return a column of ones, and one for each step."""
    return (np.arange(n)[:, None] >= np.array([0, *cuts])).astype(float)


def _whiten(x: Floats, gaps: Sequence[int], rho: float) -> Floats:
    """Return rows (x_i − φ_i x_{i−1}) / √(1 − φ_i²), the first as it is."""
    phi = (rho ** np.array(gaps, float))[:, None]
    return np.concatenate([x[:1], (x[1:] - phi * x[:-1]) / np.sqrt(1 - phi**2)])


def _described(cleaned: _Cleaned) -> list[Change]:
    """Find sizes by generalised least squares with the most likely ρ, places by likelihood."""
    from scipy.stats import t

    nights, r, cuts = cleaned
    n, gaps = len(r), np.diff(nights).tolist()
    columns = _columns(n, cuts)
    fits = []
    for rho in CORRELATIONS:
        X, z = _whiten(columns, gaps, rho), _whiten(r[:, None], gaps, rho)[:, 0]
        levels = np.linalg.lstsq(X, z)[0]
        rss = max(float(np.sum((z - X @ levels) ** 2)), n * FLOOR**2)
        log_det = np.log1p(-(rho ** (2 * np.array(gaps, float)))).sum()
        fits.append((-n * np.log(rss) - log_det, rss, levels, X))
    _, rss, levels, X = max(fits, key=lambda fit: fit[0])
    free = max(1, n - columns.shape[1] - 1)
    half = float(t.ppf(0.975, free)) * np.sqrt(np.diag(np.linalg.pinv(X.T @ X)) * rss / free)
    heights = np.exp(np.cumsum(levels))
    found = []
    for j, cut in enumerate(cuts):
        # the neighbourhood up to the steps on both sides tells where it lies, and how surely
        low = max(cuts[j - 1] if j else 0, cut - WINDOW // 2)
        high = min(cuts[j + 1] if j + 1 < len(cuts) else n, cut + WINDOW // 2)
        places, gain = _profile(nights[low:high], r[low:high])
        likely = [*(low + places[gain >= gain.max(initial=0) - 4]), cut]
        step, margin = levels[j + 1], half[j + 1]
        found.append(
            Change(
                int(nights[cut]),
                int(nights[min(likely) - 1]) + 1,
                int(nights[max(likely)]),
                float(heights[j]),
                float(heights[j + 1]),
                float(np.exp(step)),
                float(np.exp(step - margin)),
                float(np.exp(step + margin)),
                confidence(high - low, float(gain.max(initial=0))),
            )
        )
    return found


def _profile(nights: NDArray[np.int64], r: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return places of one step, and the gain there; 4 below the best lies outside of 95 %."""
    n, base = len(r), -np.inf
    levels: list[Floats] = []
    for fit, rss, v in _projected(nights, r[:, None], ()):
        base = max(base, float(fit.likelihood(n, rss[0])))
        levels.append(fit.likelihood(n, rss[0] - v[:, 0] ** 2 / fit.norms))
    return fit.places, np.max(levels, axis=0) - base


@cache
def _null() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NULL.read_text(encoding="utf-8"))
    return found


def _quantiles(n: int, steps: int) -> tuple[Floats, Floats]:
    """Return probabilities, and the quantiles of Λ without a step in a series of n nights."""
    null = _null()
    lengths, table = null["nights"], np.array(null["quantiles"][str(steps)])
    values = [np.interp(np.log(n), np.log(lengths), column) for column in table.T]
    return np.array(null["probabilities"]), np.array(values)


def quantile(n: int, steps: int, probability: float) -> float:
    """Return a quantile of Λ for one or two further steps.

    Between the simulated quantiles the tail is taken as exponential.
    """
    probabilities, values = _quantiles(n, steps)
    return float(np.interp(-np.log1p(-probability), -np.log1p(-probabilities), values))


def confidence(n: int, gain: float) -> float:
    """Return the probability that one step gains less by chance; at most the highest simulated."""
    probabilities, values = _quantiles(max(n, FEWEST), 1)
    return float(-np.expm1(-np.interp(gain, values, -np.log1p(-probabilities))))
