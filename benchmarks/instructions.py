"""Instructions of one step: a number that the machine's mood does not touch.

Valgrind's callgrind executes the program on a processor of its own and counts. It knows AVX2 and
no AVX-512, so torch takes its AVX2 paths, and the numba backend is compiled for AVX2 too (kept
beside its other code). The count is the median of a few steps. It is no time: cache misses, memory
and clock are not in it. Where time and count disagree, see `rnnbench.judge.verdict.channels`.

Only backends whose work is done by one thread in this process, in code that is the same each time:
`rnnbench calibrate --instructions` measures how far counts spread over ten runs. The four cases of
the nightly profile take a minute and a half, so they share one process, and the smaller profiles
have none.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from abc import abstractmethod
from dataclasses import astuple
from pathlib import Path
from statistics import median_low
from typing import Any

from . import agreement, cases, counted, package
from .base import Measured
from .cases import Network
from .memoised import once
from .records import ROOT

TOOLS = ("valgrind", "callgrind_control")
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+64bit,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx8,+cx16,+cmov,"
    "+fxsr,+mmx,+xsave,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe",
}
"""What numba compiles for: callgrind's processor."""
TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
PHASES = ("inference", "training")


def _grid() -> list[Network]:
    """Every case of the profile, in both phases."""
    return [
        Network(phase, *params)
        for phase in PHASES
        for params in itertools.product(cases.COUNTED, *cases.grid(cases.INSTRUCTIONS))
    ]


def _missing() -> str | None:
    """Return why nothing can be counted here."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"instructions are counted on x86-64 only; this is {platform.machine()}"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return (
        f"{' and '.join(absent)} not installed, so no instructions are counted" if absent else None
    )


def _process(command: list[str], argument: str, folder: Path, **variables: str) -> Any:
    """Return what the counting process answers; its own complaint if it fails."""
    done = subprocess.run(  # noqa: S603
        [*command, sys.executable, "-m", counted.__name__, argument],
        cwd=folder,
        env=os.environ | AVX2 | {"PYTHONHASHSEED": "0", "PYTHONPATH": _path()} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(said[-1] if said else f"valgrind ended with code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _path() -> str:
    """This process's own, so that the same package is counted, and this repository's benchmarks."""
    return os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])


def _supported(networks: list[Network]) -> list[Network]:
    known = package.backends()
    return [network for network in networks if network.backend in known]


def _counts() -> dict[str, Any]:
    """Case → instructions and identity, of all cases in one process."""
    networks = _supported(_grid())
    argument = json.dumps([astuple(network) for network in networks])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _process([], argument, folder)  # compiles, which under callgrind would take minutes
        out = folder / "callgrind.out"
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"]
        found = _process(
            [*callgrind, f"--callgrind-out-file={out}"], argument, folder,
            **{counted.CALLGRIND: "1"},
        )  # fmt: skip
        dumps = [Path(f"{out}.{1 + n}") for n in range(counted.STEPS * len(networks))]
        totals = [int(TOTAL.findall(dump.read_text())[-1]) for dump in dumps]
    steps = [totals[n : n + counted.STEPS] for n in range(0, len(totals), counted.STEPS)]
    return {
        repr(network): {"instructions": median_low(of_case), "identity": identity}
        for network, of_case, identity in zip(networks, steps, found["identities"], strict=True)
    }


class Counted(Measured):
    """A benchmark of one phase."""

    unit = "instructions"
    params = (list(cases.COUNTED), *cases.grid(cases.INSTRUCTIONS))
    param_names = cases.names(cases.INSTRUCTIONS)
    timeout = 1200.0

    @property
    @abstractmethod
    def phase(self) -> str:
        """Return which step is counted."""

    def prepare(self, *params: Any) -> dict[str, Any]:
        reason = _missing()
        if reason:
            raise package.UnsupportedCaseError(reason)
        network = Network(self.phase, *params)
        parity = agreement.require(network)
        self.answer = once(("instructions",), _counts)[repr(network)]
        counter = {"counter": "callgrind", **self.answer["identity"]}
        return {"parity": parity, "identity": counter}


if cases.values(cases.INSTRUCTIONS["cell"]):  # asv can't do with a parameter without values

    class Inference(Counted):
        """Forward; no gradient is kept."""

        version = "1"
        phase = "inference"

        def track_instructions(self, *params: Any) -> int:
            return int(self.answer["instructions"])

    class Training(Counted):
        """Forward and the full backward pass."""

        version = "1"
        phase = "training"

        def track_instructions(self, *params: Any) -> int:
            return int(self.answer["instructions"])
