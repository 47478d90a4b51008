"""What is paid before the steady state: importing, compiling, the first call.

All in fresh processes. An empty cache is a folder made for this run; a warm one is the folder that
the run with the empty cache has filled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

from . import agreement, cases, first_call, package
from .base import Measured
from .cases import Network
from .memoised import once, place
from .records import ROOT

CACHE_VARIABLES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
IMPORTS = 3


def _fresh(*arguments: str, environment: dict[str, str]) -> str:
    """Last line of what a fresh Python prints; its own complaint if it fails."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip().splitlines()[-1]


def _first_call(network: Network, cache: str) -> dict[str, Any]:
    """Return what `first_call` measures, once a run for each network and cache."""
    folder = place(("cache", network))

    def run() -> Any:
        environment = dict.fromkeys(CACHE_VARIABLES, str(folder))
        answer = _fresh(
            "-m", first_call.__name__, first_call.argument(network), environment=environment
        )
        return json.loads(answer)

    empty = once(("first call", network, "empty"), run)
    return dict(empty if cache == "empty" else once(("first call", network, cache), run))


class FirstCall(Measured):
    """Seconds of the first step of training in a process, with an empty and with a warm cache."""

    version = "1"
    unit = "seconds"
    params = cases.params(cases.FIRST_CALL)
    param_names = cases.names(cases.FIRST_CALL)

    def prepare(self, *params: Any) -> dict[str, Any]:
        backend, cell, cache = params
        network = _network(backend, cell, cases.FIRST_CALL_STEPS)
        parity = agreement.require(network)
        self.answer = _first_call(network, cache)
        return {"parity": parity, "identity": self.answer["identity"]}

    def track_first_call(self, *params: Any) -> float:
        return float(self.answer["first"])


class Compile(Measured):
    """Seconds of the first call, cache empty, that no later call pays: compiling, in the main."""

    version = "1"
    unit = "seconds"
    params = cases.params(cases.COMPILE)
    param_names = cases.names(cases.COMPILE)

    def prepare(self, *params: Any) -> dict[str, Any]:
        network = _network(*params)
        parity = agreement.require(network)
        self.answer = _first_call(network, "empty")
        return {"parity": parity, "identity": self.answer["identity"]}

    def track_compile_seconds(self, *params: Any) -> float:
        return float(self.answer["first"] - self.answer["later"])


class Import(Measured):
    """Seconds to import a package in a fresh process."""

    version = "1"
    unit = "seconds"
    params = ((package.PACKAGE, "torch"),)
    param_names = ("package",)

    def prepare(self, *params: Any) -> dict[str, Any]:
        return {"identity": {"kernel": f"import {params[0]}"}}

    def track_import_seconds(self, name: str) -> float:
        code = f"from time import *; t = perf_counter(); import {name}; print(perf_counter() - t)"
        return median(float(_fresh("-c", code, environment={})) for _ in range(IMPORTS))


def _network(backend: str, cell: str, T: int) -> Network:
    return Network("training", backend, cell, T, 1, 1, cases.COLD_SHAPE)
