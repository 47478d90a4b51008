"""The network that a candidate is, as far as it tells: attributes and parameter names of torch."""

from __future__ import annotations

from typing import Any

import torch

from rnnbench.diagnosis.slots import holds_weights, slots_of
from rnnbench.errors import InputError
from rnnbench.parity.candidate import spec_of
from rnnbench.spec import GATES, Spec


def spec_from(candidate: Any, kind: str) -> Spec:
    """The spec, from torch's attributes, from a torch cell, or from weights with torch's names."""
    if isinstance(candidate, torch.nn.RNNCellBase):
        named = {"RNNCell": "rnn", "GRUCell": "gru", "LSTMCell": "lstm"}
        base = next(n for t in type(candidate).__mro__ for n in [t.__name__] if n in named)
        cell = named[base]
        if cell == "rnn":
            cell = f"rnn_{getattr(candidate, 'nonlinearity', 'tanh')}"
        return Spec(
            cell, candidate.input_size, candidate.hidden_size, bias=candidate.bias,
            dtype=str(candidate.weight_ih.dtype).removeprefix("torch."),
        )  # fmt: skip
    if isinstance(candidate, torch.nn.Module) and hasattr(candidate, "mode"):
        return spec_of(candidate)
    found = _spec_by_names(candidate) if holds_weights(candidate) else None
    if found is None:
        raise InputError(
            "spec must be given for a candidate that does not carry the attributes or parameter "
            "names of one network of torch.nn, such as spec=rnnbench.Spec('gru', input_size=3, "
            "hidden_size=4), or --cell gru --input-size 3 --hidden-size 4"
        )
    return found


def _spec_by_names(candidate: Any) -> Spec | None:
    """From tensors called weight_ih_l0, weight_hh_l0_reverse, …, at any depth."""
    held = slots_of(candidate)
    ends = {slot.path.rpartition(".")[2]: slot for slot in held}
    if "weight_ih_l0" not in ends or "weight_hh_l0" not in ends:
        return None
    if sum(slot.path.endswith("weight_ih_l0") for slot in held) > 1:
        return None  # several networks: which are the layers of one is not for us to say
    (rows, inputs), (_, hidden) = ends["weight_ih_l0"].shape, ends["weight_hh_l0"].shape
    gates = rows // hidden
    relu = "relu" in str(getattr(candidate, "nonlinearity", ""))
    cells = [c for c, g in GATES.items() if g == gates and (c == "rnn_relu") <= relu]
    if rows % hidden or not cells:
        return None
    layers = sum(name.startswith("weight_hh_l") and "_reverse" not in name for name in ends)
    return Spec(
        cells[-1], inputs, hidden, layers, 2 if "weight_hh_l0_reverse" in ends else 1,
        "bias_ih_l0" in ends, str(ends["weight_ih_l0"].tensor.dtype).removeprefix("torch."),
    )  # fmt: skip
