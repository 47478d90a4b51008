"""Run kernels on torch's OpenMP thread pool.

After each of its parallel operations torch's second thread looks for work for some milliseconds,
and another thread that begins then has to share its processor: an LSTM's pass took 4.4 ms in place
of 1.2. So where torch runs on OpenMP, the kernels run on the same threads, of the library that
torch was linked with: GCC's runtime, or LLVM's, which has the same entry points.

    GOMP_parallel(f, data, n, flags)     f(data) on n threads, the caller being the first

A forked process has none of its parent's threads, though OpenMP assumes that it has. There, unless
the parent had no other thread, and where torch has no OpenMP, `each` must not be called (`usable`).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Forks:
    """A record of forks: does this process lack threads that OpenMP thinks it has?"""

    def __init__(self) -> None:
        self.only_thread = False
        # Such a child may import this long after its parent's threads have worked.
        self.threads_lost = (
            multiprocessing.parent_process() is not None
            and multiprocessing.get_start_method(allow_none=True) not in ("spawn", "forkserver")
        )

    def before(self) -> None:
        try:
            self.only_thread = len(os.listdir("/proc/self/task")) == 1
        except OSError:
            self.only_thread = False

    def after(self) -> None:
        self.threads_lost = self.threads_lost or not self.only_thread


_forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_child=_forks.after)


@cache
def _runtime() -> tuple[Any, Any, Any] | None:
    """Return OpenMP's functions, as torch's library finds them; None if it does not.

    They run a function on n threads, and return a thread's number, and how many they are.
    """
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        parallel = library.GOMP_parallel
        number, count = library.omp_get_thread_num, library.omp_get_num_threads
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [_ENTRY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel, number, count


def usable() -> bool:
    """Return whether `each` may be called."""
    return not _forks.threads_lost and _runtime() is not None


def each(threads: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(who, count)`` on so many threads, or fewer: ``count``, the caller being 0.

    ``work`` must not raise. Ctrl-C, or what another signal's handler raises, may keep the caller's
    from being begun.
    """
    runtime = _runtime()
    assert runtime is not None
    parallel, number, count = runtime
    parallel(_ENTRY(lambda _: work(number(), count())), None, threads, 0)
