"""What all tests share: the list of backends, and one thread for everything."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS start their pools

import pytest
import torch

import rnnbench
from rnnbench.spec import CELLS

torch.set_num_threads(1)

BACKENDS = rnnbench.backends()


@pytest.fixture(params=BACKENDS, scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Each registered backend in turn: a new one is tested by registering it."""
    return request.param


@pytest.fixture(params=CELLS, scope="session")
def cell(request: pytest.FixtureRequest) -> str:
    return request.param
