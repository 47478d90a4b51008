"""How somebody else holds the same numbers: axes of x and of the states, storage of the weights.

Each conversion is made of differentiable torch operations, so that autograd brings gradients back
in the project's own layout; for candidates that return gradients themselves, `Layout.gradient_in`
is the inverse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.spec import GATE_ORDER, Spec

STATES = ("torch", "layers_directions", "directions_layers", "flat")
"""Axes of the states: (L·D, B, H), (L, D, B, H), (D, L, B, H), and (B, H) of a single layer."""

ARRAYS = ("torch", "numpy")


@dataclass(frozen=True)
class Layout:
    """The layout of a candidate's numbers; the defaults are torch's.

    batch_first  x and output are (B, T, ·) where torch has (T, B, ·)
    unbatched    one sequence at a time: x (T, I), states (L·D, H)
    columns      of unbatched: vectors as columns, x (T, I, 1), states (L·D, H, 1)
    states       one of `STATES`
    gates        order of the gates in the weights, such as "ifog"; empty for torch's
    interleaved  weights with the gates of one unit beside each other, (H, G) rows, not in G blocks
    transposed   weights stored as (columns, rows), to be multiplied from the right: x @ W
    arrays       "torch" or "numpy": what the candidate computes with
    """

    batch_first: bool = False
    unbatched: bool = False
    columns: bool = False
    states: str = "torch"
    gates: str = ""
    interleaved: bool = False
    transposed: bool = False
    arrays: str = "torch"

    def check(self, spec: Spec | None) -> None:
        """Raise InputError for a layout that a network of this spec, or any, cannot have."""
        if self.states not in STATES:
            known = ", ".join(map(repr, STATES))
            raise InputError(f"states must be one of {known}; got {self.states!r}")
        if self.arrays not in ARRAYS:
            known = ", ".join(map(repr, ARRAYS))
            raise InputError(f"arrays must be one of {known}; got {self.arrays!r}")
        if spec is None:
            return
        order = GATE_ORDER[spec.cell]
        if self.gates and sorted(self.gates) != sorted(order):
            raise InputError(
                f"gates must be the letters of {order!r} in some order for {spec.cell}; "
                f"got {self.gates!r}"
            )

    def x_out(self, x: Tensor) -> Tensor:
        """x (T, B, I) as the candidate reads it."""
        if self.unbatched:
            return x[:, 0, :, None] if self.columns else x[:, 0]
        return x.transpose(0, 1) if self.batch_first else x

    def y_in(self, y: Any) -> Any:
        """Its output, or its gradient of x, as (T, B, ·)."""
        if not isinstance(y, Tensor):
            return y
        if self.columns and y.dim() == 3 and y.shape[-1] == 1:
            y = y[..., 0]
        if self.unbatched and y.dim() == 2:
            return y[:, None]
        return y.transpose(0, 1) if self.batch_first and y.dim() == 3 else y

    def state_out(self, part: Tensor, spec: Spec) -> Tensor:
        """A state (L·D, B, H) as the candidate reads it."""
        if self.states == "flat":
            part = part[0]
        elif self.states != "torch":
            part = part.reshape(spec.layers, spec.directions, *part.shape[1:])
        if self.states == "directions_layers":
            part = part.transpose(0, 1)
        part = part.select(-2, 0) if self.unbatched else part
        return part[..., None] if self.columns else part

    def state_in(self, part: Any, spec: Spec) -> Any:
        """Its state as (L·D, B, H); one of another rank is left as it is."""
        if not isinstance(part, Tensor):
            return part
        if self.columns and part.shape[-1:] == (1,):
            part = part[..., 0]
        rank = 3 + (self.states != "torch") - self.unbatched
        if self.states == "flat":
            rank = 2 - self.unbatched
            if part.dim() == rank:
                part, rank = part[None], rank + 1
        if part.dim() != rank:
            return part
        if self.unbatched:
            part = part.unsqueeze(-2)
        if self.states == "directions_layers":
            part = part.transpose(0, 1)
        return part.flatten(0, 1) if self.states in STATES[1:3] else part

    def _rows(self, weight: Tensor, spec: Spec, *, back: bool) -> Tensor:
        """The gates' rows of a weight, or of its gradient, from torch's order to theirs or back."""
        torchs = GATE_ORDER[spec.cell]
        theirs = self.gates or torchs
        blocks = weight.reshape(spec.gates, -1, *weight.shape[1:])
        if back:
            if self.interleaved:
                blocks = weight.reshape(-1, spec.gates, *weight.shape[1:]).transpose(0, 1)
            blocks = blocks[[theirs.index(gate) for gate in torchs]]
        else:
            blocks = blocks[[torchs.index(gate) for gate in theirs]]
            if self.interleaved:
                blocks = blocks.transpose(0, 1)
        return blocks.reshape(weight.shape)

    def weight_out(self, name: str, weight: Tensor, spec: Spec) -> Tensor:
        """A weight or bias of torch's as the candidate stores it."""
        if not name.startswith("weight_hr") and (self.interleaved or self.gates):
            weight = self._rows(weight, spec, back=False)
        return weight.T if self.transposed and weight.dim() == 2 else weight

    def gradient_in(self, name: str, gradient: Any, spec: Spec) -> Any:
        """Its gradient of a weight or bias in torch's layout: the inverse of `weight_out`."""
        if not isinstance(gradient, Tensor):
            return gradient
        if self.transposed and gradient.dim() == 2:
            gradient = gradient.T
        rows = spec.gates * spec.hidden_size
        if name.startswith("weight_hr") or gradient.dim() == 0 or gradient.shape[0] != rows:
            return gradient
        if self.interleaved or self.gates:
            gradient = self._rows(gradient, spec, back=True)
        return gradient

    @property
    def words(self) -> str:
        """Return what differs from torch's layout, in words; empty if nothing does."""
        said = []
        if self.batch_first:
            said.append("batch first")
        if self.unbatched:
            said.append("one sequence at a time, without a batch axis")
        if self.columns:
            said.append("vectors as columns, (I, 1) and (H, 1)")
        if self.states == "flat":
            said.append("states (B, H) in place of (1, B, H)")
        elif self.states != "torch":
            axes = "(D, L, B, H)" if self.states == "directions_layers" else "(L, D, B, H)"
            said.append(f"states {axes}")
        if self.gates:
            said.append(f"gates in the order {', '.join(self.gates)}")
        if self.interleaved:
            said.append("gates interleaved unit by unit")
        if self.transposed:
            said.append("weights transposed, (columns, rows)")
        if self.arrays == "numpy":
            said.append("NumPy arrays")
        return "; ".join(said)


