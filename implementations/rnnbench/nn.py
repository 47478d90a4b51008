"""Drop-in modules: ``torch.nn.RNN``, ``GRU`` and ``LSTM`` with one more keyword, ``backend``.

Each class *is* torch's class: constructor, parameters, initialisation, state_dict and pickling are
inherited. Its forward is torch's own forward too, the very same code with the kernels of a backend
in place of torch's (`_forward_on`), so that shapes, sorting and restoring of packed sequences,
unbatched input and every error sentence are torch's by construction, in any version of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import rnn as torch_rnn

from rnnbench import interface
from rnnbench.spec import CELLS, GATES, Spec

AUTO = "auto"


@cache
def _spec(
    cell: str, rows: int, inputs: int, state: int, layers: int, directions: int, bias: bool,
    dtype: torch.dtype, dropout: float,
) -> Spec:  # fmt: skip
    """The spec of weights whose first weight_ih is (rows, inputs) and weight_hh (rows, state)."""
    hidden = rows // GATES[cell]
    return Spec(
        cell, inputs, hidden, layers, directions, bias, str(dtype).removeprefix("torch."),
        proj_size=0 if state == hidden else state, dropout=dropout,
    )  # fmt: skip


def _kernel(backend: str, cell: str, *args: Any) -> tuple[Tensor, ...]:
    """What stands in for ``torch._VF.<cell>``: the same arguments, dense or packed."""
    if isinstance(args[2], Sequence):
        x, hx, weights, bias, layers, dropout, training, bidirectional, batch_first = args
        batch_sizes = None
    else:
        x, batch_sizes, hx, weights, bias, layers, dropout, training, bidirectional = args
        batch_first = False
    if batch_first:
        x = x.transpose(0, 1)
    if batch_sizes is None and x.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    rows, inputs = weights[0].shape
    spec = _spec(
        cell, rows, inputs, weights[1].shape[1], layers, 1 + bidirectional, bias,
        weights[0].dtype, float(dropout),
    )  # fmt: skip
    state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    name = choose(backend, spec, x, packed=batch_sizes is not None)
    y, final = interface.run(
        name, spec, x, state, weights, batch_sizes=batch_sizes, training=training
    )
    return (y.transpose(0, 1) if batch_first else y, *final)


def choose(backend: str, spec: Spec, x: Tensor, *, packed: bool) -> str:
    """``backend``, or for "auto" the first of `interface.AUTO_ORDER` that can do the case."""
    if backend != AUTO:
        return backend
    conditions = interface.Conditions(device=x.device.type, packed=packed)
    return next(
        name
        for name in interface.AUTO_ORDER
        if interface.get(name).supports(spec, conditions) is None
    )


@cache
def _forward_on(torch_class: type, backend: str) -> Callable[..., Any]:
    """torch's forward of that class, ending in the backend's kernels."""
    kernels = SimpleNamespace(**{cell: partial(_kernel, backend, cell) for cell in CELLS})
    own = torch_class.forward  # type: ignore[attr-defined]
    return FunctionType(
        own.__code__, vars(torch_rnn) | {"_VF": kernels}, own.__name__, own.__defaults__
    )


class _Backed(torch_rnn.RNNBase):
    """The keyword ``backend`` and the forward that follows it."""

    _torch_class: type

    def __init__(self, *args: Any, backend: str = AUTO, **kwargs: Any) -> None:
        if backend != AUTO:
            interface.get(backend)
        super().__init__(*args, **kwargs)
        self.backend = backend

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 (torch's name)
        """As ``torch.nn``'s: input (T, B, I), (B, T, I), (T, I) or a PackedSequence."""
        return _forward_on(self._torch_class, self.backend)(self, input, hx)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, backend={self.backend!r}"


class RNN(_Backed, torch.nn.RNN):
    """`torch.nn.RNN` on a backend of rnnbench.

    backend: a name from `rnnbench.backends()`, or "auto" (default): the first backend of
    `interface.AUTO_ORDER` that supports the case. Everything else, errors included, as in torch;
    UnsupportedError where the chosen backend cannot do the case.
    """

    _torch_class = torch.nn.RNN


class GRU(_Backed, torch.nn.GRU):
    """`torch.nn.GRU` on a backend of rnnbench; see `RNN`."""

    _torch_class = torch.nn.GRU


class LSTM(_Backed, torch.nn.LSTM):
    """`torch.nn.LSTM` on a backend of rnnbench; see `RNN`."""

    _torch_class = torch.nn.LSTM
