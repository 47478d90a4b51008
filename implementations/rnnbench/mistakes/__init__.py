"""The catalogue of mistakes: each a small, faithful variant of the reference.

    >>> import rnnbench
    >>> from rnnbench.mistakes import CATALOGUE, candidate
    >>> spec = rnnbench.Spec("gru", 3, 4)
    >>> print(CATALOGUE["gru_update_inverted"].wrong)
    h_t = z ⊙ n + (1 − z) ⊙ h_{t−1}
    >>> rnnbench.check(candidate(spec, "gru_update_inverted"), spec=spec).passed
    False

One network (`network`) has a named place wherever people slip; a mistake is a function that changes
the value there, so that any of them can be planted together, on any problem, in any dtype. With
none planted, the network is right. `candidate` gives a function for `rnnbench.check`, `answers` the
numbers as `rnnbench.parity.oracle` gives the right ones.

Known shortcomings: of two mistakes at one place that both replace the value, the later in the
catalogue wins; a mistake that depends on random numbers (a second dropout mask) is planted with one
fixed choice, and so explains nobody's numbers but in kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.mistakes import cells, derivatives, gradients, layers, sequences, weights
from rnnbench.mistakes.catalogue import Mistake
from rnnbench.mistakes.network import At, Hook, Network
from rnnbench.parity.oracle import Array
from rnnbench.spec import Case, Spec

__all__ = ["CATALOGUE", "Mistake", "answers", "applicable", "candidate", "variant"]

CATALOGUE: Mapping[str, Mistake] = {
    found.id: found
    for family in (weights, cells, layers, sequences, derivatives, gradients)
    for found in vars(family).values()
    if isinstance(found, Mistake)
}
"""Every mistake by its id, family by family."""


def applicable(case: Case) -> tuple[Mistake, ...]:
    """The mistakes that can be made in a case and change its numbers."""
    return tuple(known for known in CATALOGUE.values() if known.applies(case))


def _hooks(ids: Iterable[str]) -> dict[str, list[Hook]]:
    """What to call at each place, in the order of the catalogue."""
    wanted = set(ids)
    if unknown := sorted(wanted - set(CATALOGUE)):
        raise InputError(
            f"mistakes must be ids from rnnbench.mistakes.CATALOGUE; got {', '.join(unknown)}"
        )
    hooks: dict[str, list[Hook]] = {}
    for known in CATALOGUE.values():
        for place in known.places if known.id in wanted else ():
            hooks.setdefault(place, []).append(known.act)
    return hooks


def variant(
    spec: Spec,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    *,
    mistakes: Iterable[str] = (),
    lengths: Sequence[int] | None = None,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output and final state of the network with these mistakes planted; autograd goes through.

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


def candidate(spec: Spec, *mistakes: str) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """The network with these mistakes planted, as a function for `rnnbench.check`.

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

    run.__name__ = "+".join(mistakes) or "reference"
    return run


def answers(
    spec: Spec,
    x: Array,
    state: Sequence[Array],
    weights: Mapping[str, Array],
    *,
    mistakes: Iterable[str] = (),
    upstream: Mapping[str, Array] | None = None,
    lengths: Sequence[int] | None = None,
    masks: Sequence[Array] | None = None,
) -> dict[str, Any]:
    """Every quantity in float64 with these mistakes planted: `rnnbench.parity.oracle.oracle`, gone
    wrong.

    Arguments and names of the answers are the oracle's. A gradient that no path reaches is None.
    What comes out in a wrong shape has no upstream gradient, and adds nothing to the others.
    """

    def leaf(array: Array) -> Tensor:
        return torch.tensor(array.astype(float), requires_grad=upstream is not None)

    tensors = {"x": leaf(x)} | dict(zip(("h0", "c0"), map(leaf, state), strict=False))
    tensors |= {name: leaf(weight) for name, weight in weights.items()}
    initial = [tensors[name] for name in ("h0", "c0") if name in tensors]
    y, final = variant(
        spec, tensors["x"], initial, {name: tensors[name] for name in weights},
        mistakes=mistakes, lengths=lengths,
        masks=None if masks is None else [torch.tensor(m.astype(float)) for m in masks],
    )  # fmt: skip
    values = dict(zip(("output", "h_n", "c_n"), (y, *final), strict=False))
    found: dict[str, Any] = {name: value.detach().numpy() for name, value in values.items()}
    if upstream is None:
        return found
    asked = [n for n, v in values.items() if v.requires_grad and v.shape == upstream[n].shape]
    gradients = torch.autograd.grad(
        [values[name] for name in asked],
        list(tensors.values()),
        [torch.tensor(upstream[name].astype(float)) for name in asked],
        allow_unused=True,
    )
    return found | {
        f"grad_{name}": None if gradient is None else gradient.numpy()
        for name, gradient in zip(tensors, gradients, strict=True)
    }
