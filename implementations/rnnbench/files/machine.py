"""The identity of this machine, and the versions of what computes on it."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
)
"""Variables from which libraries take the size of their thread pools."""
DISTRIBUTIONS = ("rnnbench", "torch", "numba", "llvmlite", "numpy", "onnxruntime", "jax")


def identity() -> dict[str, str]:
    """Return host and processor: figures of two runs with equal ones are of one machine."""
    found = _cpuinfo("model name", "cpu family", "model", "stepping", "CPU part")
    return {
        "host": platform.node(),
        "cpu": found.pop("model name", "") or platform.processor() or platform.machine(),
        "cpu_id": ", ".join(f"{name} {value}" for name, value in found.items()),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, the system, and the `DISTRIBUTIONS` that are installed."""
    found = {"python": platform.python_version(), "os": platform.platform()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo(*keys: str) -> dict[str, str]:
    """Return the first value of each key in /proc/cpuinfo; nothing where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = ((key, re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)) for key in keys)
    return {key: match.group(1) for key, match in lines if match}
