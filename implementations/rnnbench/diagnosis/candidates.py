"""Kinds of candidates: its kind, its network, the places of its weights; adapters for each.

What cannot be told from names and shapes becomes several adapters, between which numbers decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.layouts import Layout
from rnnbench.diagnosis.limit import TimeLimit
from rnnbench.diagnosis.parametrised import with_plain_weights
from rnnbench.diagnosis.renaming import checked_renaming
from rnnbench.diagnosis.signature import arguments_of, loops, positional, roles_of, takes
from rnnbench.diagnosis.slots import Slot, holds_weights, slots_of, spec_from
from rnnbench.diagnosis.weights import Mapped, Match, inferred, matches, with_head
from rnnbench.errors import InputError
from rnnbench.spec import Spec

METHODS = ("forward", "step", "run", "predict")


def kind_of(candidate: Any, kind: str | None) -> str:
    """The kind as given, or a module, a cell where its type says so, or a function."""
    if kind is not None:
        return kind
    if isinstance(candidate, type) or not (callable(candidate) or _method(candidate)):
        raise InputError(
            "candidate must be a module, a callable object that holds its weights, or a function; "
            f"got {candidate!r:.80}"
        )
    if isinstance(candidate, torch.nn.RNNCellBase):
        return "cell"
    return "module" if holds_weights(candidate) else "function"


def _method(candidate: Any) -> str:
    """Return the method by which an object that is not callable is called."""
    if callable(candidate) or not holds_weights(candidate):
        return ""
    return next((name for name in METHODS if callable(getattr(candidate, name, None))), "")


def adapters_for(
    candidate: Any, spec: Spec | None, kind: str | None, mapping: Mapped | None,
    layout: Mapping[str, Any], loss: str | None, limit: TimeLimit | None = None,
) -> list[Adapter]:  # fmt: skip
    """The candidate in every way that its weights can be matched; mostly one.

    Raises InputError for what is not known or cannot be told apart.
    """
    candidate, said = with_plain_weights(candidate)
    name = getattr(candidate, "__name__", type(candidate).__name__)
    chosen = kind_of(candidate, kind)
    known = Layout(**{name: value for name, value in layout.items() if value is not None})
    if holds_weights(candidate) and chosen in ("module", "cell"):
        found = _networks(candidate, spec, mapping)
    else:
        found = [(spec or spec_from(candidate), None)]
    made: list[Adapter] = []
    for network, match in found:
        if chosen == "cell" and network.layers * network.directions != 1:
            raise InputError(
                f"spec must have one layer and direction for a single cell; got {network.name}"
            )
        known.check(network)
        adapter = Adapter(
            candidate, name, network, chosen, known, match, limit=limit or TimeLimit(None),
            remark=said, method=_method(candidate),
        )  # fmt: skip
        if match is None:
            made += _functions(adapter, mapping, loss, sure=kind is not None)
        else:
            made += _objects(adapter, layout, sure=kind is not None)
    return made


def _networks(
    candidate: Any, spec: Spec | None, mapping: Mapped | None
) -> list[tuple[Spec, Match | None]]:
    """Networks and places of their weights: by torch's names or the mapping, else inferred."""
    slots: list[Slot] = slots_of(candidate)
    found: list[tuple[Spec, Match]]
    try:
        network = spec or spec_from(candidate)
        found = [(network, match) for match in matches(slots, network, mapping)]
    except InputError:
        found = [] if mapping else inferred(candidate, slots, spec)
        if not found:
            raise
    made: list[tuple[Spec, Match | None]] = []
    for network, match in found:
        headless = with_head(match, candidate, network)
        made.append((network, headless))
        if headless.head.said:
            made.append((network, match))
    return made


def _objects(adapter: Adapter, layout: Mapping[str, Any], *, sure: bool) -> list[Adapter]:
    """An object that holds its weights, as a module and, where it may be one, as a cell."""
    candidate, spec = adapter.candidate, adapter.spec
    if layout.get("batch_first") is None:
        first = getattr(candidate, "batch_first", False) is True
        adapter.layout = replace(adapter.layout, batch_first=first)
    adapter.arguments = arguments_of(adapter.call, len(spec.state_shapes(1)))
    adapter.takes_state = adapter.kind == "cell" or adapter.arguments.takes_state
    if sure or adapter.kind == "cell" or spec.layers * spec.directions != 1:
        return [replace(adapter, notes={})]
    if not adapter.takes_state:
        return [replace(adapter, notes={})]
    kinds = ("cell", "module") if loops(candidate) is False else ("module", "cell")
    return [replace(adapter, kind=one, notes={}) for one in kinds]


def _functions(
    adapter: Adapter, mapping: Mapped | None, loss: str | None, *, sure: bool
) -> list[Adapter]:
    """A function, with a state of one part in a tuple and alone, as a whole and as a cell."""
    candidate, spec = adapter.candidate, adapter.spec
    adapter.renamed = checked_renaming(spec, mapping)
    if adapter.kind == "function":
        adapter.takes_lengths = takes(candidate, "lengths")
        adapter.takes_masks = takes(candidate, "masks")
        adapter.roles = roles_of(candidate, spec)
    if adapter.kind == "gradient":
        adapter.loss = loss or ("upstream" if positional(candidate) != 3 else "h_n")
    made = [replace(adapter, notes={})]
    if not spec.has_cell_state and not adapter.roles:
        made.append(replace(adapter, bare=True, notes={}))
    if not sure and spec.layers * spec.directions == 1 and loops(candidate) is False:
        made += [replace(one, kind="cell", notes={}) for one in made]
    return made
