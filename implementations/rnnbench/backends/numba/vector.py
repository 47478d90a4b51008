"""Vectors of the processor in Numba: a small language that emits LLVM IR.

Numba compiles scalar loops, and LLVM vectorises some of them; a product held in registers it does
not find. So the kernels' innermost pieces are written as functions that *emit* instructions, on
`Vector`s of `Lanes.width` numbers, and are called from compiled code as intrinsics (`emitted`).
All addresses are byte addresses as 64-bit integers; nothing is assumed to be aligned beyond the
size of one number.

How wide vectors are and how many registers hold them is the processor's, in `PROCESSORS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from rnnbench.backends.numba.compiling import dtype_of

I64 = ir.IntType(64)
I32 = ir.IntType(32)
I1 = ir.IntType(1)


@dataclass(frozen=True)
class Processor:
    """What the blocking follows: bytes of a vector register, and their number; whether there is an
    approximate reciprocal of 14 bits, in both dtypes, and a multiply-add that rounds once."""

    name: str
    vector_bytes: int
    registers: int
    reciprocals: bool = False
    fused: bool = False


PROCESSORS = (
    ("avx512f", Processor("AVX-512", 64, 32, reciprocals=True, fused=True)),
    ("avx2", Processor("AVX2", 32, 16, fused=True)),
    ("", Processor("128-bit vectors", 16, 16)),
)
"""Feature that Numba compiles for → the processor; the first that is there is taken."""


@cache
def processor() -> Processor:
    """What Numba compiles for: the host, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say."""
    features = cpu_target.target_context.codegen()._tm_features.split(",")
    return next(found for feature, found in PROCESSORS if not feature or f"+{feature}" in features)


@dataclass(frozen=True)
class Lanes:
    """The numbers in one vector register: their dtype, and how many they are."""

    dtype: str
    width: int

    @classmethod
    def of(cls, dtype: str) -> Lanes:
        """float32 or float64 on this processor."""
        return cls(dtype, processor().vector_bytes // np.dtype(dtype).itemsize)

    @property
    def size(self) -> int:
        """Bytes of one number."""
        return int(np.dtype(self.dtype).itemsize)

    @property
    def bytes(self) -> int:
        return self.size * self.width

    @property
    def scalar(self) -> Any:
        return ir.FloatType() if self.dtype == "float32" else ir.DoubleType()

    @property
    def vector(self) -> Any:
        return ir.VectorType(self.scalar, self.width)

    @property
    def integers(self) -> Any:
        """Vector of integers as wide as the numbers."""
        return ir.VectorType(ir.IntType(8 * self.size), self.width)


class Emitter:
    """Writes instructions on vectors of ``lanes`` at the builder's position."""

    def __init__(self, builder: Any, lanes: Lanes) -> None:
        self.builder = builder
        self.lanes = lanes

    def constant(self, value: float) -> Vector:
        """``value`` in every lane, rounded to the dtype."""
        rounded = float(np.dtype(self.lanes.dtype).type(value))
        return Vector(self, ir.Constant(self.lanes.vector, [rounded] * self.lanes.width))

    def load(self, address: Any) -> Vector:
        loaded = self.builder.load(self._pointer(address, self.lanes.vector))
        loaded.align = self.lanes.size
        return Vector(self, loaded)

    def store(self, vector: Vector, address: Any) -> None:
        stored = self.builder.store(vector.value, self._pointer(address, self.lanes.vector))
        stored.align = self.lanes.size

    def prefetch(self, address: Any) -> None:
        """Ask for the cache line at ``address``, which need not exist, in the second level."""
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]),
            "llvm.prefetch.p0",
        )
        to_read, second_level, data = (ir.Constant(I32, n) for n in (0, 2, 1))
        pointer = self.builder.inttoptr(address, byte)
        self.builder.call(function, [pointer, to_read, second_level, data])

    def broadcast(self, address: Any) -> Vector:
        """The one number at ``address`` in every lane."""
        number = self.builder.load(self._pointer(address, self.lanes.scalar))
        nothing = ir.Constant(self.lanes.vector, ir.Undefined)
        one = self.builder.insert_element(nothing, number, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes.width), [0] * self.lanes.width)
        return Vector(self, self.builder.shuffle_vector(one, nothing, zeros))

    def first(self, count: Any) -> Any:
        """Mask of the first ``count`` lanes; all of them if it is the width or more."""
        width = self.lanes.width
        nothing = ir.Constant(ir.VectorType(I32, width), ir.Undefined)
        narrow = self.builder.trunc(count, I32)
        one = self.builder.insert_element(nothing, narrow, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, width), [0] * width)
        counts = self.builder.shuffle_vector(one, nothing, zeros)
        numbers = ir.Constant(ir.VectorType(I32, width), list(range(width)))
        return self.builder.icmp_signed("<", numbers, counts)

    def load_masked(self, address: Any, mask: Any) -> Vector:
        """Lanes under the mask; the others are zero, and their memory is not touched."""
        vector, width = self.lanes.vector, self.lanes.width
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(vector, [vector.as_pointer(), I32, ir.VectorType(I1, width), vector]),
            f"llvm.masked.load.v{width}f{8 * self.lanes.size}.p0",
        )
        zero = ir.Constant(vector, [0.0] * width)
        align = ir.Constant(I32, self.lanes.size)
        arguments = [self._pointer(address, vector), align, mask, zero]
        return Vector(self, self.builder.call(function, arguments))

    def store_masked(self, vector: Vector, address: Any, mask: Any) -> None:
        """The lanes under the mask; the memory of the others is not touched."""
        kind, width = self.lanes.vector, self.lanes.width
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(
                ir.VoidType(), [kind, kind.as_pointer(), I32, ir.VectorType(I1, width)]
            ),
            f"llvm.masked.store.v{width}f{8 * self.lanes.size}.p0",
        )
        align = ir.Constant(I32, self.lanes.size)
        self.builder.call(function, [vector.value, self._pointer(address, kind), align, mask])

    def store_first(self, vector: Vector, address: Any, count: Any) -> None:
        """The first ``count`` lanes; without a mask if that is all of them, since what was stored
        under one cannot be read again before it has reached the cache."""
        whole = self.builder.icmp_signed(">=", count, ir.Constant(I64, self.lanes.width))
        with self.builder.if_else(whole, likely=True) as (without_mask, with_mask):
            with without_mask:
                self.store(vector, address)
            with with_mask:
                self.store_masked(vector, address, self.first(count))

    def offset(self, address: Any, elements: Any, times: Any = 1) -> Any:
        """``address`` + ``elements`` · ``times`` numbers; each an int or an emitted integer."""
        if isinstance(elements, int) and isinstance(times, int):
            return self.builder.add(address, ir.Constant(I64, elements * times * self.lanes.size))
        distance = self._integer(elements)
        for factor in (times, self.lanes.size):
            if factor != 1:
                distance = self.builder.mul(distance, self._integer(factor))
        return self.builder.add(address, distance)

    def opaque(self, integer: Any) -> Any:
        """The integer, of which LLVM does not know how it came about: sums with it are not made
        before a loop and kept on the stack."""
        kind = ir.FunctionType(I64, [I64])
        return self.builder.asm(kind, "", "=r,0", [integer], side_effect=False)

    def call(self, name: str, *vectors: Vector) -> Vector:
        """LLVM's intrinsic function ``name`` on vectors."""
        kind = self.lanes.vector
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(kind, [kind] * len(vectors)),
            f"llvm.{name}.v{self.lanes.width}f{8 * self.lanes.size}",
        )
        return Vector(self, self.builder.call(function, [v.value for v in vectors]))

    def reciprocal(self, vector: Vector) -> Vector:
        """1 / vector but for 2^−14 of it, where the processor has that."""
        kind, width, letter = (
            self.lanes.vector,
            self.lanes.width,
            "s" if self.lanes.size == 4 else "d",
        )
        lanes = ir.IntType(width)
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(kind, [kind, kind, lanes]),
            f"llvm.x86.avx512.rcp14.p{letter}.512",
        )
        every = ir.Constant(lanes, (1 << width) - 1)
        return Vector(self, self.builder.call(function, [vector.value, vector.value, every]))

    def transpose(self, rows: list[Vector]) -> list[Vector]:
        """The square of ``width`` vectors on its other side, in log₂ width rounds of shuffles.

        A round exchanges the blocks of side ``half`` that lie off the diagonal.
        """
        width = self.lanes.width
        half = width // 2
        while half:
            low, high = [], []
            for lane in range(width):
                upper = lane % (2 * half) >= half
                low.append(lane if not upper else width + lane - half)
                high.append(lane + half if not upper else width + lane)
            after = list(rows)
            for r in range(width):
                if r % (2 * half) < half:
                    after[r] = self._shuffle(rows[r], rows[r + half], low)
                    after[r + half] = self._shuffle(rows[r], rows[r + half], high)
            rows, half = after, half // 2
        return rows

    def _shuffle(self, one: Vector, two: Vector, lanes: list[int]) -> Vector:
        """Lanes of ``one`` (from 0) and ``two`` (from the width), in that order."""
        mask = ir.Constant(ir.VectorType(I32, self.lanes.width), lanes)
        return Vector(self, self.builder.shuffle_vector(one.value, two.value, mask))

    def _integer(self, value: Any) -> Any:
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def _pointer(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())


