"""Ratios to native, their intervals, and when a cost has paid off."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from reports.data import ratios
from reports.data.rows import load_rows
from synthetic import Project, fail_parity

INFERENCE = "speed.Inference.time_inference"


def frame(**backends: tuple[float, float, float]) -> pd.DataFrame:
    """One case: value and interval per backend."""
    lines = [
        {
            "machine": "m",
            "commit": "c",
            "environment": "e",
            "benchmark": INFERENCE,
            "kind": "inference",
            "cell": "gru",
            "backend": name,
            "params": (("backend", name), ("cell", "gru")),
            "value": value,
            "ci_a": low,
            "ci_b": high,
        }
        for name, (value, low, high) in backends.items()
    ]
    return pd.DataFrame(lines)


def test_ratio_and_interval_by_the_formula() -> None:
    found = ratios.to_baseline(frame(native=(2.0, 1.9, 2.1), numba=(1.0, 0.9, 1.1))).iloc[0]
    margin = math.hypot(math.log(2.1 / 1.9) / 2, math.log(1.1 / 0.9) / 2)
    assert found["ratio"] == 2
    assert found["ratio_a"] == pytest.approx(2 * math.exp(-margin))
    assert found["ratio_b"] == pytest.approx(2 * math.exp(margin))
    assert found["verdict"] == "faster"


def test_slower_and_unclear() -> None:
    slower = frame(native=(1.0, 0.99, 1.01), manual=(3.0, 2.9, 3.1))
    unclear = frame(native=(1.0, 0.8, 1.3), manual=(1.1, 0.9, 1.3))
    assert ratios.to_baseline(slower).iloc[0]["verdict"] == "slower"
    assert ratios.to_baseline(unclear).iloc[0]["verdict"] == "unclear"


@pytest.mark.parametrize("bounds", [(math.nan, math.nan), (-math.inf, math.inf), (0.0, 3.0)])
def test_without_an_interval_nothing_is_claimed(bounds: tuple[float, float]) -> None:
    found = ratios.to_baseline(frame(native=(9.0, 8.9, 9.1), numba=(1.0, *bounds))).iloc[0]
    assert found["ratio"] == 9
    assert math.isnan(found["ratio_a"])
    assert found["verdict"] == "unclear"


def test_no_ratio_without_the_baseline() -> None:
    assert ratios.to_baseline(frame(numba=(1.0, 0.9, 1.1), manual=(2.0, 1.9, 2.1))).empty


def test_cases_meet_only_their_own_on_their_own_machine(project: Project) -> None:
    fast, slow = project.measure(machine="fast"), project.measure(machine="slow")
    slow.values[INFERENCE] = [
        value if value is None else value * 10 for value in slow.values[INFERENCE]
    ]
    fail_parity(fast, INFERENCE, 0)
    project.write()
    found = ratios.to_baseline(load_rows(project.results))
    found = found[found["benchmark"] == INFERENCE]
    assert (found["ratio"] < 4).all()
    assert not (
        (found["machine"] == "fast") & (found["cell"] == "rnn_tanh") & (found["params"].map(first))
    ).any()
    assert len(found) == 2 * 92 - 3


def first(params: tuple[tuple[str, str], ...]) -> bool:
    """Is it the first case of its cell?"""
    return [value for _, value in params[2:]] == ["16", "1", "1", "medium"]


def test_summary_is_the_geometric_mean() -> None:
    one = frame(native=(2.0, 1.9, 2.1), numba=(1.0, 0.99, 1.01))
    two = frame(native=(8.0, 7.9, 8.1), numba=(1.0, 0.99, 1.01))
    two["params"] = [(*params, ("T", "2")) for params in two["params"]]
    line = ratios.summary(ratios.to_baseline(pd.concat([one, two]))).iloc[0]
    assert (line["mean"], line["least"], line["most"]) == (pytest.approx(4), 2, 8)
    assert (line["cases"], line["faster"], line["slower"]) == (2, 2, 0)


@pytest.mark.parametrize(
    ("extra", "baseline", "own", "calls"),
    [
        (1.0, 0.3, 0.2, 10),
        (1.0, 0.2, 0.2, math.inf),
        (1.0, 0.2, 0.3, math.inf),
        (-1.0, 0.3, 0.2, 1),
        (-1.0, 0.2, 0.3, math.inf),
    ],
)
def test_break_even(extra: float, baseline: float, own: float, calls: float) -> None:
    assert ratios.break_even(extra, baseline, own) == pytest.approx(calls, abs=1)


def test_break_even_of_the_unknown_is_unknown() -> None:
    assert math.isnan(ratios.break_even(math.nan, 1, 1))
