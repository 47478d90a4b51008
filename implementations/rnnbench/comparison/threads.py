"""Equal threads for all: each runtime's own knob, set before it starts, and then looked at.

    torch, oneDNN       OMP_NUM_THREADS, MKL_NUM_THREADS, torch.set_num_threads
    NumPy's BLAS        OPENBLAS_NUM_THREADS, MKL_NUM_THREADS
    numba               NUMBA_NUM_THREADS
    ONNX Runtime        intra_op_num_threads = torch's (`rnnbench.backends.onnxruntime`)
    XLA (JAX)           NPROC; else as many as the process has cores

Besides, the process is given as many cores as threads (``sched_setaffinity``) before anything is
imported, which holds whatever a library does. Looked at are the size of each pool as the pool
itself says (threadpoolctl, torch, numba), the number of cores, what each backend says of its own
(``identity["threads"]``: of ONNX Runtime its session's option, of XLA the threads counted by name),
and the processor time that each candidate took while it was timed.
"""

from __future__ import annotations

import os
from typing import Any

from rnnbench.files.machine import THREAD_VARIABLES

VARIABLES = THREAD_VARIABLES

SLACK = 1.05
"""Processor time over threads × wall time that is still within what clocks can tell."""


class ThreadsError(RuntimeError):
    """A runtime uses other threads than it was given."""


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """This process's environment with every variable that a runtime reads set to ``threads``."""
    return dict(os.environ) | dict.fromkeys(VARIABLES, str(threads))


def confine(threads: int) -> None:
    """Keep to as many cores as threads; to be called before any library starts a pool."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def pin(threads: int) -> None:
    """What can only be set once torch is imported."""
    import torch

    torch.set_num_threads(threads)


def seen(threads: int) -> dict[str, int]:
    """Threads of each pool in this process; ThreadsError if a pool is not as it was pinned."""
    import torch
    from numba.core import config
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    pools = ThreadpoolController().info()
    found = {f"{pool['prefix']}": int(pool["num_threads"]) for pool in pools} | {
        "torch": torch.get_num_threads(),
        "numba": config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]
        "cores": cores(),
    }
    wrong = {name: count for name, count in found.items() if count > threads}
    if wrong or found["torch"] != threads:
        raise ThreadsError(f"every pool must have {threads} threads; got {found}")
    return found


def of_backend(identity: dict[str, Any], threads: int) -> None:
    """ThreadsError if a backend says that it runs on more than ``threads``."""
    said = identity.get("threads")
    if isinstance(said, int) and said > threads:
        raise ThreadsError(f"runs on {said} threads where {threads} were given")


def of_time(used: float, threads: int) -> None:
    """ThreadsError if more processor time passed than ``threads`` can take."""
    if used > SLACK * threads:
        raise ThreadsError(f"used {used:.2f} cores where {threads} were given")
