"""The rows of a layer's arrays in the order in which one direction goes through them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbench.bptt.recurrence import Layout

Integers = NDArray[np.int64]


class RowOrder(NamedTuple):
    """Rows in the order of a direction's loop.

    steps   (T, 2): first row and number of rows of each step
    before  (N,): the row that holds h_{t−1} of each row, or ~i for row i of h0
    last    (B,): each sequence's last row
    """

    steps: Integers
    before: Integers
    last: Integers


def row_order(layout: Layout, *, reverse: bool) -> RowOrder:
    if layout.dense:
        return _dense_order(layout.T, layout.B, reverse)
    return _make_order(np.array(layout.batch_sizes, np.int64), reverse=reverse)


@lru_cache(maxsize=64)
def _dense_order(T: int, B: int, reverse: bool) -> RowOrder:
    return _make_order(np.full(T, B, np.int64), reverse=reverse)


def _make_order(sizes: Integers, *, reverse: bool) -> RowOrder:
    B, N = int(sizes[0]), int(sizes.sum())
    starts = np.cumsum(sizes) - sizes
    row = np.arange(N)
    step = np.repeat(np.arange(len(sizes)), sizes)
    sequence = row - starts[step]
    other = step + (1 if reverse else -1)
    inside = np.clip(other, 0, len(sizes) - 1)
    exists = (other == inside) & (sequence < sizes[inside])
    before = np.where(exists, starts[inside] + sequence, ~sequence)
    steps = np.stack([starts, sizes], axis=1)
    if reverse:
        last = np.arange(B)
    else:
        lengths = (sizes[:, None] > np.arange(B)).sum(0)
        last = starts[lengths - 1] + np.arange(B)
    return RowOrder(np.ascontiguousarray(steps[::-1] if reverse else steps), before, last)
