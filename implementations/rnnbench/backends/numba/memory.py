"""Memory for the kernels' own arrays: vectors aligned, large arrays in huge pages."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LINE = 64
"""Bytes of a cache line, which a vector must not straddle: it would be read in two loads, and
products from the second-level cache ran half as fast."""

HUGE = 1 << 22
"""Bytes from which NumPy asks the system for huge pages. Torch does not: filling a new array of
4 MB took 1.4 ms with its memory and 0.14 ms with NumPy's, nearly all of it page faults."""


HUGE_PAGE = 1 << 21

IN_PAGES = 1 << 18
"""Bytes of packed weights from which a `Room` lies in huge pages. They are read in every step, from
the second-level cache; where small pages happened to share that cache's sets, a GRU or LSTM of 256
units took up to 30 % longer, in one process and not in the next."""

KEPT_BYTES, MOST_KEPT = 1 << 23, 4
"""Such a room's memory is kept for the next call, up to so many bytes, in so many pieces (as many
as threads compute at a time): the system clears a huge page for as long as some calls take. Of a
piece, what was never used takes no memory."""


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return an array of that shape and ``like``'s dtype, not set, at the start of a line."""
    size, count = like.element_size(), prod(shape)
    if count * size < HUGE:
        return like.new_empty(*shape)  # a tuple would take half as long again
    memory = np.empty(count * size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    aligned = torch.from_numpy(memory[start : start + count * size])
    return aligned.view(like.dtype).view(shape)


_kept: list[NDArray[np.uint8]] = []


class _Pages:
    """At least ``n_bytes`` from ``address`` on, where a huge page begins; kept when it goes."""

    def __init__(self, n_bytes: int) -> None:
        try:
            self.memory = _kept.pop() if n_bytes <= KEPT_BYTES else _new_pages(n_bytes)
        except IndexError:
            self.memory = _new_pages(KEPT_BYTES)
        first = self.memory.ctypes.data
        self.address = first + -first % HUGE_PAGE

    def __del__(self) -> None:
        if self.memory.nbytes == KEPT_BYTES + HUGE_PAGE and len(_kept) < MOST_KEPT:
            _kept.append(self.memory)


def _new_pages(n_bytes: int) -> NDArray[np.uint8]:
    return np.empty(n_bytes + HUGE_PAGE, np.uint8)


class Room:
    """One piece of memory for several arrays, each of whole vectors and so aligned like the first.

    addresses   of each, 0 for one without numbers
    """

    def __init__(self, like: Tensor, *numbers: int, weights: bool = False) -> None:
        """weights: whether it holds packed weights, for which it may lie in huge pages."""
        *starts, total = accumulate(numbers, initial=0)
        size = like.element_size()
        if weights and total * size >= IN_PAGES:
            self.memory: Any = _Pages(total * size)
            first = self.memory.address
        else:
            self.memory = empty(like, total)
            first = self.memory.data_ptr()
        self.addresses = [
            first + start * size if n else 0 for start, n in zip(starts, numbers, strict=True)
        ]
