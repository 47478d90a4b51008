"""Each backend against the baseline: ratio of medians, with an interval.

The interval: asv gives the median of each case and a 99 % interval of it. Taken as log-normal, a
case's standard error is the interval's width in logarithms over 2 × 2.576; the errors of the two
cases, measured one after the other and so independent, add in squares. The interval covers the
noise within one run. It knows nothing of drift between the two measurements nor of how the machine
feels today: for a verdict between two commits use ``rnnbench verdict``, which measures in pairs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

BASELINE = "native"
Z99 = 2.5758293035489004
WHERE = ["machine", "commit", "environment", "benchmark"]
RATIOS = ["baseline_value", "ratio", "ratio_a", "ratio_b", "verdict"]


def to_baseline(rows: pd.DataFrame, baseline: str = BASELINE) -> pd.DataFrame:
    """Return the rows of all other backends with ``ratio`` = baseline's value / its own value.

    Above 1 the backend is the better one. ``ratio_a`` and ``ratio_b`` bound the 99 % interval, NaN
    where asv gave none; ``verdict`` is ``faster`` or ``slower`` where the interval excludes 1, and
    else ``unclear``. Cases without a number on either side have no row.
    """
    measured = rows[rows["value"] > 0].copy()
    measured["_case"] = measured["params"].map(_without_backend)
    is_baseline = measured["backend"] == baseline
    base = measured.loc[is_baseline, [*WHERE, "_case", "value", "ci_a", "ci_b"]]
    others = measured[~is_baseline & measured["backend"].notna()]
    joined = others.merge(base, on=[*WHERE, "_case"], suffixes=("", "_base"))
    ratio = joined["value_base"] / joined["value"]
    margin = Z99 * np.hypot(
        log_error(joined["ci_a"], joined["ci_b"]),
        log_error(joined["ci_a_base"], joined["ci_b_base"]),
    )
    joined = joined.rename(columns={"value_base": "baseline_value"})
    joined["ratio"] = ratio
    joined["ratio_a"] = ratio * np.exp(-margin)
    joined["ratio_b"] = ratio * np.exp(margin)
    joined["verdict"] = np.select(
        [joined["ratio_a"] > 1, joined["ratio_b"] < 1], ["faster", "slower"], "unclear"
    )
    return joined[[*rows.columns, *RATIOS]]


def summary(ratios: pd.DataFrame, by: tuple[str, ...] = ("kind", "backend", "cell")) -> Any:
    """Return geometric mean, extremes and counts of the ratios in each group, as a frame."""
    grouped = ratios.groupby(list(by), sort=False)
    return grouped.agg(
        mean=("ratio", lambda ratio: float(np.exp(np.log(ratio).mean()))),
        least=("ratio", "min"),
        most=("ratio", "max"),
        cases=("ratio", "size"),
        faster=("verdict", lambda verdict: int((verdict == "faster").sum())),
        slower=("verdict", lambda verdict: int((verdict == "slower").sum())),
    ).reset_index()


def break_even(extra: float, baseline: float, own: float) -> float:
    """Return the calls that win back a one-off cost of ``extra`` seconds; inf for never.

    ``baseline`` and ``own`` are seconds per call. NaN where one of the three is not known.
    """
    if any(math.isnan(number) for number in (extra, baseline, own)):
        return math.nan
    if extra <= 0:
        return 1 if own <= baseline else math.inf
    return math.ceil(extra / (baseline - own)) if own < baseline else math.inf


def _without_backend(params: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in params if pair[0] != "backend")


def log_error(low: pd.Series[float], high: pd.Series[float]) -> pd.Series[float]:
    """Return the standard error of the logarithm; NaN for an interval that tells nothing."""
    usable = (low > 0) & np.isfinite(high) & (high >= low)
    width = (high / low).where(usable).map(math.log, na_action="ignore")
    return width / (2 * Z99)
