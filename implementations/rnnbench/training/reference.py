"""The float64 oracle as a backend that can be trained on.

The oracle runs sequences of one length at once, so a packed batch goes through it in groups of
equal length: the same numbers as one sequence at a time, in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench import interface
from rnnbench.bptt.stack import draw_masks
from rnnbench.parity.oracle import oracle
from rnnbench.spec import Spec

NAME = "oracle"


class Oracle(interface.Backend):
    """`rnnbench.parity.oracle` behind the interface: float64, all cells, dense and packed."""

    def supports(self, spec: Spec, conditions: interface.Conditions) -> str | None:
        if spec.dtype != "float64":
            return f"the oracle is float64; got {spec.dtype}"
        return None if conditions.device == "cpu" else "the oracle runs on the CPU"

    def run(self, spec: Spec, inputs: interface.Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        masks = inputs.masks or ()
        if inputs.dropout and not masks and spec.layers > 1:
            # drawn in float32, as by the backends that are held against it
            rows = inputs.x.reshape(-1, inputs.x.shape[-1]).float()
            masks = tuple(m.double() for m in draw_masks(spec, rows, inputs.dropout))
            masks = tuple(m.reshape(*inputs.x.shape[:-1], -1) for m in masks)
        output, *state = _OracleFunction.apply(  # type: ignore[no-untyped-call]
            spec, inputs.batch_sizes, len(masks), inputs.x, *inputs.state, *inputs.weights, *masks
        )
        return output, tuple(state)

    def identity(self, spec: Spec, inputs: interface.Inputs) -> Mapping[str, Any]:
        return {"kernel": "rnnbench.parity.oracle, NumPy float64"}


class _Group:
    """Sequences of one length: their columns, and where their rows lie in x."""

    def __init__(self, length: int, columns: NDArray[np.intp], starts: NDArray[np.intp]) -> None:
        self.columns = columns
        self.rows = starts[:length, None] + columns[None, :]  # (T, B)


def _groups(batch_sizes: Tensor) -> list[_Group]:
    """Of a packed sequence: step t begins at row starts[t], its sequences side by side."""
    sizes = batch_sizes.numpy()
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    lengths = (sizes[:, None] > np.arange(sizes[0])).sum(0)
    return [_Group(n, np.flatnonzero(lengths == n), starts) for n in np.unique(lengths)]


class _OracleFunction(torch.autograd.Function):
    """Forward keeps its arguments alone; backward has the oracle derive everything anew."""

    @staticmethod
    def forward(ctx: Any, spec: Spec, sizes: Tensor | None, masks: int, *given: Tensor) -> Any:
        ctx.spec, ctx.sizes, ctx.masks = spec, sizes, masks
        ctx.save_for_backward(*given)
        found = _on_groups(spec, sizes, masks, given, None)
        names = ("output", *spec.state_shapes(1))
        return tuple(torch.from_numpy(found[name.replace("0", "_n")]) for name in names)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        spec = ctx.spec
        found = _on_groups(spec, ctx.sizes, ctx.masks, ctx.saved_tensors, upstream)
        names = ["x", *spec.state_shapes(1), *(p.name for p in spec.parameters)]
        own = [torch.from_numpy(found[f"grad_{name}"]) for name in names]
        return (None, None, None, *own, *[None] * ctx.masks)


def _on_groups(
    spec: Spec,
    sizes: Tensor | None,
    masks: int,
    given: tuple[Tensor, ...],
    upstream: tuple[Tensor, ...] | None,
) -> dict[str, NDArray[Any]]:
    """The oracle's answers for packed rows or a dense batch."""
    arrays = [tensor.detach().numpy() for tensor in given]
    states = len(spec.state_shapes(1))
    x, state = arrays[0], arrays[1 : 1 + states]
    weights = {
        p.name: value for p, value in zip(spec.parameters, arrays[1 + states :], strict=False)
    }
    drops = arrays[len(arrays) - masks :]
    ups = None
    if upstream is not None:
        names = ("output", *(name.replace("0", "_n") for name in spec.state_shapes(1)))
        ups = {n: up.detach().numpy() for n, up in zip(names, upstream, strict=True)}
    if sizes is None:
        return oracle(spec, x, state, weights, upstream=ups, masks=drops or None)
    total: dict[str, Any] = {}
    for group in _groups(sizes):
        rows, columns = group.rows, group.columns
        found = oracle(
            spec,
            x[rows],
            [part[:, columns] for part in state],
            weights,
            upstream=ups
            and {n: up[rows] if n == "output" else up[:, columns] for n, up in ups.items()},
            masks=[mask[rows] for mask in drops] or None,
        )
        for name, value in found.items():
            if name in ("output", "grad_x"):
                total.setdefault(name, np.zeros((len(x), value.shape[2])))[rows] = value
            elif name in ("h_n", "c_n", "grad_h0", "grad_c0"):
                whole = total.setdefault(
                    name, np.zeros((len(value), len(state[0][0]), value.shape[2]))
                )
                whole[:, columns] = value
            else:
                total[name] = total.get(name, 0.0) + value
    return total


@contextmanager
def registered() -> Iterator[str]:
    """The oracle among the backends, under the name yielded, for as long as it is needed."""
    interface.register(NAME, Oracle())
    try:
        yield NAME
    finally:
        interface.unregister(NAME)
