"""Which machine this is, and what versions compute on it."""

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
    """What must be equal for figures of two runs to be of one machine: host and processor."""
    found = _cpuinfo("model name", "cpu family", "model", "stepping", "CPU part")
    return {
        "host": platform.node(),
        "cpu": found.pop("model name", "") or platform.processor() or platform.machine(),
        "cpu_id": ", ".join(f"{name} {value}" for name, value in found.items()),
    }


def versions() -> dict[str, str]:
    """Of Python, the system, and each of the `DISTRIBUTIONS` that is installed."""
    found = {"python": platform.python_version(), "os": platform.platform()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo(*keys: str) -> dict[str, str]:
    """First value of each key in /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = ((key, re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)) for key in keys)
    return {key: match.group(1) for key, match in lines if match}
