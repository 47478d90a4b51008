"""A mistake made in one layer or one direction of the network alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnbench.mistakes.catalogue import Mistake
from rnnbench.mistakes.network import At
from rnnbench.spec import DIRECTION_SUFFIX, Case

_FUNCTIONS = ("product", "tanh", "relu", "sigmoid", "candidate_activation")
_WHOLE = ("lengths", "x", "output", "drop", "mask", "layer_output")
"""Places of the whole network, which have no layer or direction to be limited to."""


def limited(known: Mistake, case: Case) -> Iterator[tuple[Mistake, str]]:
    """Yield the mistake in each layer, each direction and each of both alone, and where in words.

    Nothing for a mistake of the whole network.
    """
    layers, directions = case.spec.layers, case.spec.directions
    if set(known.places) & set(_WHOLE):
        return
    for layer in range(layers) if layers > 1 else ():
        yield _only(known, layer, None), f"layer {layer + 1}"
    for direction in range(directions) if directions > 1 else ():
        words = ("forward", "reverse")[direction]
        yield _only(known, None, direction), f"the {words} direction"
        for layer in range(layers) if layers > 1 else ():
            yield _only(known, layer, direction), f"layer {layer + 1} {words}"


def _only(known: Mistake, layer: int | None, direction: int | None) -> Mistake:
    def meant(at_layer: int, at_direction: int) -> bool:
        return layer in (None, at_layer) and direction in (None, at_direction)

    def act(value: Any, at: At) -> Any:
        changed = known.act(value, at)
        if at.place in _FUNCTIONS:

            def chosen(*args: Any) -> Any:
                return changed(*args) if meant(at.layer, at.direction) else value(*args)

            return chosen
        if at.place == "weights":
            ends = [
                f"_l{k}{DIRECTION_SUFFIX[d]}"
                for k in range(at.spec.layers)
                for d in range(at.spec.directions)
                if meant(k, d)
            ]
            return {n: changed[n] if n.endswith(tuple(ends)) else w for n, w in value.items()}
        if at.place in ("initial", "final"):
            rows = [meant(k, d) for k in range(at.spec.layers) for d in range(at.spec.directions)]
            mask = torch.tensor(rows)[:, None, None]
            return tuple(torch.where(mask, c, v) for c, v in zip(changed, value, strict=True))
        return changed if meant(at.layer, at.direction) else value

    return replace(known, act=act)
