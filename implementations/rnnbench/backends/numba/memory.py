"""Memory for the kernels' own arrays: vectors aligned, large arrays in NumPy's memory."""

from __future__ import annotations

from itertools import accumulate
from math import prod

import numpy as np
import torch
from torch import Tensor

LINE = 64
"""Bytes of a cache line, which a vector must not straddle: it would be read in two loads, and
products from the second-level cache ran half as fast."""

HUGE = 1 << 22
"""Bytes from which NumPy asks the system for huge pages. Torch does not: filling a new array of
4 MB took 1.4 ms with its memory and 0.14 ms with NumPy's, nearly all of it page faults."""


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return an array of that shape and ``like``'s dtype, not set, at the start of a line."""
    size, count = like.element_size(), prod(shape)
    if count * size < HUGE:
        return like.new_empty(*shape)  # a tuple would take half as long again
    memory = np.empty(count * size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    aligned = torch.from_numpy(memory[start : start + count * size])
    return aligned.view(like.dtype).view(shape)


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
