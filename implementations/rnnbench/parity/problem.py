"""A case with its numbers: as arrays for the oracle, as tensors for whatever is under test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnbench.parity.oracle import Array, oracle
from rnnbench.spec import UNIT_ROUNDOFF, Case

ORACLE_PRECISION = dict.fromkeys(UNIT_ROUNDOFF, np.float64) | {"float64": np.longdouble}
"""A float64 oracle shares its rounding errors with float64 candidates that sum in the same order
(torch's then look like 0); 80-bit arithmetic, where the platform has it, does not."""


@dataclass(frozen=True)
class Problem:
    """A case with its numbers: arrays of the oracle's precision, exact in the dtype of the spec.

    x         (T, B, I), zero where a sequence has ended
    state     (h0,) or (h0, c0): (L·D, B, P or H), (L·D, B, H)
    weights   by torch's names
    upstream  gradients of the loss by ``output``, ``h_n`` and ``c_n``
    masks     L−1 dropout masks (T, B, D·P), or None
    """

    case: Case
    x: Array
    state: tuple[Array, ...]
    weights: Mapping[str, Array]
    upstream: Mapping[str, Array]
    masks: tuple[Array, ...] | None

    def expected(self) -> dict[str, Array]:
        """Return every quantity by name, as the oracle computes it."""
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
    """Return the nearest numbers in ``dtype``, as arrays of the oracle's precision for it."""
    exact = torch.from_numpy(values).to(getattr(torch, dtype)).double().numpy()
    return exact.astype(ORACLE_PRECISION[dtype])


def pose(case: Case) -> Problem:
    """Draw the numbers of a case; the same case gets the same numbers.

    Weights and biases are U(±1/√H) as torch draws them, x and the upstream gradients of output and
    states standard normal, the initial state half as large (zero without ``initial_state``).
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
    """Return a problem's numbers in float64: exact, as they are so in the dtype under test."""
    return values.astype(np.float64)


class Tensors:
    """A problem's numbers as new tensors of its dtype, for one run.

    New, so that no run sees another's gradients, or what another wrote into its arguments.
    """

    def __init__(self, problem: Problem, *, requires_grad: bool) -> None:
        self.problem, self.case = problem, problem.case
        self.dtype = getattr(torch, problem.case.spec.dtype)

        def leaf(values: Array) -> Tensor:
            return self.tensor(values).requires_grad_(requires_grad)

        self.x = leaf(problem.x)
        self.state = tuple(map(leaf, problem.state))
        self.weights = {name: leaf(values) for name, values in problem.weights.items()}

    def tensor(self, values: Array) -> Tensor:
        """Return a copy of an array as a tensor of the dtype under test."""
        return torch.tensor(as_float64(values), dtype=self.dtype)

    def packed(self, x: Tensor) -> PackedSequence:
        """Return x (T, B, ·) without its padding, longest sequence first."""
        return pack_padded_sequence(x, torch.tensor(self.case.lengths), enforce_sorted=False)

    def masks(self) -> tuple[Tensor, ...] | None:
        """Return the dropout masks, or None where the problem has none."""
        masks = self.problem.masks
        return None if masks is None else tuple(map(self.tensor, masks))

    def gradients(self, got: Mapping[str, Any], absent: Iterable[str] = ()) -> dict[str, Any]:
        """Return the gradients of x, the initial state and the weights, by the oracle's names.

        got: output and final states. absent: names of weights that are not asked for.
        """
        sources = {"grad_x": self.x}
        if self.case.initial_state:
            sources |= dict(zip(("grad_h0", "grad_c0"), self.state, strict=False))
        sources |= {f"grad_{n}": weight for n, weight in self.weights.items() if n not in absent}
        return gradients(got, self.problem.upstream, sources)


def gradients(
    got: Mapping[str, Any], upstream: Mapping[str, Array], sources: Mapping[str, Tensor]
) -> dict[str, Tensor | None]:
    """Return the gradient of the loss Σ ⟨upstream, got⟩ with respect to each source, by its name.

    An answer without a graph, or in another shape than its upstream gradient, adds nothing; a
    gradient that no path reaches is None.
    """
    asked = [
        (got[name], torch.tensor(as_float64(up), dtype=got[name].dtype))
        for name, up in upstream.items()
        if isinstance(got.get(name), Tensor)
        and got[name].requires_grad
        and got[name].shape == up.shape
    ]
    if not asked:
        return dict.fromkeys(sources)
    values, ups = zip(*asked, strict=True)
    found = torch.autograd.grad(values, list(sources.values()), ups, allow_unused=True)
    return dict(zip(sources, found, strict=True))
