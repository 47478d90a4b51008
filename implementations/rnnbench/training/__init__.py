"""Training for real: the same network, the same curve, on every backend.

tasks       data: Japanese Vowels (lengths 7 to 29), the adding problem (long lags)
settings    everything that determines a run
classifier  padding, packing, each sequence's own last step, dropout, linear head
planted     the classic mistakes of that reading, to show what they cost
loop        seeds, optimiser, clipping, the curve, a stop at the first NaN
checkpoint  a run on disk; resumed, it goes on as if it had never stopped
reference   the float64 oracle as a backend that can be trained on
band        how far apart rounding alone drives two runs, and who has left that band
saving      runs beside asv's results, for the report
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Settings": "settings",
    "Task": "tasks",
    "Part": "tasks",
    "load": "tasks",
    "MissingDataError": "tasks",
    "Classifier": "classifier",
    "Run": "loop",
    "Curve": "loop",
    "Band": "band",
    "measure": "band",
    "train": "sidebyside",
}
"""Public name → the module that it is imported from, when first used."""

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rnnbench.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rnnbench.training.{_HOME[name]}"), name)
