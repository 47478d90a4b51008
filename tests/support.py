"""Helpers that tests of several rooms use."""

from __future__ import annotations

import os

import pytest

import rnnbench
from rnnbench.interface import Conditions
from rnnbench.spec import Spec


def skip_unless_supported(backend: str, spec: Spec, **conditions: object) -> None:
    """Skip with the backend's own reason."""
    reason = rnnbench.get_backend(backend).supports(spec, Conditions(**conditions))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def skip_what_jax_compiles(backend: str, reason: str) -> None:
    """Skip on jax, which compiles each shape of each network for half a second and more.

    RNNBENCH_PROFILE=full runs it all.
    """
    if backend == "jax" and os.environ.get("RNNBENCH_PROFILE") != "full":
        pytest.skip(f"jax: {reason}; RNNBENCH_PROFILE=full runs it")


COMPILED_HIDDEN, COMPILED_PROJECTION = 22, 5
"""Sizes at which the compile backend's tests run: it builds graphs for each, of 3 s and more. No
multiple of a vector of any width, so that whole vectors and the elements behind them are met."""


def sizes(backend: str, hidden: int, projection: int = 0) -> tuple[int, int]:
    """Return hidden and projection size of a test: those asked for, but on compile the shared."""
    if backend != "compile":
        return hidden, projection
    return COMPILED_HIDDEN, COMPILED_PROJECTION if projection else 0


def trains(backend: str) -> bool:
    """Return whether the backend has gradients at all."""
    return rnnbench.get_backend(backend).supports(Spec("gru", 3, 4), Conditions()) is None
