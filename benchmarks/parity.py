"""The error itself as a history: how far from the float64 oracle, within the budget or not at all.

The worst quantity of a case, in units of the dtype's roundoff. A case beyond its budget has no
value here either; how far off it is stands in its record.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from . import agreement, cases
from .base import Measured
from .cases import Network


class Distance(Measured):
    """The grid and the unit."""

    params = cases.params(cases.NETWORKS)
    param_names = cases.names(cases.NETWORKS)
    unit = "eps"

    @property
    @abstractmethod
    def phase(self) -> str:
        """Return which phase is checked: inference or training."""

    def prepare(self, *params: Any) -> dict[str, Any]:
        network = Network(self.phase, *params)
        self.parity = agreement.require(network)
        return {"parity": self.parity}

    def worst(self, *, gradients: bool) -> float:
        """Largest error of the gradients, or of all else."""
        return max(
            float(row["error"])
            for name, row in self.parity["quantities"].items()
            if name.startswith("grad_") == gradients
        )


class Forward(Distance):
    """Output and final states."""

    version = "1"
    phase = "inference"

    def track_error(self, *params: Any) -> float:
        return self.worst(gradients=False)


class Gradient(Distance):
    """Gradients of x, h0, c0 and every weight."""

    version = "1"
    phase = "training"

    def track_error(self, *params: Any) -> float:
        return self.worst(gradients=True)
