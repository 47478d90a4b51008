"""Equal threads for all runtimes: each one's own variable, set before it starts, then verified.

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
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """Return this process's environment with the variables of all runtimes set to ``threads``."""
    return dict(os.environ) | dict.fromkeys(VARIABLES, str(threads))


def confine(threads: int) -> None:
    """Keep this process to as many cores as threads; call it before a library starts a pool."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def pin(threads: int) -> None:
    """Set what can only be set once torch is imported."""
    import torch

    torch.set_num_threads(threads)


def seen(threads: int) -> dict[str, int]:
    """Return the threads of each pool in this process.

    Raises ThreadsError if a pool has another size than it was given.
    """
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
    """Raise ThreadsError if a backend reports that it runs on more than ``threads``."""
    said = identity.get("threads")
    if isinstance(said, int) and said > threads:
        raise ThreadsError(f"runs on {said} threads where {threads} were given")


def of_time(used: float, threads: int) -> None:
    """Raise ThreadsError if more cores were used on average than ``threads`` can use."""
    if used > SLACK * threads:
        raise ThreadsError(f"used {used:.2f} cores where {threads} were given")
