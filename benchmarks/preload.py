"""Done once in asv's server, so that no forked case has to: imports, compiling, loading.

Cases inherit what the server has compiled; a process that compiles or loads for itself takes up to
six seconds. No threads may be started here: they would not survive the fork. What fails is left to
the cases that need it, which say why. RNNBENCH_WARM=0 leaves it at the imports, for a run of a few
cases, or where a backend brings its process down.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from contextlib import suppress
from time import perf_counter

from . import cases, package, records
from .cases import Network
from .network import MODULES, Running

LIBRARIES = ("pandas", "scipy.special", "torch._inductor.compile_fx")
PUBLIC = ("check", "Case", "Inputs", "Spec", *{name for name, _ in MODULES.values()})


def load() -> None:
    """Import what takes long to import."""
    for library in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(library)
    for name in PUBLIC:
        with suppress(Exception):
            package.public(name)


def warm_up() -> None:
    """Run every backend, cell, phase and shape of the profile once: what compiles, compiles.

    But for the peers: they start threads of their own.
    """
    cells, shapes = (cases.values(cases.NETWORKS[axis]) for axis in ("cell", "shape"))
    for backend, cell, phase, shape in itertools.product(
        set(cases.backends()) - set(cases.BY_NIGHT), cells, ("inference", "training"), shapes
    ):
        with suppress(Exception):
            Running(Network(phase, backend, cell, 16, 1, 1, shape)).step()


if "run_server" in sys.argv:  # asv imports all benchmarks to list them, too
    _started = perf_counter()
    load()
    if os.environ.get(records.WARM, "1") != "0":
        warm_up()
    records.leave_clock("server", _started)
