"""What tests of several rooms use."""

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


def trains(backend: str) -> bool:
    """Whether the backend has gradients at all."""
    return rnnbench.get_backend(backend).supports(Spec("gru", 3, 4), Conditions()) is None
