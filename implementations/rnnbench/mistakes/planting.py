"""The reference network with any mistakes of the catalogue planted in it.

In `rnnbench.mistakes.network` every line where people slip is a named place; a mistake is a
function that changes the value there, so that any of them can be planted together, on any problem,
in any dtype. With none planted the network is right.

Known shortcomings: of two mistakes at one place that both replace the value, the later in the
catalogue wins; a mistake that depends on random numbers (a second dropout mask) is planted with one
fixed choice, so it explains the kind of error that a candidate shows but not its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.mistakes import (
    cells,
    derivatives,
    gated,
    gradients,
    layers,
    loops,
    sequences,
    weights,
)
from rnnbench.mistakes.catalogue import Mistake
from rnnbench.mistakes.network import At, Hook, Network
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import gradients as gradients_of
from rnnbench.spec import Case, Spec

CATALOGUE: Mapping[str, Mistake] = {
    found.id: found
    for family in (weights, cells, gated, loops, layers, sequences, derivatives, gradients)
    for found in vars(family).values()
    if isinstance(found, Mistake)
}
"""Every mistake by its id, family by family."""


def applicable(case: Case) -> tuple[Mistake, ...]:
    """Return the mistakes that can be made in a case and change its numbers."""
    return tuple(known for known in CATALOGUE.values() if known.applies(case))


Planted = Iterable["str | Mistake"]
"""Ids of the catalogue, or mistakes themselves: limited ones, or made for one candidate."""


def _hooks(planted: Planted) -> dict[str, list[Hook]]:
    """Return the functions to call at each place, in the order of the catalogue."""
    chosen = list(planted)
    ids = {one for one in chosen if isinstance(one, str)}
    if unknown := sorted(ids - set(CATALOGUE)):
        raise InputError(
            f"mistakes must be ids from rnnbench.mistakes.CATALOGUE; got {', '.join(unknown)}"
        )
    hooks: dict[str, list[Hook]] = {}
    own = [one for one in chosen if isinstance(one, Mistake)]
    for known in [*(known for known in CATALOGUE.values() if known.id in ids), *own]:
        for place in known.places:
            hooks.setdefault(place, []).append(known.act)
    return hooks


def variant(
    spec: Spec,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    *,
    mistakes: Planted = (),
    lengths: Sequence[int] | None = None,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return output and final state of the network with these mistakes planted, differentiable.

    x        (T, B, I), padded where ``lengths`` says that a sequence is shorter
    state    (h0,) or (h0, c0): (L·D, B, P or H), (L·D, B, H)
    weights  by torch's names
    lengths  B ints in any order, or None if all have length T
    masks    L−1 dropout masks (T, B, D·P), 0 or 1/(1−p); None for no dropout

    The dtype is that of the tensors. Raises InputError for an unknown id.
    """
    T, B = x.shape[:2]
    at = At(spec, T, B, lengths, tuple(masks or ()))
    return Network(at, _hooks(mistakes)).run(x, tuple(state), weights)


def candidate(
    spec: Spec, *mistakes: str | Mistake
) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """Return the network with these mistakes planted, as a function for `rnnbench.check`.

    It is called as ``f(x, state, weights)``, with ``lengths=`` and ``masks=`` where a case has
    them. Raises InputError for an unknown id.
    """
    _hooks(mistakes)

    def run(
        x: Tensor,
        state: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        *,
        lengths: Sequence[int] | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return variant(spec, x, state, weights, mistakes=mistakes, lengths=lengths, masks=masks)

    ids = [one if isinstance(one, str) else one.id for one in mistakes]
    run.__name__ = "+".join(ids) or "reference"
    return run


def answers(
    spec: Spec,
    x: Array,
    state: Sequence[Array],
    weights: Mapping[str, Array],
    *,
    mistakes: Planted = (),
    upstream: Mapping[str, Array] | None = None,
    lengths: Sequence[int] | None = None,
    masks: Sequence[Array] | None = None,
) -> dict[str, Any]:
    """Return every quantity in float64 with these mistakes planted.

    Arguments and names of the answers are those of `rnnbench.parity.oracle.oracle`. A gradient that
    no path reaches is None. An answer of a wrong shape has no upstream gradient, and adds nothing
    to the others. Raises InputError for an unknown id.
    """

    def leaf(array: Array) -> Tensor:
        return torch.tensor(array.astype(float), requires_grad=upstream is not None)

    initial = dict(zip(("h0", "c0"), map(leaf, state), strict=False))
    tensors = {"x": leaf(x)} | initial | {name: leaf(weight) for name, weight in weights.items()}
    y, final = variant(
        spec, tensors["x"], tuple(initial.values()), {name: tensors[name] for name in weights},
        mistakes=mistakes, lengths=lengths,
        masks=None if masks is None else [torch.tensor(m.astype(float)) for m in masks],
    )  # fmt: skip
    values: dict[str, Tensor | None] = {"output": y}
    values |= dict(zip(("h_n", "c_n"), final, strict=False))
    if upstream is not None:
        sources = {f"grad_{name}": tensor for name, tensor in tensors.items()}
        values |= gradients_of(values, upstream, sources)
    return {n: None if v is None else v.detach().numpy() for n, v in values.items()}
