"""The two loops that are timed: multiply-adds from registers, and reads.

**Peak.** sums[i] ← sums[i] · factor + addend, for `SUMS` vectors i independent of each other. A
core starts two multiply-adds a cycle (or one of twice the width), each of which takes four cycles
(Intel since Skylake, AMD since Zen 2; five on Haswell): ten must be under way. Registers: 12 sums,
factor and addend make 14 of the 16 that AVX2 has. A turn of the loop does `TIMES` of each, so that
counting turns costs nothing that can be seen.

**Reads.** sums[i] ← sums[i] + factor · source[…], the vectors of the source in order, one to each
sum in turn: one load and one multiply-add a vector, as in the product with a packed matrix
(`rnnbench.backends.numba.microkernel`). A core starts as many multiply-adds a cycle as loads, so
that the loads are what limits; 8 sums are two in each of four cycles.

Nothing can be left out by the compiler: factor, addend and the first sums come from memory, the
last sums go there, and a multiply-add may not be regrouped. A second pass over the source goes on
with the sums of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit

from rnnbench.backends.numba.vector import I64, Emitter, Vector, emitted
from rnnbench.backends.numba_base import OPTIONS

SUMS, TIMES = 12, 4
READS = 8
"""Sums of the reading loop, and vectors that one turn of it reads."""

Sums = list[Vector]


def _repeat(e: Emitter, times: Any, sums: Sums, body: Callable[[Any, Sums], Sums]) -> Sums:
    """Emit sums ← body(n, sums) for n from 0 to ``times`` − 1; once at least."""
    builder = e.builder
    before, loop = builder.block, builder.append_basic_block("loop")
    after = builder.append_basic_block("after_loop")
    builder.branch(loop)
    builder.position_at_end(loop)
    n, running = builder.phi(I64), [builder.phi(e.lanes.vector) for _ in sums]
    new = body(n, [Vector(e, phi) for phi in running])
    following, end = builder.add(n, I64(1)), builder.block
    builder.cbranch(builder.icmp_signed("<", following, times), loop, after)
    n.add_incoming(I64(0), before)
    n.add_incoming(following, end)
    for phi, first, again in zip(running, sums, new, strict=True):
        phi.add_incoming(first.value, before)
        phi.add_incoming(again.value, end)
    builder.position_at_end(after)
    return new


def _load(e: Emitter, address: Any, count: int) -> Sums:
    return [e.load(e.offset(address, i, e.lanes.width)) for i in range(count)]


def _store(e: Emitter, sums: Sums, address: Any) -> None:
    for i, one in enumerate(sums):
        e.store(one, e.offset(address, i, e.lanes.width))


def _emit_multiply_adds(e: Emitter, factor: Any, addend: Any, sums: Any, turns: Any) -> None:
    times, plus = e.broadcast(factor), e.broadcast(addend)

    def turn(n: Any, running: Sums) -> Sums:
        for _ in range(TIMES):
            running = [one.fma(times, plus) for one in running]
        return running

    _store(e, _repeat(e, turns, _load(e, sums, SUMS), turn), sums)


def _emit_reads(e: Emitter, factor: Any, source: Any, sums: Any, turns: Any, passes: Any) -> None:
    builder, times = e.builder, e.broadcast(factor)
    distance = ir.Constant(I64, READS * e.lanes.bytes)

    def turn(n: Any, running: Sums) -> Sums:
        read = _load(e, builder.add(source, builder.mul(n, distance)), READS)
        return [vector.fma(times, one) for vector, one in zip(read, running, strict=True)]

    def whole(n: Any, running: Sums) -> Sums:
        return _repeat(e, turns, running, turn)

    _store(e, _repeat(e, passes, _load(e, sums, READS), whole), sums)


_multiply_adds = emitted(_emit_multiply_adds)
_reads = emitted(_emit_reads)


def _run_multiply_adds(like: Any, factor: int, addend: int, sums: int, turns: int) -> None:
    _multiply_adds(like, factor, addend, sums, turns)


def _run_reads(like: Any, factor: int, source: int, sums: int, turns: int, passes: int) -> None:
    _reads(like, factor, source, sums, turns, passes)


multiply_adds: Any = njit(**OPTIONS)(_run_multiply_adds)
"""``turns`` · `TIMES` multiply-adds on each of the `SUMS` vectors at ``sums``; all are addresses
but ``turns``, at least 1, and ``like``, an array of the dtype."""

reads: Any = njit(**OPTIONS)(_run_reads)
"""Read ``turns`` · `READS` vectors at ``source``, ``passes`` times over; both at least 1."""
