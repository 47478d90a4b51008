"""What tests of several rooms use."""

from __future__ import annotations

import pytest

import rnnbench
from rnnbench.interface import Conditions
from rnnbench.spec import Spec


def skip_unless_supported(backend: str, spec: Spec, **conditions: object) -> None:
    """Skip with the backend's own reason."""
    reason = rnnbench.get_backend(backend).supports(spec, Conditions(**conditions))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")
