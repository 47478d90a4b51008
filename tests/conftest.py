"""What all tests share: the list of backends, and one thread for everything."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS start their pools

import pytest
import torch

import rnnbench
from rnnbench.spec import CELLS

torch.set_num_threads(1)

BACKENDS = rnnbench.backends()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one cell on the compile backend share a worker, so that no graph is built twice."""
    for item in items:
        if "compile" in item.nodeid:
            gated = any(name in item.nodeid.lower() for name in ("gru", "lstm"))
            item.add_marker(pytest.mark.xdist_group("compile-gated" if gated else "compile-plain"))


def pytest_collection_finish() -> None:
    """Keep thousands of tests and torch's modules out of every garbage collection to come."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=BACKENDS, scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Each registered backend in turn: a new one is tested by registering it."""
    return request.param


@pytest.fixture(params=CELLS, scope="session")
def cell(request: pytest.FixtureRequest) -> str:
    return request.param
