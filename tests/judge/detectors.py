"""Detectors of change points against each other, on planted histories.

    python tests/judge/detectors.py            the table: detector × history
    python tests/judge/detectors.py --null     simulate the quantiles in history.json anew

A history is 40 nights of one case with noise of 3 % (coefficient of variation) and one planted
change. Columns give the recall (a change within two nights of the planted one) / the share of
histories with a false one (further than two nights from any planted one), and, behind @, the mean
distance in nights of those found. asv and ruptures take part where they are installed;
apache-otava does not, as it pins numpy 2.2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rnnbench.judge.history import NULL, Floats, Series, changes, gains

NIGHTS = 40
NOISE = 0.03
NEAR = 2
"""Nights that a found change may lie from the planted one."""

LENGTHS = (8, 12, 16, 24, 40, 64, 96)
PROBABILITIES = (0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995)
DRAWS = 20_000


def ar1(rng: np.random.Generator, rho: float, sd: float, nights: int = NIGHTS) -> Floats:
    """Stationary, of standard deviation sd."""
    noise = rng.standard_normal(nights) * sd
    for i in range(1, nights):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    return noise


class Noise(NamedTuple):
    """Log values and log control without any change."""

    values: Floats
    control: Floats


def _control(rng: np.random.Generator) -> Floats:
    return 0.005 * rng.standard_normal(NIGHTS)


def white(rng: np.random.Generator) -> Noise:
    return Noise(NOISE * rng.standard_normal(NIGHTS), _control(rng))


def drift(rng: np.random.Generator) -> Noise:
    """AR(0.7) that the control does not see."""
    return Noise(ar1(rng, 0.7, NOISE), _control(rng))


def shared_drift(rng: np.random.Generator) -> Noise:
    """AR(0.9) of the machine, in case and control alike, and white noise of half its size."""
    machine = ar1(rng, 0.9, NOISE)
    return Noise(machine + NOISE / 2 * rng.standard_normal(NIGHTS), machine + _control(rng))


def partly_shared(rng: np.random.Generator) -> Noise:
    """Half of the control's drift is in the case."""
    machine = ar1(rng, 0.7, NOISE)
    return Noise(machine / 2 + NOISE / 2 * rng.standard_normal(NIGHTS), machine + _control(rng))


def noisy_control(rng: np.random.Generator) -> Noise:
    """The control has noise of its own, as large as the case's, and no drift."""
    return Noise(NOISE * rng.standard_normal(NIGHTS), NOISE * rng.standard_normal(NIGHTS))


def heavy_tails(rng: np.random.Generator) -> Noise:
    """Student's t with three degrees of freedom."""
    return Noise(NOISE * rng.standard_t(3, NIGHTS) / np.sqrt(3), _control(rng))


def spikes(rng: np.random.Generator) -> Noise:
    """One night in twenty is 10 to 50 % slower."""
    spike = (rng.random(NIGHTS) < 0.05) * rng.uniform(0.1, 0.5, NIGHTS)
    return Noise(white(rng).values + spike, _control(rng))


def missing(rng: np.random.Generator) -> Noise:
    """A quarter of the nights is missing."""
    values, control = white(rng)
    return Noise(np.where(rng.random(NIGHTS) < 0.25, np.nan, values), control)


HISTORIES: tuple[Callable[[np.random.Generator], Noise], ...] = (
    white, drift, shared_drift, partly_shared, noisy_control, heavy_tails, spikes, missing,
)  # fmt: skip


class Plant(NamedTuple):
    """A relative change of the nights from ``first`` up to ``last``."""

    name: str
    size: float = 0.0
    first: int = NIGHTS
    last: int = NIGHTS

    @property
    def places(self) -> list[int]:
        return [night for night in (self.first, self.last) if night < NIGHTS]


PLANTS = (
    Plant("none"),
    Plant("+5 % mid", 0.05, 20),
    Plant("+10 % mid", 0.10, 20),
    Plant("+20 % mid", 0.20, 20),
    Plant("+10 % last 5", 0.10, 35),
    Plant("+20 % last 5", 0.20, 35),
    Plant("+10 % last 2", 0.10, 38),
    Plant("+20 % last 2", 0.20, 38),
    Plant("−10 % mid", -0.10, 20),
    Plant("+10 % mended", 0.10, 15, 25),
)


def planted(history: Callable[..., Noise], plant: Plant, seed: int) -> Series:
    """A history with a change in it; the same noise whatever is planted."""
    values, control = history(np.random.default_rng([seed, HISTORIES.index(history)]))
    values = values.copy()
    values[plant.first : plant.last] += np.log1p(plant.size)
    return Series(
        [None if np.isnan(value) else float(np.exp(value)) for value in values],
        np.exp(control).tolist(),
    )


