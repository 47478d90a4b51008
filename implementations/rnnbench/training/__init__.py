"""Whole trainings: the same network must have the same curve on every backend.

tasks       data: Japanese Vowels (lengths 7 to 29), the adding problem (long lags)
settings    everything that determines a run
network     padding, packing, reading of the states (right, or with a mistake), linear head
loop        seeds, optimiser, clipping, the curve, a stop at the first NaN
checkpoint  a run on disk; a resumed run goes on as if it had never stopped
reference   the float64 oracle as a backend that can be trained on
band        distances that rounding alone makes between two runs, and the runs beyond them
sidebyside  backends trained by turns, and their results for the report
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
    "Classifier": "network",
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
