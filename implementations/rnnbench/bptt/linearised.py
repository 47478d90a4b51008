"""A stored sequence as linear maps, one for each step and layer, which windows go back through.

`rnnbench.truncation` makes them, once for all windows; a kernel, in plain torch or a backend's own,
runs the windows over them (mode "sliding").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.spec import Spec


class Jacobian(NamedTuple):
    """Factors of a layer's backward step at each of T steps; absent ones are None.

    to_a, to_u   α and μ per unit of dm (of dc in the LSTM's first three gates), (T, B, G, H)
    to_h         what of dm goes to h_{t−1} beside W_hh (GRU), (T, B, H)
    to_c, past_c ∂c_t/∂m_t's share of dc, and what of dc goes to c_{t−1} (LSTM), (T, B, H)
    """

    to_a: Tensor
    to_u: Tensor
    to_h: Tensor | None = None
    to_c: Tensor | None = None
    past_c: Tensor | None = None

    def at(self, steps: slice) -> Jacobian:
        """Return the factors at those steps, as views."""
        return Jacobian(*(part if part is None else part[steps] for part in self))  # type: ignore[arg-type]


class Layer(NamedTuple):
    """One layer of the stored pass; ``m`` is what the projection was applied to."""

    jacobian: Jacobian
    weights: LayerWeights
    mask: Tensor | None  # dropout's, on this layer's input, (T, B, I)
    x: Tensor  # behind the mask, (T, B, I)
    h_before: Tensor  # (T, B, P or H)
    m: Tensor | None  # (T, B, H)


class Sums(NamedTuple):
    """Sums over windows in one layer, at each step: of dh (T, B, P or H), and of dc (T, B, H)."""

    dh: Tensor
    dc: Tensor | None


Kernel = Callable[[Spec, Sequence[Layer], Tensor, range, int], list[Sums]]
"""(spec, layers, dy (W, B, P or H), steps of the W losses, K) → the sums of every layer."""
