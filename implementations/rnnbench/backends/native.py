"""torch.nn's own kernels: cuDNN on CUDA, oneDNN or the ATen loop on the CPU.

The functions that ``torch.nn.RNN/GRU/LSTM.forward`` end in are called with the given weights. Which
kernel torch dispatched to is not assumed but read off a recording of the operators (`identity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rnnbench.bptt import torch_private
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.spec import Spec

KERNELS = {
    "mkldnn_rnn_layer": "oneDNN (mkldnn_rnn_layer)",
    "_cudnn_rnn": "cuDNN (_cudnn_rnn)",
    "miopen_rnn": "MIOpen (miopen_rnn)",
}
"""Operator that only one library runs → its name in reports; none of them: the ATen loop."""


class Operators(torch_private.DispatchMode):  # type: ignore[misc]
    """Counts every operator that is dispatched, by its name without ``aten::``."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class Native(Backend):
    """``torch.nn`` in the dtypes and on the devices that it takes, under the autocast in force."""

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu" or not torch.is_autocast_enabled("cpu"):
            return None
        like = replace(
            spec, input_size=3, hidden_size=4, layers=1, proj_size=min(spec.proj_size, 2), dropout=0
        )
        return _refusal(
            like, conditions.packed, torch.get_autocast_dtype("cpu"), torch.is_grad_enabled(),
            torch.backends.mkldnn.enabled,
        )  # fmt: skip

    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        if inputs.masks is None:
            return _call(spec, inputs, spec.layers, inputs.dropout)
        return _layer_by_layer(spec, inputs, inputs.masks)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        with Operators() as seen:
            self.run(spec, inputs)
        other = "ATen loop" if seen.counts else "unknown"
        kernel = next((text for name, text in KERNELS.items() if name in seen.counts), other)
        return {"kernel": kernel, "device": str(inputs.x.device)}


@cache
def _refusal(
    spec: Spec, packed: bool, lower: torch.dtype, graph: bool, onednn: bool
) -> str | None:  # fmt: skip
    """Return why torch cannot run ``spec`` under autocast to ``lower`` on this processor, if it
    cannot.

    It hands a dense LSTM to oneDNN without asking whether that has the dtype for the processor, and
    for training. So torch is asked, once, by a tiny network; in a thread of its own, where none of
    the caller's modes (a trace, fake tensors) can answer in its place.
    """
    dtype = getattr(torch, spec.dtype)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device="cpu")

    def attempt() -> None:
        inputs = Inputs(
            zeros(3, 3) if packed else zeros(2, 2, 3),
            tuple(zeros(*shape) for shape in spec.state_shapes(2).values()),
            tuple(zeros(*parameter.shape) for parameter in spec.parameters),
            torch.tensor([2, 1], device="cpu") if packed else None,  # equal lengths are dense to it
        )
        with torch.set_grad_enabled(graph), torch.autocast("cpu", dtype=lower):
            _call(spec, inputs, 1, 0.0)

    try:
        with ThreadPoolExecutor(1) as alone:
            alone.submit(attempt).result()
    except RuntimeError as error:
        what = f"{'packed' if packed else 'dense'} {spec.cell} in {spec.dtype}"
        autocast = f"{str(lower).removeprefix('torch.')} autocast {'with' if graph else 'without'}"
        said = str(error).partition(". ")[0]
        return f"on this processor torch has no {what} under {autocast} gradients ({said})"
    return None


def _call(
    spec: Spec, inputs: Inputs, layers: int, dropout: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    function = getattr(torch, spec.cell)
    state = inputs.state if spec.has_cell_state else inputs.state[0]
    settings = (spec.bias, layers, dropout, dropout > 0, spec.directions == 2)
    if inputs.batch_sizes is None:
        y, *final = function(inputs.x, state, inputs.weights, *settings, False)
    else:
        y, *final = function(inputs.x, inputs.batch_sizes, state, inputs.weights, *settings)
    return y, tuple(final)


def _layer_by_layer(
    spec: Spec, inputs: Inputs, masks: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Call each layer alone, so that given dropout masks can stand between them."""
    x, finals = inputs.x, []
    per_layer = spec.directions * spec.parameters_per_layer
    for layer in range(spec.layers):
        rows = slice(layer * spec.directions, (layer + 1) * spec.directions)
        one = Inputs(
            x if layer == 0 else x * masks[layer - 1],
            tuple(part[rows] for part in inputs.state),
            inputs.weights[layer * per_layer : (layer + 1) * per_layer],
            inputs.batch_sizes,
        )
        x, final = _call(spec, one, 1, 0.0)
        finals.append(final)
    return x, tuple(torch.cat(part) for part in zip(*finals, strict=True))
