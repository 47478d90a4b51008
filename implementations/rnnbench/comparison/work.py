"""The call that is timed: a module in one phase, the same for every backend.

Inference computes the output and the final state without a graph. Training computes them with one,
and then the gradients of x, the initial state and every weight (``torch.autograd.grad``) from
random upstream gradients of output and final state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench import interface
from rnnbench.nn.modules import of_spec
from rnnbench.parity.problem import pose
from rnnbench.spec import Case

Call = Callable[[], tuple[Tensor, ...]]


class Work:
    """Module and tensors of a case on one backend, and the call that is timed."""

    def __init__(self, backend: str, case: Case) -> None:
        spec, training = case.spec, case.training
        dtype = getattr(torch, spec.dtype)
        posed = pose(case)

        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.tensor(values.astype(float), dtype=dtype)

        self.case, self.backend = case, backend
        self.module = of_spec(spec, backend)
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                weight.copy_(tensor(posed.weights[name]))
        self.x = tensor(posed.x).requires_grad_(training)
        self.state = tuple(tensor(part).requires_grad_(training) for part in posed.state)
        self.upstream = [tensor(value) for value in posed.upstream.values()]
        self.call: Call = self._train if training else self._infer

    def _forward(self) -> tuple[Tensor, ...]:
        state = self.state if len(self.state) > 1 else self.state[0]
        y, final = self.module(self.x, state)
        return (y, *final) if isinstance(final, tuple) else (y, final)

    def _infer(self) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return self._forward()

    def _train(self) -> tuple[Tensor, ...]:
        sources = [self.x, *self.state, *self.module.parameters()]
        return torch.autograd.grad(self._forward(), sources, self.upstream)

    def identity(self) -> dict[str, object]:
        """Return what really runs, as the backend reports it."""
        inputs = interface.Inputs(self.x, self.state, tuple(self.module.parameters()))
        with torch.set_grad_enabled(self.case.training):
            return dict(interface.get_backend(self.backend).identity(self.case.spec, inputs))
