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


BUILDERS = ("compile", "numba")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of a backend that compiles one worker, so that nothing is built twice."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {}).get("backend", "")
        for name in BUILDERS:
            if str(given).startswith(name) or item.path.stem.startswith(f"test_{name}"):
                item.add_marker(pytest.mark.xdist_group(name))
                break


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
