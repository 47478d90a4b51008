"""The interface of one layer in one direction, and the rows that it works on.

Sequences are held as N rows, all of step 0, then all of step 1, …: a dense (T, B, I) tensor is
N = T·B rows; of a packed one, step t has batch_sizes[t] rows, longest sequence first. The state is
one (B, H) block of which step t touches the first batch_sizes[t] rows. Running forward, a finished
sequence's rows are no longer touched and so hold its final state; running in reverse, the rows of a
sequence that has not begun still hold its initial state. So both directions, packed or not, are the
same loop (`Layout.steps`), and so are their backward passes, with the steps in the opposite order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rnnbench.interface import Inputs
from rnnbench.spec import Spec


class Layout:
    """The rows of each time step.

    batch_sizes: sequences running at each step, T ints, never growing.
    """

    def __init__(self, batch_sizes: Sequence[int]) -> None:
        self.batch_sizes = list(batch_sizes)
        self.T = len(self.batch_sizes)
        self.B = self.batch_sizes[0]
        self.N = sum(self.batch_sizes)
        self.dense = self.N == self.T * self.B

    @classmethod
    def of(cls, inputs: Inputs) -> Layout:
        if inputs.batch_sizes is None:
            T, B = inputs.x.shape[:2]
            return cls([B] * T)
        return cls(inputs.batch_sizes.tolist())

    def steps(self, *, reverse: bool) -> Iterator[slice]:
        """Return the rows of each time step, first to last step, or last to first."""
        ends = accumulate(self.batch_sizes, initial=0)
        rows = [slice(start, stop) for start, stop in pairwise(ends)]
        return reversed(rows) if reverse else iter(rows)


class LayerWeights(NamedTuple):
    """Weights of one layer in one direction; absent ones are None."""

    ih: Tensor  # (G·H, I)
    hh: Tensor  # (G·H, P or H)
    bias_ih: Tensor | None  # (G·H,)
    bias_hh: Tensor | None  # (G·H,)
    hr: Tensor | None  # (P, H)


class LayerResult(NamedTuple):
    """Results of one layer in one direction; ``saved`` is for its backward pass."""

    y: Tensor  # (N, P or H)
    h_n: Tensor  # (B, P or H)
    c_n: Tensor | None  # (B, H)
    saved: tuple[Tensor, ...]


class LayerGradients(NamedTuple):
    """Gradients of one layer in one direction; ``dx`` is None if it was not asked for."""

    dx: Tensor | None  # (N, I)
    dh0: Tensor  # (B, P or H)
    dc0: Tensor | None  # (B, H)
    weights: LayerWeights


class LayerPass(NamedTuple):
    """One layer in one direction of one call: what its forward and its backward pass share."""

    spec: Spec
    layout: Layout
    x: Tensor  # (N, I)
    weights: LayerWeights
    reverse: bool


class BackwardInputs(NamedTuple):
    """Inputs of a layer's backward pass: what forward saved, and upstream gradients.

    needs_dx  whether the gradient of x is asked for
    spent     whether nobody uses ``saved`` after this: other numbers may be left in what forward
              made for it alone
    """

    saved: tuple[Tensor, ...]
    dy: Tensor  # (N, P or H)
    dh_n: Tensor  # (B, P or H)
    dc_n: Tensor | None  # (B, H)
    needs_dx: bool
    spent: bool = False


Start = tuple[LayerPass, Tensor, Tensor | None]
"""A layer's direction with its initial state: the positional arguments of `Recurrence.forward`."""

Result = TypeVar("Result")


class Recurrence(ABC):
    """One layer in one direction, forward and by hand-derived BPTT backward."""

    @abstractmethod
    def forward(
        self, layer: LayerPass, h0: Tensor, c0: Tensor | None, *, keep: bool
    ) -> LayerResult:
        """Run over all steps from h0 (B, P or H) and, in an LSTM, c0 (B, H).

        keep: whether a backward pass will follow; if not, ``saved`` stays empty.
        """

    @abstractmethod
    def backward(self, layer: LayerPass, given: BackwardInputs) -> LayerGradients:
        """Return the gradients of x, of the initial state and of the weights."""

    def both_directions(
        self, starts: Sequence[Start], *, keep: bool
    ) -> tuple[Tensor, Sequence[LayerResult]]:
        """Run a layer in both directions, the reverse one second.

        Returns their outputs side by side (N, 2·P or 2·H), and what `forward` returned for each.
        """
        results = self.directions(
            starts[0][0], [partial(self.forward, *start, keep=keep) for start in starts]
        )
        return torch.cat([result.y for result in results], dim=1), results

    def directions(
        self, layer: LayerPass, calls: Sequence[Callable[[], Result]]
    ) -> Sequence[Result]:
        """Return the results of the calls for a layer's directions, in order; they share nothing.

        layer: either direction.
        """
        return [call() for call in calls]

    def copy(self, y: Tensor) -> Tensor:
        """Return a copy of an output that ``saved`` holds too, for the user to have."""
        return y.clone()


def gradients_of_rows(
    layer: LayerPass,
    alpha: Tensor,
    mu: Tensor,
    h_before: Tensor,
    initial: tuple[Tensor, Tensor | None],
    d_hr: Tensor | None,
    *,
    needs_dx: bool,
) -> LayerGradients:
    """Return a layer's gradients from those of its products, each one product over all rows.

    alpha, mu   ∂L/∂(x W_ihᵀ) and ∂L/∂(h W_hhᵀ), (N, G·H)
    h_before    h_{t−1} of each row, (N, P or H)
    initial     gradients of h0 and c0
    d_hr        gradient of W_hr (P, H); None without projection
    """
    weights = layer.weights
    return LayerGradients(
        alpha @ weights.ih if needs_dx else None,
        *initial,
        LayerWeights(
            ih=sum_of_outer(alpha, layer.x),
            hh=sum_of_outer(mu, h_before),
            bias_ih=None if weights.bias_ih is None else alpha.sum(0),
            bias_hh=None if weights.bias_hh is None else mu.sum(0),
            hr=d_hr,
        ),
    )


BLOCK = 32
"""Rows of one partial sum in `sum_of_outer`, unless the caller says it."""


def sum_of_outer(delta: Tensor, rows: Tensor, block: int = BLOCK) -> Tensor:
    """Return Σ_n δ_n r_nᵀ over all N rows: a weight's gradient, (G·H, N)·(N, I) → (G·H, I).

    Summed in blocks of rows. One product over all rows adds N terms one after the other, and its
    rounding error grows like √N; with blocks it grows like √block + √(N/block). Measured in float32
    at T=128, B=5: 2.2 times the error of torch's step-by-step sum without, 1 with.
    """
    total = delta[:block].T @ rows[:block]
    for start in range(block, len(delta), block):
        total.addmm_(delta[start : start + block].T, rows[start : start + block])
    return total
