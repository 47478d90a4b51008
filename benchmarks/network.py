"""A case made real: the module, its tensors, and one step of each phase."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import package
from .cases import Network

MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "rnn_tanh": ("RNN", {"nonlinearity": "tanh"}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
}
"""Cell → name of the module and the keywords that make it that cell."""


def spec(network: Network) -> Any:
    """The package's own description of the network."""
    return package.public("Spec")(
        network.cell,
        network.sizes.I,
        network.sizes.H,
        layers=network.layers,
        directions=network.directions,
    )


class Running:
    """A network with its tensors; `step` is what is timed.

    Inference keeps no gradient. Training is forward and the full backward pass: gradients of x, h0,
    c0 and every weight, for random upstream gradients of output and final states.
    """

    def __init__(self, network: Network) -> None:
        name, keywords = MODULES[network.cell]
        package.backend(network.backend)
        torch.manual_seed(0)
        self.network = network
        self.module = package.public(name)(
            network.sizes.I,
            network.sizes.H,
            network.layers,
            bidirectional=network.directions == 2,
            backend=network.backend,
            **keywords,
        )
        training = network.phase == "training"
        B, I, H = network.sizes  # noqa: E741
        state_shape = (network.layers * network.directions, B, H)
        self.x = torch.randn(network.T, B, I, requires_grad=training)
        self.state = tuple(
            torch.randn(state_shape, requires_grad=training)
            for _ in range(2 if network.cell == "lstm" else 1)
        )
        self.upstream = [
            torch.randn(network.T, B, network.directions * H),
            *(torch.randn(state_shape) for _ in self.state),
        ]
        self.step = self.train if training else self.infer

    def _forward(self) -> tuple[Tensor, ...]:
        state = self.state if len(self.state) > 1 else self.state[0]
        y, final = self.module(self.x, state)
        return (y, *final) if isinstance(final, tuple) else (y, final)

    def infer(self) -> tuple[Tensor, ...]:
        """Output and final states."""
        with torch.no_grad():
            return self._forward()

    def train(self) -> tuple[Tensor, ...]:
        """Gradients of x, of the state and of every weight."""
        return torch.autograd.grad(
            self._forward(), [self.x, *self.state, *self.module.parameters()], self.upstream
        )

    def identity(self) -> dict[str, Any]:
        """Return what really runs, as the backend says."""
        inputs = package.public("Inputs")(self.x, self.state, tuple(self.module.parameters()))
        with torch.set_grad_enabled(self.network.phase == "training"):
            return dict(package.backend(self.network.backend).identity(spec(self.network), inputs))
