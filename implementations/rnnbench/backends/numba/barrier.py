"""A barrier for the threads that share the steps of one recurrence.

Each member of a team counts the steps that it has finished, in a counter on a cache line of its
own. A member that needs the others' results of step t waits until no counter is below t. A thread
that has seen a counter sees all that was stored before it (release and acquire). Waiting takes some
0.1 µs if every member has a processor; after `PATIENCE` looks a member yields its own.

A team may only begin when all of its members are certain to run (`threads.team`). If one fails, the
abort callback releases the others, and their results are thrown away.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import partial
from operator import setitem
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from rnnbench.backends.numba.compiling import declared, intrinsic_of, jit
from rnnbench.backends.numba.vector import I32, I64

APART = 8
"""Counters from one member's to the next: a cache line."""
PATIENCE = 2000
"""Looks at a counter after which the processor is yielded, some 50 µs."""

_HAS_PAUSE = platform.machine().lower() in ("x86_64", "amd64")
_YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I64.as_pointer())


def _emit_load(builder: Any, _: Any, address: Any) -> Any:
    return builder.load_atomic(_pointer(builder, address), "acquire", 8)


def _emit_store(builder: Any, _: Any, address: Any, number: Any) -> None:
    builder.store_atomic(number, _pointer(builder, address), "release", 8)


def _emit_pause(builder: Any, _: Any) -> None:
    if _HAS_PAUSE:
        builder.call(declared(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])


def _emit_yield(builder: Any, _: Any) -> None:
    builder.call(declared(builder, _YIELD, I32, []), [])


_load = intrinsic_of("load", ["address"], _emit_load, returns=types.int64)
"""The number at an address, and all that was stored before it."""
_store = intrinsic_of("store", ["address", "number"], _emit_store)
"""Store a number at an address, after all else."""
_pause = intrinsic_of("pause", [], _emit_pause)
"""Tell the processor that this thread is waiting."""
_yield_processor = intrinsic_of("yield_processor", [], _emit_yield)
"""Let another thread have the processor."""


def counters(members: int) -> NDArray[np.int64]:
    """Return a counter for each member, and behind them the word that one has failed."""
    return np.zeros((members + 1) * APART, np.int64)


def abort_callback(counters: NDArray[np.int64]) -> Callable[[], None]:
    """Return a callback that releases all waiting threads.

    It is no Python function, at whose beginning a handler of signals could raise.
    """
    return partial(setitem, counters, -APART, 1)


@jit
def wait(counters, who, members, count):
    """Say that ``count`` steps are done, and wait until all members have said so.

    counters   the address of `counters`
    """
    _store(counters + who * APART * 8, count)
    for other in range(members):
        looks = 0
        while _load(counters + other * APART * 8) < count:
            if _load(counters + members * APART * 8) != 0:
                return
            looks += 1
            _pause()
            if looks == PATIENCE:
                _yield_processor()
                looks = 0
