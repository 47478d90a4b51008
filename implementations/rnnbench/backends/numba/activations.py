r"""tanh and the logistic function on vectors, from one polynomial for e^x − 1.

With k the whole number nearest to s x log₂e and ρ = x − k ln 2 / s (ln 2 in two parts, so that ρ is
exact but for its last rounding; Cody and Waite 1980), s a power of two or its negative,
|s ρ| ≤ ½ ln 2 and

    e^{s x} = 2^k (1 + s p),    p = (e^{s ρ} − 1) / s = ρ + ρ² q(ρ)

q interpolates at Chebyshev nodes: degree 4 in float32, 10 in float64, where its error stays below
half a unit in the last place of p. Near zero p keeps all its digits, so that

    tanh x = m / (m + 1),  m = ½ (e^{2x} − 1) = 2^k p + ½ (2^k − 1)        σ(x) = 1 / (1 + e^−x)

do so too; tanh of |x|, and x's sign. Largest errors measured against 80-bit values:
tests/backends/test_numba.py. NaN goes through; ±∞ and whatever is beyond the last value that
differs from the limit give it, and σ is 0 where it would be no normal number.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnnbench.backends.numba.vector import Vector

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class _Constants:
    """Constants of one dtype.

    ln2           its leading digits, few enough that k times them is exact, and the rest
    q             coefficients for s = 1, the constant first
    tanh_is_one   beyond it tanh is 1 in the dtype
    normal        e^x and e^−x are normal numbers up to here
    """

    ln2: tuple[float, float]
    q: tuple[float, ...]
    tanh_is_one: float
    normal: float


CONSTANTS = {
    "float32": _Constants(
        ln2=(0.693359375, -2.12194440e-4),
        q=(0.5, 0.16666576266288757, 0.04166655242443085, 0.008363292552530766,
           0.0013926326064392924),
        tanh_is_one=9.2,
        normal=87.3,
    ),
    "float64": _Constants(
        ln2=(6.93145751953125e-1, 1.42860682030941723212e-6),
        q=(0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326025,
           0.001388888888888367, 0.00019841269875205077, 2.4801587325822283e-05,
           2.75572549134867e-06, 2.7557273295539724e-07, 2.5105419192016337e-08,
           2.091483135138041e-09),
        tanh_is_one=19.1,
        normal=708.3,
    ),
}  # fmt: skip


def _exponential(x: Vector, s: float) -> tuple[Vector, Vector]:
    """Return p and 2^k, with e^{s x} = 2^k (1 + s p), for x where 2^k is a normal number."""
    constants = CONSTANTS[x.emitter.lanes.dtype]
    k, power = x.power_of_two(s * LOG2_E)
    high, low = constants.ln2
    rho = k.fma(-low / s, k.fma(-high / s, x))
    *rest, q = (x.emitter.constant(c * s ** (n + 1)) for n, c in enumerate(constants.q))
    for coefficient in reversed(rest):
        q = q.fma(rho, coefficient)
    return q.fma(rho * rho, rho), power


def tanh(x: Vector) -> Vector:
    limit = CONSTANTS[x.emitter.lanes.dtype].tanh_is_one
    p, power = _exponential(x.emitter.call("fabs", x).where(">", limit, limit), 2.0)
    m = power.fma(p, power.fma(0.5, -0.5))
    return x.emitter.call("copysign", m.over(m + 1.0), x)  # −0 stays −0


def sigmoid(x: Vector) -> Vector:
    limit = CONSTANTS[x.emitter.lanes.dtype].normal
    p, power = _exponential(x.clamp(-limit, limit), -1.0)
    value = x.emitter.constant(1.0).over((-power).fma(p, power + 1.0))
    return value.where_of(x, "<", -limit, 0.0)
