"""A case with its numbers, and what the oracle says about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from rnnbench.parity.oracle import Array, oracle
from rnnbench.spec import UNIT_ROUNDOFF, Case

ORACLE_PRECISION = dict.fromkeys(UNIT_ROUNDOFF, np.float64) | {"float64": np.longdouble}
"""A float64 oracle shares its rounding errors with float64 candidates that sum in the same order
(torch's then look like 0); 80-bit arithmetic, where the platform has it, does not."""


@dataclass(frozen=True)
class Problem:
    """A case with its numbers: float64 arrays that are exact in the dtype of the spec."""

    case: Case
    x: Array
    state: tuple[Array, ...]
    weights: Mapping[str, Array]
    upstream: Mapping[str, Array]
    masks: tuple[Array, ...] | None

    def expected(self) -> dict[str, Array]:
        """Every quantity according to the oracle."""
        return oracle(
            self.case.spec,
            self.x,
            self.state,
            self.weights,
            upstream=self.upstream if self.case.training else None,
            lengths=self.case.lengths,
            masks=self.masks,
        )


def _rounded(values: Array, dtype: str) -> Array:
    """The numbers nearest in ``dtype``, as arrays of the oracle's precision for it."""
    exact = torch.from_numpy(values).to(getattr(torch, dtype)).double().numpy()
    return exact.astype(ORACLE_PRECISION[dtype])


def pose(case: Case) -> Problem:
    """Random numbers for a case: weights U(±1/√H) as torch draws them, biases as large, non-zero
    state, and random upstream gradients for output *and* states. The same case, the same numbers.
    """
    spec = case.spec
    rng = np.random.default_rng(
        [case.seed, crc32(replace(case, phase="training").name.encode()), case.T]
    )
    bound = 1 / math.sqrt(spec.hidden_size)
    normal, uniform = rng.standard_normal, rng.uniform
    x = normal((case.T, case.B, spec.input_size))
    for b, length in enumerate(case.lengths or ()):
        x[length:, b] = 0.0
    shapes = spec.state_shapes(case.B)
    scale = 0.5 if case.initial_state else 0.0
    output = (case.T, case.B, spec.output_size)
    keep = 1 - spec.dropout
    masks = None
    if spec.dropout and spec.layers > 1 and case.training:
        masks = tuple(
            _rounded((rng.random(output) < keep) / max(keep, 1e-9), spec.dtype)
            for _ in range(spec.layers - 1)
        )
    upstream = {"output": normal(output)} | {
        name.replace("0", "_n"): normal(shape) for name, shape in shapes.items()
    }
    return Problem(
        case,
        _rounded(x, spec.dtype),
        tuple(_rounded(scale * normal(shape), spec.dtype) for shape in shapes.values()),
        {p.name: _rounded(uniform(-bound, bound, p.shape), spec.dtype) for p in spec.parameters},
        {name: _rounded(value, spec.dtype) for name, value in upstream.items()},
        masks,
    )


def as_float64(values: Array) -> NDArray[np.float64]:
    """Exact: posed numbers are representable in the dtype under test, at most float64."""
    return values.astype(np.float64)
