"""The right-hand side of a product, laid out in the order in which the product reads it.

The columns of B are cut into vectors of W numbers, and vectors into panels (`microkernel.PANEL`, or
a cell's gates), the last panel taking what is left. A panel holds for each k its vectors in a row:

    packed[panel][k][vector][lane] = B[k, columns of the vector + lane]

Lanes beyond a vector's columns are zero. Where B is a transposed weight, a vector's columns are W
rows of it, which are turned W × W numbers at a time in registers.
"""

from __future__ import annotations

from typing import Any

from rnnbench.backends.numba.compiling import jit
from rnnbench.backends.numba.microkernel import PANEL
from rnnbench.backends.numba.vector import I64, Emitter, Vector, emitted, size_of


@emitted
def turn_tile(
    e: Emitter, source: Any, distance: Any, rows: Any, columns: Any, out: Any, out_row: Any
) -> None:
    """Emit a transposition of up to W × W numbers: out[k, lane] = source[lane, k].

    Rows and columns may be fewer than W. Lanes beyond ``rows`` are zero; no row of ``out`` beyond
    ``columns`` is written.
    """
    builder, width = e.builder, e.lanes.width
    nothing, full = (I64(n) for n in (0, width))
    whole = builder.and_(
        builder.icmp_signed(">=", rows, full), builder.icmp_signed(">=", columns, full)
    )
    with builder.if_else(whole) as (without_masks, with_masks):
        with without_masks:
            read = [e.load(e.offset(source, distance, r)) for r in range(width)]
            for k, vector in enumerate(e.transpose(read)):
                e.store(vector, e.offset(out, out_row, k))
        with with_masks:
            read = []
            for r in range(width):
                exists = builder.icmp_signed("<", I64(r), rows)
                mask = e.first(builder.select(exists, columns, nothing))
                read.append(e.load_masked(e.offset(source, distance, r), mask))
            for k, vector in enumerate(e.transpose(read)):
                exists = builder.icmp_signed("<", I64(k), columns)
                mask = e.first(builder.select(exists, full, nothing))
                e.store_masked(vector, e.offset(out, out_row, k), mask)


@emitted
def copy_vector(e: Emitter, source: Any, count: Any, out: Any) -> None:
    """Emit a copy of the first ``count`` numbers, the rest of the vector zero."""
    e.store(e.load_masked(source, e.first(count)), out)


@emitted
def copy_part(e: Emitter, source: Any, count: Any, out: Any) -> None:
    """Emit a copy of the first ``count`` numbers of a vector; no memory behind is touched."""
    mask = e.first(count)
    e.store_masked(e.load_masked(source, mask), out, mask)


@emitted
def add_parts(e: Emitter, one: Any, count_one: Any, two: Any, count_two: Any, out: Any) -> None:
    """Emit the sum of both, each with so many numbers and zeros behind them."""
    e.store(e.load_masked(one, e.first(count_one)) + e.load_masked(two, e.first(count_two)), out)


@emitted
def add_rows(e: Emitter, source: Any, rows: Any, out: Any) -> None:
    """Emit out ← out + the sum of ``rows`` vectors that lie one behind the other."""
    builder = e.builder
    before, loop = builder.block, builder.append_basic_block("row")
    after = builder.append_basic_block("after_rows")
    zero = e.constant(0.0)
    builder.branch(loop)
    builder.position_at_end(loop)
    n, total = builder.phi(I64), builder.phi(e.lanes.vector)
    new = Vector(e, total) + e.load(e.offset(source, n, e.lanes.width))
    following = builder.add(n, I64(1))
    builder.cbranch(builder.icmp_signed("<", following, rows), loop, after)
    for phi, first, again in ((n, I64(0), following), (total, zero.value, new.value)):
        phi.add_incoming(first, before)
        phi.add_incoming(again, loop)
    builder.position_at_end(after)
    e.store(e.load(out) + new, out)


@jit
def pack_rows(like, source, distance, other, other_distance, index, columns, width, out):
    """Pack B: its row k is row index[k] of ``source``, or row ~index[k] of ``other`` if it is < 0.

    columns, distance   of B, and numbers from a row of ``source`` to the next
    """
    size = size_of(like)
    K = len(index)
    vectors = (columns + width - 1) // width
    for start in range(0, vectors, PANEL):
        panel = min(PANEL, vectors - start)
        for k in range(K):
            if index[k] >= 0:
                row = source + index[k] * distance * size
            else:
                row = other + ~index[k] * other_distance * size
            for v in range(panel):
                column = (start + v) * width
                copy_vector(
                    like, row + column * size, columns - column,
                    out + (k * panel + v) * width * size,
                )  # fmt: skip
        out += K * panel * width * size
