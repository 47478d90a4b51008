"""What is timed: one call of a module in one phase, the same for every backend.

Inference is the module's output and final state without a graph. Training is the same with one,
and ``torch.autograd.grad`` of x, the initial state and every weight, from random upstream gradients
of output and final state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnbench import interface, nn
from rnnbench.parity.problem import pose
from rnnbench.spec import Case

Call = Callable[[], tuple[Tensor, ...]]


class Work:
    """A case made real on one backend: module, tensors, and the call that is timed."""

    def __init__(self, backend: str, case: Case) -> None:
        spec, training = case.spec, case.training
        dtype = getattr(torch, spec.dtype)
        posed = pose(case)

        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype)

        self.case, self.backend = case, backend
        self.module = _module(backend, case)
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                weight.copy_(tensor(posed.weights[name].astype(float)))
        self.x = tensor(posed.x.astype(float)).requires_grad_(training)
        self.state = tuple(
            tensor(part.astype(float)).requires_grad_(training) for part in posed.state
        )
        self.upstream = [tensor(value.astype(float)) for value in posed.upstream.values()]
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
        """What really runs, as the backend says."""
        inputs = interface.Inputs(self.x, self.state, tuple(self.module.parameters()))
        with torch.set_grad_enabled(self.case.training):
            return dict(interface.get_backend(self.backend).identity(self.case.spec, inputs))


def _module(backend: str, case: Case) -> torch.nn.Module:
    spec = case.spec
    kind, _, nonlinearity = spec.cell.partition("_")
    options = {"nonlinearity": nonlinearity} if nonlinearity else {}
    if spec.proj_size:
        options["proj_size"] = spec.proj_size  # type: ignore[assignment]
    module: torch.nn.Module = getattr(nn, kind.upper())(
        spec.input_size, spec.hidden_size, spec.layers, bias=spec.bias,
        bidirectional=spec.directions == 2, backend=backend,
        dtype=getattr(torch, spec.dtype), **options,
    )  # fmt: skip
    return module
