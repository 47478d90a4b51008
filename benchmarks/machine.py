"""What measures: the processor, the versions of what computes, and the threads in force."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba.core import config
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from . import THREADS

VECTOR_FLAGS = re.compile(r"^(avx|amx|fma|f16c|sse4|asimd|sve|neon|bf16)")
DISTRIBUTIONS = ("torch", "numba", "numpy", "scipy", "asv", "asv_runner")


class ThreadsError(RuntimeError):
    """A pool of threads is not as large as it was pinned to be."""


def _cpuinfo(*keys: str) -> str:
    """First value in /proc/cpuinfo of any of ``keys``; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^(?:{'|'.join(keys)})\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _torch_says(pattern: str) -> str | None:
    """First group of ``pattern`` in torch's description of how it was built."""
    found = re.search(pattern, torch.__config__.show())
    return found.group(1) if found else None


@cache
def facts() -> dict[str, Any]:
    """Return what does not change while a process lives."""
    flags = _cpuinfo("flags", "Features").split()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": _cpuinfo("model name") or platform.processor(),
        "instruction_sets": " ".join(sorted(filter(VECTOR_FLAGS.match, flags))),
        "capability_torch": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "os": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in DISTRIBUTIONS},
        "blas_numpy": f"{blas['name']} {blas['version']}",
        "blas_torch": _torch_says(r"BLAS_INFO=(\w+)"),
        "mkl": _torch_says(r"Math Kernel Library Version ([\d.]+)"),
        "onednn": _torch_says(r"MKL-DNN v([\d.]+)"),
    }


def _threads(controller: ThreadpoolController) -> dict[str, int]:
    """Size of each pool of threads in this process, as the pool itself says."""
    pools = {f"threads_{pool['prefix']}": pool["num_threads"] for pool in controller.info()}
    return {
        "threads_torch": torch.get_num_threads(),
        # asking numba itself would start its pool
        "threads_numba": config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]
        **pools,
    }


def pin() -> dict[str, Any]:
    """Hold every pool to its threads and return facts and threads; ThreadsError if one is not.

    The variables set in the package's `__init__` come too late for NumPy's BLAS, which asv_runner
    imports before any benchmark.
    """
    torch.set_num_threads(THREADS)
    controller = ThreadpoolController()
    controller.limit(limits=THREADS)
    threads = _threads(controller)
    wrong = {name: count for name, count in threads.items() if count > THREADS}
    if wrong or threads["threads_torch"] != THREADS:
        raise ThreadsError(f"threads must be pinned to {THREADS}; got {threads}")
    return facts() | threads
