"""A kernel that no commit of ours can change: where its time moves, the machine did.

NumPy and nothing of the package; products and elementwise functions in the mix of a cell's step.
Never edit it: a faster control is another control, under another name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import cases
from .base import Measured

STEPS = 64


class Control(Measured):
    """h ← tanh(W h), a fixed number of times."""

    version = "1"
    repeat, sample_time, warmup_time, rounds = cases.SAMPLING

    def prepare(self, *params: Any) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        self.W = rng.standard_normal((256, 256), dtype=np.float32) / 16
        self.h = rng.standard_normal((256, 32), dtype=np.float32)
        self.out = np.empty_like(self.h)
        return {"identity": {"kernel": "NumPy matmul and tanh"}}

    def time_matmul(self) -> None:
        h = self.h
        for _ in range(STEPS):
            np.matmul(self.W, h, out=self.out)
            h = np.tanh(self.out)
