"""Run as a program in a fresh process: seconds of the first call and of the later ones, as JSON.

The clock starts when rnnbench and torch are imported and the module is built; whatever a backend
imports, compiles or loads from its cache for its first step of training is the first call's.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from statistics import median
from time import perf_counter
from typing import Any

from .cases import Network
from .network import Running

LATER_CALLS = 5


def _seconds(running: Running) -> float:
    started = perf_counter()
    running.step()
    return perf_counter() - started


def argument(network: Network) -> str:
    """The network as this program takes it."""
    return json.dumps(asdict(network))


def measure(network: Network) -> dict[str, Any]:
    """First call, median of the later ones, and what ran."""
    running = Running(network)
    first = _seconds(running)
    later = [_seconds(running) for _ in range(LATER_CALLS)]
    return {"first": first, "later": median(later), "identity": running.identity()}


if __name__ == "__main__":
    print(json.dumps(measure(Network(**json.loads(sys.argv[1])))))  # noqa: T201
