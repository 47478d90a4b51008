r"""tanh and the logistic function on vectors, from one polynomial for e^x − 1.

With k = ⌊x log₂e + ½⌋ and r = x − k ln 2 (ln 2 in two parts, so that r is exact but for its last
rounding; Cody and Waite 1980), |r| ≤ ½ ln 2 and

    e^x = 2^k (1 + p),    p = e^r − 1 = r + r² q(r)

q interpolates (e^r − 1 − r)/r² at Chebyshev nodes: degree 4 in float32, 10 in float64, where its
error stays below half a unit in the last place of p. Near zero p keeps all its digits, so that

    tanh x = m / (m + 2),  m = e^{2x} − 1 = 2^k p + (2^k − 1)        σ(x) = 1 / (1 + e^−x)

do so too. Largest errors measured against 80-bit values: tests/backends/test_numba_activations.py.
NaN goes through; ±∞ and whatever is beyond the last value that differs from the limit give it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnnbench.backends.numba.vector import Vector

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class _Constants:
    """Of one dtype.

    ln2           its leading digits, few enough that k times them is exact, and the rest
    q             coefficients, the constant first
    tanh_is_one   beyond it tanh is 1 in the dtype
    exp_overflows e^x is finite up to here
    sigmoid_is_zero  below it σ is 0 in the dtype
    """

    ln2: tuple[float, float]
    q: tuple[float, ...]
    tanh_is_one: float
    exp_overflows: float
    sigmoid_is_zero: float


CONSTANTS = {
    "float32": _Constants(
        ln2=(0.693359375, -2.12194440e-4),
        q=(0.5, 0.16666576266288757, 0.04166655242443085, 0.008363292552530766,
           0.0013926326064392924),
        tanh_is_one=9.2,
        exp_overflows=88.0,
        sigmoid_is_zero=-103.98,
    ),
    "float64": _Constants(
        ln2=(6.93145751953125e-1, 1.42860682030941723212e-6),
        q=(0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326025,
           0.001388888888888367, 0.00019841269875205077, 2.4801587325822283e-05,
           2.75572549134867e-06, 2.7557273295539724e-07, 2.5105419192016337e-08,
           2.091483135138041e-09),
        tanh_is_one=19.1,
        exp_overflows=709.0,
        sigmoid_is_zero=-745.14,
    ),
}  # fmt: skip


def _exponential(x: Vector) -> tuple[Vector, Vector]:
    """p and 2^k, with e^x = 2^k (1 + p), for x in the range where 2^k is a normal number."""
    constants = CONSTANTS[x.emitter.lanes.dtype]
    k = x.fma(LOG2_E, 0.5).floor()
    high, low = constants.ln2
    r = k.fma(-low, k.fma(-high, x))
    *rest, q = (x.emitter.constant(c) for c in constants.q)
    for coefficient in reversed(rest):
        q = q.fma(r, coefficient)
    return q.fma(r * r, r), k.power_of_two()


def tanh(x: Vector) -> Vector:
    limit = CONSTANTS[x.emitter.lanes.dtype].tanh_is_one
    p, power = _exponential(x.clamp(-limit, limit) * 2.0)
    m = power.fma(p, power - 1.0)
    return x.emitter.call("copysign", m / (m + 2.0), x)  # −0 stays −0


def sigmoid(x: Vector) -> Vector:
    constants = CONSTANTS[x.emitter.lanes.dtype]
    limit = constants.exp_overflows
    p, power = _exponential(0.0 - x.clamp(-limit, limit))
    value = 1.0 / (power.fma(p, power) + 1.0)
    return value.where_of(x, "<", constants.sigmoid_is_zero, 0.0)
