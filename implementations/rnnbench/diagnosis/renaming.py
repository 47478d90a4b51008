"""The weights under the names, and in the pieces, in which a function wants them.

A mapping gives for each weight of torch's a key of the function's own, a place in what stands under
a key ("w_hh[0]", "gates[:, :5]"), a list of such gate by gate, or None where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnnbench.diagnosis.weights import Mapped, indexed
from rnnbench.errors import InputError
from rnnbench.spec import Spec

Pieces = list[tuple[tuple[int | slice, ...], Tensor]]


def checked_renaming(spec: Spec, mapping: Mapped | None) -> Mapped:
    """The mapping; InputError where a key of it is no weight of the network."""
    names = {p.name for p in spec.parameters}
    for name, own in (mapping or {}).items():
        if name not in names:
            raise InputError(
                "mapping must give a function's own name for each of torch's, such as "
                f"{{'weight_ih_l0': 'W'}}; got {name!r}: {own!r}"
            )
    return dict(mapping or {})


def renamed(weights: Mapping[str, Tensor], mapping: Mapped) -> dict[str, Any]:
    """The weights as a function reads them: by its keys, joined or stacked where it wants it so."""
    pieces: dict[str, Pieces] = {}
    for name, weight in weights.items():
        own = mapping.get(name, name)
        places = [own] if isinstance(own, str) else list(own or ())
        parts = weight.chunk(len(places)) if len(places) > 1 else [weight]
        for place, part in zip(places, parts, strict=True):
            key, index = indexed(place)
            pieces.setdefault(key, []).append((index, part))
    return {key: _assembled(key, held) for key, held in pieces.items()}


def _assembled(key: str, held: Pieces) -> Any:
    if all(not index for index, _ in held):
        return held[-1][1]
    first = held[0][0]
    if all(len(index) == 1 and isinstance(index[0], int) for index, _ in held):
        ordered = [part for _, part in sorted(held, key=lambda one: one[0])]
        equal = len({part.shape for part in ordered}) == 1
        return torch.stack(ordered) if equal else ordered
    axis = next((i for i, one in enumerate(first) if one != slice(None)), None)
    if axis is None or any(not all(isinstance(i, slice) for i in index) for index, _ in held):
        raise InputError(
            f"mapping must give places in {key!r} by one number each (W[0]) or by slices of one "
            f"axis (W[:, :5]); got {[index for index, _ in held]}"
        )
    ordered = [part for _, part in sorted(held, key=lambda one: _start(one[0][axis]))]
    return torch.cat(ordered, dim=axis)


def _start(index: int | slice) -> int:
    return index if isinstance(index, int) else index.start or 0
