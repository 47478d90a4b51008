"""Memory for the kernels' own arrays: vectors aligned, large arrays in huge pages."""

from __future__ import annotations

from itertools import accumulate
from math import prod

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
"""Bytes of packed weights from which they lie in huge pages. They are read in every step, from the
second-level cache; where small pages happened to share that cache's sets, a GRU or LSTM of 256
units took up to 30 % longer, in one process and not in the next."""

KEPT_BYTES, MOST_KEPT = 1 << 23, 4
"""Such memory is kept for the next call, up to so many bytes, in so many pieces (as many as threads
compute at a time): the system clears a huge page for as long as some calls take. Of a piece, what
was never used takes no memory."""


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


class Pages:
    """At least ``n_bytes`` where a huge page begins; kept for another when it goes."""

    def __init__(self, n_bytes: int) -> None:
        try:
            self.memory = _kept.pop() if n_bytes <= KEPT_BYTES else _new_pages(n_bytes)
        except IndexError:
            self.memory = _new_pages(KEPT_BYTES)

    def data_ptr(self) -> int:
        first = int(self.memory.ctypes.data)
        return first + -first % HUGE_PAGE

    def __del__(self) -> None:
        if self.memory.nbytes == KEPT_BYTES + HUGE_PAGE and len(_kept) < MOST_KEPT:
            _kept.append(self.memory)


def _new_pages(n_bytes: int) -> NDArray[np.uint8]:
    return np.empty(n_bytes + HUGE_PAGE, np.uint8)


def for_weights(like: Tensor, numbers: int) -> Tensor | Pages:
    """Return memory for packed weights, of ``like``'s dtype: in huge pages if they are large."""
    n_bytes = numbers * like.element_size()
    return Pages(n_bytes) if n_bytes >= IN_PAGES else empty(like, numbers)


class Room:
    """One piece of memory for several arrays, each of whole vectors and so aligned like the first.

    addresses   of each, 0 for one without numbers
    """

    def __init__(self, like: Tensor, *numbers: int) -> None:
        *starts, total = accumulate(numbers, initial=0)
        self.memory = empty(like, total)
        first, size = self.memory.data_ptr(), like.element_size()
        self.addresses = [
            first + start * size if n else 0 for start, n in zip(starts, numbers, strict=True)
        ]
