"""The fast local loop: one call of each backend on each cell, side by side.

``tox run -e micro`` saves each run under .benchmarks; ``-- --benchmark-compare`` compares with the
last one, ``-- -k "gru and not compile"`` narrows it. No parity, no time: as in benchmarks/.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import agreement, package
from benchmarks.cases import Network
from benchmarks.network import Running

import rnnbench
from rnnbench.spec import CELLS, PHASES


@pytest.mark.parametrize("backend", rnnbench.backends())
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("phase", PHASES)
def test_one_call(benchmark, phase, cell, backend):
    network = Network(phase, backend, cell, T=16, layers=1, directions=1, shape="small")
    benchmark.group = f"{cell} {phase}"
    try:
        agreement.require(network)
    except package.UnsupportedCaseError as reason:
        pytest.skip(str(reason))
    running = Running(network)
    benchmark.extra_info.update(running.identity())
    benchmark(running.step)
