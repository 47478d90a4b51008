r"""The performance a case can reach on a roofline (Williams, Waterman, Patterson 2009).

F operations (`cost.flops`) take F / P seconds at least, P being the peak of multiply-adds. The
Q bytes that the steps must read (`cost.read_bytes`) take Q / b at least, b being the bandwidth
of the level that holds what a step reads. Both may overlap, so that

    attainable = F / max(F/P, Q/b) = min(P, I · b)        I = F / Q, the intensity

With input and hidden size H, a float32 step of G·H·H weights makes 4·G·H·H·B operations forward:

    I = 4·B·G·H² / 4·(G·H² + B·H) → B   for H ≫ B/G       training 3/2 of that

so a batch of 1 does one operation for each byte and is bound by how fast the weights come in, and a
batch of 16 does 16, far to the right of every ridge P/b but the memory's: the multiply-adds bound.

The level is the first that holds one step of one layer and direction, weights and state; with n
threads each holds its part, so that the private caches count n times. What the model leaves out:
the time that h_t must wait for h_{t−1} in any case (small H: a step is shorter than its chain of
dependent instructions), everything elementwise, and loads from W_ih and of x. What it counts
strictly and need not be so: a step that is a little too large for a level could keep a part of its
weights there, and a small one could keep them in registers; close to a level's edge the fraction
can pass 1.
"""

from __future__ import annotations

from typing import NamedTuple

from rnnbench.roofline.cost import flops, read_bytes, step_bytes
from rnnbench.roofline.store import Bandwidth, Roof
from rnnbench.spec import Case


class Attainable(NamedTuple):
    """Limit of a case on a roofline.

    intensity   operations per byte
    level       level of memory that the bytes come from
    gflops      10⁹ operations per second
    bound       the smaller of the two limits, "multiply-adds" or "reads"
    """

    intensity: float
    level: str
    gflops: float
    bound: str


def attainable(case: Case, roof: Roof) -> Attainable | None:
    """Return the limit of a case on a roof; None for a dtype whose peak was not measured."""
    peak = roof.peak_gflops.get(case.spec.dtype)
    if peak is None:
        return None
    source = _holding(step_bytes(case), roof)
    intensity = flops(case) / read_bytes(case)
    by_reads = intensity * source.best
    bound = "multiply-adds" if peak.best <= by_reads else "reads"
    return Attainable(intensity, source.name, min(peak.best, by_reads), bound)


def _holding(size: int, roof: Roof) -> Bandwidth:
    """Return the first level that can hold ``size`` bytes; memory holds all."""
    return next(one for one in roof.read_gbytes if one.capacity is None or size <= one.capacity)
