"""The register-blocked matrix product under all of a recurrent network's work.

    C ← C₀ + A B        A (rows, K), B (K, vectors·W), C (rows, vectors·W)

A block of `rows` × `vectors` sums stays in registers over the whole of K. Each step of k
loads the vectors of B once, and one number of A for each row, which multiplies them all:

    rows · vectors          multiply-adds, of which a core starts two a cycle
    rows + vectors          loads, of which it starts two a cycle

so that loads do not limit where rows·vectors ≥ rows + vectors, and four rows or more reuse what is
read from the second-level cache (one vector of B in `rows`/2 cycles). Registers: rows · vectors for
the sums, one row's factor, and B's vectors where the instruction cannot take them from memory.
A multiply-add takes four cycles, two start in each: fewer than eight sums would wait for
themselves, so a small block adds even and odd k (or k mod 4, 8) up apart (`chains`).

B is *packed*: its K rows of vectors·W numbers lie one behind the other (`packing`), so that the
loop reads memory in order whatever the matrix was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir

from rnnbench.backends.numba.vector import I64, Emitter, Vector, emitted, processor

LATENCY = 8
"""Sums that must be under way for multiply-adds to start every half cycle."""

MOST_ROWS = {32: {4: 6, 3: 8, 2: 8, 1: 8}, 16: {4: 2, 3: 3, 2: 4, 1: 6}}[processor().registers]
"""Vectors of a block → its most rows, by the registers: sums, B's vectors and a factor fit.

32 registers: 6 · 4 + 4 + 1, 8 · 3 + 3 + 1; 16 registers: 2 · 4 + 4 + 1, 3 · 3 + 3 + 1.
"""
ONE_ROW = dict.fromkeys(MOST_ROWS, 1)


def _chains(rows: int, vectors: int) -> int:
    chains = 1
    while chains * rows * vectors < LATENCY:
        chains *= 2
    return chains


@emitted
def multiply_block(
    e: Emitter, rows: Any, vectors: Any, a: Any, a_row: Any, a_k: Any, b: Any,
    c0: Any, c0_row: Any, c0_vector: Any, c: Any, c_row: Any, c_vector: Any, K: Any, ahead: Any,
) -> None:  # fmt: skip
    """Emit one block of C; sizes and distances are in numbers, a, b, c0 and c are addresses.

    rows ≤ MOST_ROWS[vectors], and vectors 1 to 4, choose among the blocks that are emitted. Element
    (r, k) of A is at a + r·a_row + k·a_k, vector v of row r of C at c + r·c_row + v·c_vector, of C₀
    likewise. What lies at ``ahead`` is asked for, a vector in each step of k, by blocks of
    `REUSED` rows or more.
    """

    store = _stored(e, a, a_row, a_k, b, c0, c0_row, c0_vector, c, c_row, c_vector, K, ahead)
    choose_block(e, rows, vectors, MOST_ROWS, store)


@emitted
def multiply_one_row(
    e: Emitter, vectors: Any, a: Any, a_k: Any, b: Any, c0: Any, c0_vector: Any, c: Any,
    c_vector: Any, K: Any,
) -> None:  # fmt: skip
    """Emit `multiply_block` of one row, to the same bits."""
    zero = I64(0)
    store = _stored(e, a, zero, a_k, b, c0, zero, c0_vector, c, zero, c_vector, K, None)
    choose_block(e, I64(1), vectors, ONE_ROW, store)


def _stored(
    e: Emitter, a: Any, a_row: Any, a_k: Any, b: Any, c0: Any, c0_row: Any, c0_vector: Any,
    c: Any, c_row: Any, c_vector: Any, K: Any, ahead: Any,
) -> Callable[[int, int], None]:  # fmt: skip
    """Return a function that emits a block's sums and stores them in C, for `choose_block`."""

    def store(n_rows: int, n_vectors: int) -> None:
        sums = block_sums(e, n_rows, n_vectors, a, a_row, a_k, b, K, ahead)
        for r in range(n_rows):
            for v in range(n_vectors):
                first = e.load(e.offset(e.offset(c0, c0_row, r), c0_vector, v))
                to = e.offset(e.offset(c, c_row, r), c_vector, v)
                e.store(first + sums[r * n_vectors + v], to)

    return store


REUSED = {32: 4, 16: 2}[processor().registers]
"""Rows of a block from which on a load more in each step of k costs nothing."""
UNROLLED = 4
"""Steps of k in one turn of such a block's loop, if it is not narrow: a tenth faster than one where
B comes from the second-level cache."""
PANEL = 4
"""Vectors of a panel of B where no cell's slots ask for another number."""

# Not plain 0 and 1: of a literal Numba would compile every caller's callee once more.
SAME, NEXT = np.int64(0), np.int64(1)
"""Distances: to the same row again, to the next number."""


