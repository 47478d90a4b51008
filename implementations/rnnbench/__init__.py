"""Recurrent networks: is it right, is it fast, and did it just get slower?

Interchangeable backends behind one interface, checked against a float64 oracle and timed over
commits. Names are imported when first used: importing rnnbench itself imports no framework.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, which do not call __getattr__
    from rnnbench import mistakes, training, truncation
    from rnnbench.diagnosis.examine import diagnose
    from rnnbench.errors import InputError, UnsupportedError
    from rnnbench.interface import (
        Backend,
        Conditions,
        Inputs,
        backends,
        get_backend,
        register,
        run,
    )
    from rnnbench.nn.modules import GRU, LSTM, RNN
    from rnnbench.nn.twins import from_torch, swap
    from rnnbench.parity.check import check
    from rnnbench.spec import Case, Spec
    from rnnbench.truncation.modes import truncated_bptt
    from rnnbench.truncation.windowing import windows

_NAMES = {
    "diagnosis.examine": ("diagnose",),
    "errors": ("InputError", "UnsupportedError"),
    "interface": ("Backend", "Conditions", "Inputs", "backends", "get_backend", "register", "run"),
    "nn.modules": ("GRU", "LSTM", "RNN"),
    "nn.twins": ("from_torch", "swap"),
    "parity.check": ("check",),
    "spec": ("Case", "Spec"),
    "truncation.modes": ("truncated_bptt",),
    "truncation.windowing": ("windows",),
}
"""Module → the public names that are imported from it."""

_HOME = {name: home for home, names in _NAMES.items() for name in names}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Backend",
    "Case",
    "Conditions",
    "InputError",
    "Inputs",
    "Spec",
    "UnsupportedError",
    "backends",
    "check",
    "diagnose",
    "from_torch",
    "get_backend",
    "mistakes",
    "register",
    "run",
    "swap",
    "training",
    "truncated_bptt",
    "truncation",
    "windows",
]


def __getattr__(name: str) -> Any:
    if name in ("mistakes", "training", "truncation"):
        return importlib.import_module(f"rnnbench.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'rnnbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rnnbench.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps a public name what it is: importing the sub-package `rnnbench.backends` would put the
    sub-package in the place of the function `rnnbench.backends`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
