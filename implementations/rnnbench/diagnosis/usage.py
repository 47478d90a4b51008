"""Checks of the arguments of `rnnbench.diagnose`, before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rnnbench.diagnosis.adapter import KINDS, LOSSES
from rnnbench.diagnosis.layouts import Layout
from rnnbench.errors import InputError
from rnnbench.parity.oracle import Array
from rnnbench.spec import Spec


def check_usage(
    *, spec: Spec | None, kind: str | None, mapping: Any, layout: Mapping[str, Any],
    loss: str | None, x: Any, state: Any, weights: Any,
) -> None:  # fmt: skip
    """Raise InputError for the first argument that cannot be meant."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(map(repr, KINDS))}; got {kind!r}")
    if loss is not None and loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(map(repr, LOSSES))}; got {loss!r}")
    Layout(**{name: value for name, value in layout.items() if value is not None}).check(spec)
    if mapping is not None:
        _check_mapping(mapping, spec)
    if weights is not None and not isinstance(weights, Mapping):
        raise InputError(f"weights must be a dict by torch's names; got {weights!r:.80}")
    if x is None and (state is not None or weights is not None):
        raise InputError("x must be given along with state and weights; got None")
    if x is not None:
        array_of("x", x)
    for name, value in (weights or {}).items():
        array_of(f"weights[{name!r}]", value)
    if state is not None:
        for part in state if isinstance(state, tuple | list) else (state,):
            array_of("state", part)


def _check_mapping(mapping: Any, spec: Spec | None) -> None:
    if not isinstance(mapping, Mapping):
        raise InputError(
            "mapping must be a dict from torch's names to places, such as "
            f"{{'weight_ih_l0': 'W'}}; got {mapping!r:.80}"
        )
    names = [p.name for p in spec.parameters] if spec is not None else None
    for name, place in mapping.items():
        if spec is not None and names is not None and name not in names:
            raise InputError(
                f"mapping must have the names of {spec.name}'s parameters as keys "
                f"({', '.join(sorted(names)[:3])}, …); got {name!r}"
            )
        places = [place] if place is None or isinstance(place, str) else place
        if not isinstance(places, list | tuple) or not all(
            isinstance(one, str) or place is None for one in places
        ):
            raise InputError(
                f"mapping[{name!r}] must be the place of a tensor, a list of places gate by gate, "
                f"or None; got {place!r:.80}"
            )


def array_of(name: str, value: Any) -> Array:
    """Somebody's numbers in float64; InputError where they are not finite numbers in a grid."""
    try:
        if isinstance(value, Tensor):
            found = value.detach().cpu().double().numpy()
        else:
            found = np.asarray(
                [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in value]
                if isinstance(value, list | tuple)
                else value,
                float,
            )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be an array, or lists of equal length, of numbers; got {value!r:.80}"
        ) from error
    if not np.isfinite(found).all():
        raise InputError(f"{name} must have finite numbers; got {value!r:.80}")
    return found
