"""The float64 oracle as a backend that can be trained on."""

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
    """Backend that runs `rnnbench.parity.oracle`: float64, all cells, dense and packed."""

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


class _OracleFunction(torch.autograd.Function):
    """Forward keeps its arguments only; backward has the oracle compute everything again."""

    @staticmethod
    def forward(ctx: Any, spec: Spec, sizes: Tensor | None, masks: int, *given: Tensor) -> Any:
        ctx.spec, ctx.sizes, ctx.masks = spec, sizes, masks
        ctx.save_for_backward(*given)
        found = _oracle(spec, sizes, masks, given, None)
        return tuple(torch.from_numpy(found[n]) for n in ("output", "h_n", "c_n") if n in found)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        spec = ctx.spec
        found = _oracle(spec, ctx.sizes, ctx.masks, ctx.saved_tensors, upstream)
        names = ["x", *spec.state_shapes(1), *(p.name for p in spec.parameters)]
        own = [torch.from_numpy(found[f"grad_{name}"]) for name in names]
        return (None, None, None, *own, *[None] * ctx.masks)


def _oracle(
    spec: Spec,
    sizes: Tensor | None,
    masks: int,
    given: tuple[Tensor, ...],
    upstream: tuple[Tensor, ...] | None,
) -> dict[str, NDArray[Any]]:
    """Return the oracle's results for a dense batch, or for packed rows with batch ``sizes``.

    given   x, the state, the weights, and as many dropout masks as ``masks`` says
    """
    x, *arrays = (tensor.detach().numpy() for tensor in given)
    states, weights = len(spec.state_shapes(1)), len(spec.parameters)
    batch = _Batch(sizes)
    ups = None
    if upstream is not None:
        output, *final = (tensor.detach().numpy() for tensor in upstream)
        ups = {"output": batch.pad(output), **dict(zip(("h_n", "c_n"), final, strict=False))}
    found = oracle(
        spec,
        batch.pad(x),
        arrays[:states],
        {p.name: value for p, value in zip(spec.parameters, arrays[states:], strict=False)},
        upstream=ups,
        lengths=batch.lengths,
        masks=[batch.pad(mask) for mask in arrays[states + weights :]] or None,
    )
    return found | {name: batch.pack(found[name]) for name in ("output", "grad_x") if name in found}


class _Batch:
    """Converts packed rows (N, ·) to the padded sequences (T, B, ·) of the oracle, and back."""

    def __init__(self, sizes: Tensor | None) -> None:
        self.lengths: list[int] | None = None
        if sizes is not None:
            steps = sizes.numpy()
            self.held = steps[:, None] > np.arange(steps[0])  # (T, B), in the order of the rows
            self.lengths = self.held.sum(0).tolist()

    def pad(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self.lengths is None:
            return rows
        padded = np.zeros((*self.held.shape, rows.shape[1]))
        padded[self.held] = rows
        return padded

    def pack(self, padded: NDArray[Any]) -> NDArray[Any]:
        return padded if self.lengths is None else padded[self.held]


@contextmanager
def registered() -> Iterator[str]:
    """Register the oracle as a backend while the block runs; yields its name."""
    interface.register(NAME, Oracle())
    try:
        yield NAME
    finally:
        interface.unregister(NAME)