IN_USE = {
    "rzn": ("zrn", "rnz", "znr", "nrz"),
    "ifgo": ("ifog", "fiog", "figo", "iofg", "igfo", "fgio", "fogi", "giof", "gifo"),
}
"""Orders of the gates beside torch's in ONNX, Keras, flax, TensorFlow, textbooks and posts."""


def storages(spec: Spec, *, few: bool = False) -> Iterator[dict[str, Any]]:
    """Every storage of the weights that is in use: gates' order, interleaved, transposed.

    torch's own comes first, then orders of the gates in use, then all permutations; few: without
    the last.
    """
    order = GATE_ORDER[spec.cell]
    used = IN_USE.get(order, ())
    every = ("".join(p) for p in itertools.permutations(order))
    orders = ["", *used, *(p for p in every if p != order and p not in used and not few)]
    for gates, interleaved, transposed in itertools.product(
        orders, (False, True)[: 1 + (spec.gates > 1)], (False, True)
    ):
        yield {"gates": gates, "interleaved": interleaved, "transposed": transposed}


def to_numpy(value: Any) -> Any:
    """Tensors inside tuples, dicts and alone as arrays that the candidate may keep."""
    if isinstance(value, Tensor):
        return value.detach().numpy().copy()
    if isinstance(value, dict):
        return {name: to_numpy(one) for name, one in value.items()}
    return tuple(to_numpy(one) for one in value) if isinstance(value, tuple) else value


def to_torch(value: Any, dtype: torch.dtype) -> Any:
    """NumPy arrays inside tuples, lists and dicts as tensors of the dtype under test."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return torch.from_numpy(np.ascontiguousarray(value)).to(dtype)
    if isinstance(value, dict):
        return {name: to_torch(one, dtype) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return tuple(to_torch(one, dtype) for one in value)
    return value
