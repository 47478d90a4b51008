"""Recurrent networks: is it right, is it fast, and did it just get slower?

Interchangeable backends behind one interface, checked against a float64 oracle and timed over
commits. Names are imported when first used: importing rnnbench itself imports no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "RNN": "nn",
    "GRU": "nn",
    "LSTM": "nn",
    "check": "parity",
    "backends": "interface",
    "register": "interface",
    "get_backend": "interface",
    "run": "interface",
    "Backend": "interface",
    "Conditions": "interface",
    "Inputs": "interface",
    "Spec": "spec",
    "Case": "spec",
    "InputError": "errors",
    "ParityError": "errors",
    "UnsupportedError": "errors",
}

__all__ = sorted([*_PUBLIC, "mistakes"])  # noqa: PLE0605 (a list all the same)


def __getattr__(name: str) -> Any:
    if name == "mistakes":
        return importlib.import_module("rnnbench.mistakes")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rnnbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rnnbench.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
