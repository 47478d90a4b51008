"""Threads that share the steps of one recurrence, and meet after each of them.

Each member of a team has a counter, on a cache line of its own, of the steps that it has finished;
a member that needs what the others made of step t waits until no counter is below t. Stores before
the counter's are seen by whoever has seen the counter (release and acquire). Waiting takes some
0.1 µs where every member has a processor; one that waits for long gives its own away.

A team may only begin when all of its members are certain to run (`threads.team`), and one that
fails must say so: the others then wait no more, and what they make is thrown away.
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
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.vector import I64

APART = 8
"""Counters from one member's to the next: a cache line."""
PATIENCE = 2000
"""Looks at a counter after which the processor is given away, some 50 µs."""

_HAS_PAUSE = platform.machine().lower() in ("x86_64", "amd64")
_give_way = types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", types.int32()
)


def _counter(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I64.as_pointer())


@intrinsic
def _seen(typing: Any, address: Any) -> Any:
    """The number at an address, and all that was stored before it."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_counter(builder, arguments[0]), "acquire", 8)

    return types.int64(types.intp), code


@intrinsic
def _show(typing: Any, address: Any, number: Any) -> Any:
    """Store a number, after all else."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _counter(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), code


@intrinsic
def _pause(typing: Any) -> Any:
    """Tell the processor that this is waiting."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _HAS_PAUSE:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), code


def counters(members: int) -> NDArray[np.int64]:
    """One for each member, and behind them the word that one has failed."""
    return np.zeros((members + 1) * APART, np.int64)


def failing(counters: NDArray[np.int64]) -> Callable[[], None]:
    """What lets nobody wait any more; no Python function, at whose beginning a handler of signals
    could raise."""
    return partial(setitem, counters, -APART, 1)


@jit
def meet(counters, who, members, count):
    """Say that ``count`` steps are done, and wait until all members have said so.

    counters   the address of `counters`
    """
    _show(counters + who * APART * 8, count)  # type: ignore[call-arg]
    for other in range(members):
        looks = 0
        while _seen(counters + other * APART * 8) < count:
            if _seen(counters + members * APART * 8) != 0:
                return
            looks += 1
            _pause()
            if looks == PATIENCE:
                _give_way()
                looks = 0
