"""Infer the spec of a network from torch's attributes or from the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from rnnbench.spec import GATES, Spec

CELL_MODULES = {nn.RNNCell: "rnn", nn.GRUCell: "gru", nn.LSTMCell: "lstm"}
FORWARDS: set[Callable[..., Any]] = {nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward}
"""Forwards whose mathematics is torch's; `rnnbench.nn.modules` adds that of its modules."""


def spec_of(module: Any) -> Spec:
    """Return the spec of a module or cell by the attributes that torch's have.

    Raises AttributeError where one is missing.
    """
    cell = next((name for kind, name in CELL_MODULES.items() if isinstance(module, kind)), None)
    if cell == "rnn":
        cell = f"rnn_{module.nonlinearity}"
    return Spec(
        cell or str(module.mode).lower(),
        module.input_size,
        module.hidden_size,
        layers=1 if cell else module.num_layers,
        directions=2 if getattr(module, "bidirectional", False) else 1,
        bias=bool(module.bias),
        dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        proj_size=getattr(module, "proj_size", 0),
        dropout=float(getattr(module, "dropout", 0.0)),
    )


def spec_and_weights(model: Any) -> tuple[Spec, tuple[Tensor, ...]] | None:
    """Return spec and weights of a module or cell of torch.nn or rnnbench, None for others.

    A subclass with a forward of its own is another model.
    """
    is_cell = type(model) in CELL_MODULES
    overridden = "forward" in getattr(model, "__dict__", {})
    if not is_cell and (overridden or getattr(type(model), "forward", None) not in FORWARDS):
        return None
    spec = spec_of(model)
    names = [p.name.removesuffix("_l0") if is_cell else p.name for p in spec.parameters]
    return spec, tuple(getattr(model, name) for name in names)


def spec_by_names(tensors: Mapping[str, Any], *, relu: bool = False) -> Spec | None:
    """Return the spec that tensors with torch's parameter names are the weights of, if any.

    Names: weight_ih_l0, weight_hh_l0_reverse, bias_ih_l1, …; ``relu`` chooses between the cells
    with one gate.
    """
    if "weight_ih_l0" not in tensors or "weight_hh_l0" not in tensors:
        return None
    (rows, inputs), (_, hidden) = tensors["weight_ih_l0"].shape, tensors["weight_hh_l0"].shape
    cells = [c for c, g in GATES.items() if g == rows // hidden and (c == "rnn_relu") <= relu]
    if rows % hidden or not cells:
        return None
    layers = sum(name.startswith("weight_hh_l") and "_reverse" not in name for name in tensors)
    return Spec(
        cells[-1],
        inputs,
        hidden,
        layers,
        directions=2 if "weight_hh_l0_reverse" in tensors else 1,
        bias="bias_ih_l0" in tensors,
        dtype=str(tensors["weight_ih_l0"].dtype).removeprefix("torch."),
    )