Detector = Callable[[Series], list[int]]


def ours(series: Series) -> list[int]:
    return [change.index for change in changes(series)]


def ours_uncorrected(series: Series) -> list[int]:
    """Without the control."""
    return [change.index for change in changes(Series(series.values))]


def asv(series: Series) -> list[int]:
    """Every step that asv draws into its graphs; its regression page shows fewer."""
    from asv.step_detect import detect_steps

    return [int(step[0]) for step in detect_steps(list(series.values))[1:]]


def pelt(series: Series) -> list[int]:
    """ruptures' PELT on log values, white noise assumed, penalty 3 σ² log n (BIC for a step)."""
    import ruptures

    known = [(night, value) for night, value in enumerate(series.values) if value is not None]
    nights, y = [night for night, _ in known], np.log([value for _, value in known])
    sigma = 1.4826 * np.median(np.abs(np.diff(y))) / np.sqrt(2)
    found = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(y / sigma)
    return [nights[k] for k in found.predict(pen=3 * np.log(len(y)))[:-1]]


def pelt_corrected(series: Series) -> list[int]:
    """The same on the ratio to the control."""
    ratios = [v and v / (c or 1) for v, c in zip(series.values, series.control or (), strict=True)]
    return pelt(Series(ratios))


def detectors() -> dict[str, Detector]:
    """Those that can run here."""
    found: dict[str, Detector] = {"ours": ours, "ours, no control": ours_uncorrected}
    if importlib.util.find_spec("asv"):
        found["asv"] = asv
    if importlib.util.find_spec("ruptures"):
        found |= {"PELT": pelt, "PELT / control": pelt_corrected}
    return found


class Score(NamedTuple):
    """Of one detector on one kind of history; all but ``away`` are shares."""

    recall: float
    false: float
    away: float
    """Nights from the planted change to the one found, mean; NaN if none was found."""

    def __str__(self) -> str:
        place = "    " if np.isnan(self.away) else f"@{self.away:.1f}"
        return f"{self.recall:4.0%}/{self.false:4.0%} {place}"


def score(detect: Detector, history: Callable[..., Noise], plant: Plant, seeds: int) -> Score:
    """Over so many histories of one kind."""
    recalls, false, away = [], 0, []
    for seed in range(seeds):
        found = detect(planted(history, plant, seed))
        distances = [min((abs(k - p) for k in found), default=NIGHTS) for p in plant.places]
        recalls += [distance <= NEAR for distance in distances]
        away += [distance for distance in distances if distance <= NEAR]
        false += any(all(abs(k - p) > NEAR for p in plant.places) for k in found)
    return Score(
        float(np.mean(recalls)) if recalls else 0.0,
        false / seeds,
        float(np.mean(away)) if away else np.nan,
    )


def table(seeds: int) -> Iterator[str]:
    """Line by line."""
    chosen = detectors()
    yield f"{'history':15s}{'planted':14s}" + "".join(f"{name:18s}" for name in chosen)
    for history in HISTORIES:
        for plant in PLANTS:
            scores = "".join(f"{score(d, history, plant, seeds)!s:18s}" for d in chosen.values())
            yield f"{history.__name__:15s}{plant.name:14s}{scores}".rstrip()


def simulate(nights: int, draws: int, seed: int = 0) -> tuple[list[float], list[float]]:
    """Quantiles of Λ for one and for two further steps, in AR(1) with ρ uniform on [0, 0.9]."""
    rng = np.random.default_rng([seed, nights])
    series = [ar1(rng, rng.uniform(0, 0.9), 1.0, nights) for _ in range(draws)]
    found = gains(np.arange(nights), np.array(series).T)
    one, two = (np.quantile(gain, PROBABILITIES).round(2) for gain in (found.one, found.two))
    return one.tolist(), two.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--histories", type=int, default=200, help="per line of the table")
    parser.add_argument("--null", action="store_true", help="write history.json")
    options = parser.parse_args()
    if not options.null:
        for line in table(options.histories):
            print(line, flush=True)
        return
    rows = [simulate(nights, DRAWS) for nights in LENGTHS]
    null = {
        "nights": LENGTHS,
        "probabilities": PROBABILITIES,
        "quantiles": {"1": [one for one, _ in rows], "2": [two for _, two in rows]},
    }
    NULL.write_text(json.dumps(null, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
