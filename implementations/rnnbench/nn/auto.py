"""Look up what ``backend="auto"`` takes on a CPU: the faster of torch's kernels and ours.

`TABLE` holds how many times as fast as ``native`` the backend ``numba`` was at the points of a grid
of cells, phases, dtypes, packed or not, threads, B and H, with what it was measured on. A case
takes numba where the low end of the interval is at least 1 at all points around it: the grid's next
B and H below and above, or its last. It was measured with `STEPS` steps: numba packs the weights in
every call, which longer sequences repay better and shorter ones worse, so that these go to torch.
So does whatever else the grid does not hold: other devices and dtypes, projections, autocast,
forward-mode derivatives.

``rnnbench tune`` measures the table anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rnnbench.spec import Spec

TABLE = Path(__file__).with_name("auto.json")
BATCHES = (1, 8, 64)
HIDDEN = (16, 64, 256, 512)
DTYPES = ("float32", "float64")
STEPS = 32


class Point(NamedTuple):
    """One point of the grid."""

    threads: int
    cell: str
    phase: str
    dtype: str
    packed: bool
    B: int
    H: int


@cache
def _ratios() -> dict[Point, float]:
    """Return, by point, the low end of the interval of native's time over numba's."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["points"]
    return {Point(*row["point"]): row["low"] for row in rows}


def _around(grid: Sequence[int], n: int) -> set[int]:
    """Return the grid's next values below and above n."""
    below, above = [g for g in grid if g <= n], [g for g in grid if g >= n]
    return {below[-1] if below else grid[0], above[0] if above else grid[-1]}


@cache
def numba_is_faster(spec: Spec, phase: str, packed: bool, T: int, B: int, threads: int) -> bool:
    """Return whether it was measured to be, at all points of the grid around the case."""
    if spec.dtype not in DTYPES or spec.proj_size or B < 1 or T < STEPS:
        return False
    ratios = _ratios()
    measured = sorted({point.threads for point in ratios})
    count = max((n for n in measured if n <= threads), default=measured[0])
    points = [
        Point(count, spec.cell, phase, spec.dtype, packed, near_B, near_H)
        for near_B in _around(BATCHES, B)
        for near_H in _around(HIDDEN, spec.hidden_size)
    ]
    return all(ratios.get(point, 0.0) >= 1.0 for point in points)