class Vector:
    """A value in a vector register, with the arithmetic of its lanes. A number means a constant."""

    def __init__(self, emitter: Emitter, value: Any) -> None:
        self.emitter = emitter
        self.value = value

    def _other(self, other: Any) -> Vector:
        return other if isinstance(other, Vector) else self.emitter.constant(other)

    def _do(self, operation: str, left: Vector, right: Vector) -> Vector:
        emit = getattr(self.emitter.builder, operation)
        return Vector(self.emitter, emit(left.value, right.value))

    def __add__(self, other: Any) -> Vector:
        return self._do("fadd", self, self._other(other))

    def __sub__(self, other: Any) -> Vector:
        return self._do("fsub", self, self._other(other))

    def __rsub__(self, other: Any) -> Vector:
        return self._do("fsub", self._other(other), self)

    def __mul__(self, other: Any) -> Vector:
        return self._do("fmul", self, self._other(other))

    def __neg__(self) -> Vector:
        return Vector(self.emitter, self.emitter.builder.fneg(self.value))

    def over(self, divisor: Vector) -> Vector:
        """self / divisor, where that and 1 / divisor are zero or normal numbers.

        A division of sixteen numbers keeps the divider busy for sixteen cycles, most of an
        activation's time. So, where d is known to 2^−14 as r, with a Newton step more in float64,

            q = a r,    a / d ≈ q + (a − d q) r

        whose error is the square of r's, and a rounding.
        """
        if not processor().reciprocals:
            return self._do("fdiv", self, divisor)
        r = self.emitter.reciprocal(divisor)
        if self.emitter.lanes.dtype == "float64":
            r = (-divisor).fma(r, 1.0).fma(r, r)
        q = self * r
        return (-divisor).fma(q, self).fma(r, q)

    def fma(self, factor: Any, addend: Any) -> Vector:
        """self · factor + addend, rounded once where the processor can: elsewhere libm's function
        would be called for every lane, and an LSTM of (B, H) = (32, 256) took ten times as long."""
        if not processor().fused:
            return self * factor + addend
        return self.emitter.call("fma", self, self._other(factor), self._other(addend))

    def where(self, relation: str, bound: Any, other: Any) -> Vector:
        """``other`` in those lanes in which ``self relation bound`` holds; NaN stays itself."""
        return self.where_of(self, relation, bound, other)

    def where_of(self, tested: Vector, relation: str, bound: Any, other: Any) -> Vector:
        """``other`` in those lanes in which ``tested relation bound`` holds, else itself."""
        builder = self.emitter.builder
        holds = builder.fcmp_ordered(relation, tested.value, self._other(bound).value)
        chosen = builder.select(holds, self._other(other).value, self.value)
        return Vector(self.emitter, chosen)

    def clamp(self, low: float, high: float) -> Vector:
        """NaN stays itself."""
        return self.where(">", high, high).where("<", low, low)

    def power_of_two(self, factor: float) -> tuple[Vector, Vector]:
        """k, the whole number nearest to self · factor, and 2^k where that is a normal number.

        Added to a number so large that there are no fractions, k stands in the sum's last digits;
        and with the exponent's bias in that number, too, it needs but be shifted to its place.
        """
        lanes, builder = self.emitter.lanes, self.emitter.builder
        bias, fraction = (127, 23) if lanes.dtype == "float32" else (1023, 52)
        large = self.emitter.constant(1.5 * 2**fraction + bias)
        total = self.fma(factor, large)
        digits = builder.bitcast(total.value, lanes.integers)
        shifted = builder.shl(digits, ir.Constant(lanes.integers, [fraction] * lanes.width))
        return total - large, Vector(self.emitter, builder.bitcast(shifted, lanes.vector))


def _size_of(typing: Any, like: Any) -> Any:
    """Bytes of one number; see `emitted`."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, dtype_of(like).bitwidth // 8)

    return types.intp(like), code


size_of: Any = intrinsic(_size_of)


def emitted(emit: Callable[..., None]) -> Any:
    """An intrinsic for compiled code, of the instructions that ``emit`` writes.

    ``emit(emitter, *integers)`` is called as ``intrinsic(like, *integers)``, where ``like``, a
    number or an array, says the dtype of the vectors and nothing else. Kernels that call one
    another hand on a number: of an array Numba would count the references in each call, which took
    a third of a small RNN's time.
    """

    def typed(typing: Any, like: Any, *integers: Any) -> Any:
        lanes = Lanes.of(str(dtype_of(like)))

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit(Emitter(builder, lanes), *arguments[1:])
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * len(integers)), code

    # Numba reads the parameters' names off the signature.
    first = inspect.Parameter("like", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = list(inspect.signature(emit).parameters.values())
    typed.__signature__ = inspect.Signature([own[0], first, *own[1:]])  # type: ignore[attr-defined]
    typed.__name__ = emit.__name__
    return intrinsic(typed)