def choose_block(
    e: Emitter,
    rows: Any,
    vectors: Any,
    most_rows: Mapping[int, int],
    body: Callable[[int, int], None],
) -> None:
    """Emit ``body(rows, vectors)`` for every block of ``most_rows``, and the choice among them."""
    builder = e.builder
    choice = builder.add(builder.mul(vectors, ir.Constant(I64, 16)), rows)
    end = builder.append_basic_block("end")
    switch = builder.switch(choice, end)
    for n_vectors, most in most_rows.items():
        for n_rows in range(1, most + 1):
            block = builder.append_basic_block(f"block_{n_rows}x{n_vectors}")
            switch.add_case(ir.Constant(I64, 16 * n_vectors + n_rows), block)
            builder.position_at_end(block)
            body(n_rows, n_vectors)
            builder.branch(end)
    builder.position_at_end(end)


def block_sums(
    e: Emitter, rows: int, vectors: int, a: Any, a_row: Any, a_k: Any, b: Any, K: Any, ahead: Any
) -> list[Vector]:
    """Emit A B of one block, row by row; the arguments are `multiply_block`'s."""
    builder = e.builder
    chains = _chains(rows, vectors)
    reused = rows >= REUSED
    at_once = UNROLLED if reused and vectors >= PANEL - 1 else chains
    starts = [e.offset(a, a_row, r) for r in range(rows)]
    step = builder.mul(a_k, ir.Constant(I64, e.lanes.size))
    whole = builder.and_(K, ir.Constant(I64, -at_once)) if at_once > 1 else ir.Constant(I64, 0)
    sums = [e.constant(0.0) for _ in range(chains * rows * vectors)]
    if at_once > 1:
        to_ask = ahead if reused else None
        sums = _loop(e, starts, step, b, ir.Constant(I64, 0), whole, vectors, at_once, sums, to_ask)
    while len(sums) > rows * vectors:
        half = len(sums) // 2
        sums = [x + y for x, y in zip(sums[:half], sums[half:], strict=True)]
    to_ask = ahead if reused and at_once == 1 else None
    return _loop(e, starts, step, b, whole, K, vectors, 1, sums, to_ask)


def _loop(
    e: Emitter,
    starts: list[Any],
    step: Any,
    b: Any,
    first: Any,
    last: Any,
    vectors: int,
    at_once: int,
    sums: list[Vector],
    ahead: Any,
) -> list[Vector]:
    """Emit sums over k from ``first`` to ``last``.

    step     bytes from one k of A to the next
    at_once  steps of k in one turn of the loop, of which last − first is a multiple
    sums     what there is at ``first``: of one chain, or of as many as divide ``at_once``, to which
             the steps are added by turns
    ahead    None, or where to ask for one vector in every step of k, which the second-level cache
             will have when it is needed: of matrices larger than it, the first block of rows would
             wait for each line of each panel
    """
    builder, lanes = e.builder, e.lanes
    row_of_b = ir.Constant(I64, vectors * lanes.bytes)
    vector = ir.Constant(I64, lanes.bytes)
    a_first = builder.mul(first, step)
    b_first = builder.add(b, builder.mul(first, row_of_b))
    before, loop, after = (
        builder.block,
        builder.append_basic_block("k"),
        builder.append_basic_block("after_k"),
    )
    builder.cbranch(builder.icmp_signed("<", first, last), loop, after)

    builder.position_at_end(loop)
    k, a_now, b_now = (builder.phi(I64) for _ in range(3))
    ahead_now = None if ahead is None else builder.phi(I64)
    running = [builder.phi(lanes.vector) for _ in sums]
    a_next, b_next, ahead_next = a_now, b_now, ahead_now
    new = [Vector(e, phi) for phi in running]
    n = 0
    for _ in range(at_once):
        row = [e.load(e.offset(b_next, v, lanes.width)) for v in range(vectors)]
        for start in starts:
            factor = e.broadcast(builder.add(start, a_next))
            for v in range(vectors):
                new[n] = factor.fma(row[v], new[n])
                n = (n + 1) % len(sums)
        a_next, b_next = e.opaque(builder.add(a_next, step)), builder.add(b_next, row_of_b)
        if ahead_next is not None:
            e.prefetch(ahead_next)
            ahead_next = builder.add(ahead_next, vector)
    k_next = builder.add(k, ir.Constant(I64, at_once))
    builder.cbranch(builder.icmp_signed("<", k_next, last), loop, after)
    if ahead_now is not None:
        ahead_now.add_incoming(ahead, before)
        ahead_now.add_incoming(ahead_next, loop)
    for phi, start, again in (
        (k, first, k_next),
        (a_now, a_first, a_next),
        (b_now, b_first, b_next),
        *((p, s.value, n.value) for p, s, n in zip(running, sums, new, strict=True)),
    ):
        phi.add_incoming(start, before)
        phi.add_incoming(again, loop)

    builder.position_at_end(after)
    results = []
    for start, value in zip(sums, new, strict=True):
        merged = builder.phi(lanes.vector)
        merged.add_incoming(start.value, before)
        merged.add_incoming(value.value, loop)
        results.append(Vector(e, merged))
    return results
