"""Recognise how a candidate is asked: layout, storage and sizes in which its answers fit.

Every layout that its shapes allow is put a small problem; the first in which the numbers are right
is taken, else the first in which a known mistake gives them, else the first that fits in shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.causes import first_explained
from rnnbench.diagnosis.layouts import STATES, Layout, storages
from rnnbench.diagnosis.trials import Solved, Trial, attempt, solved_for
from rnnbench.spec import Case

RIGHT, SHAPED, RAN, RAISED = range(4)


def _rank(trial: Trial) -> int:
    """Return how well a layout fits: numbers right, shapes right, it ran, it raised."""
    if trial.raised is not None:
        return RAISED
    if not trial.failed:
        return RIGHT
    return RAN if any(row.status in ("shape", "dtype") for row in trial.failed) else SHAPED


SIZES = ((3, 2), (3, 1), (2, 2), (4, 2), (5, 2), (5, 1), (10, 1))
"""Steps and sequences that are tried until some answer has the right shapes."""


def recognise(
    adapters: list[Adapter], known: Mapping[str, Any], own: int | None = None
) -> tuple[Adapter, Trial]:
    """The adapter in the layout that fits it best, and how it did.

    known: what the user said of the layout; own: the length of the user's own sequence. Axes other
    than torch's are tried where torch's raise or give wrong shapes, storage of the weights where
    names are not torch's; elsewhere a layout is taken only if it makes every number right. Where
    none does in three steps, a layout of the right shapes that does in a single step is taken: what
    is wrong with loops over time is not wrong there. Else the first is taken in which a known
    mistake gives the numbers, and `Adapter.guessed` says so. The first that fits wins.
    """
    ask = _Asking()
    best, found = adapters[0], ask(adapters[0], 3)
    sizes = [(own, 2), (own, 1)] if own else []
    for steps, batch in (*sizes, *SIZES):
        tried = adapters if _rank(found) == RAISED else [best]
        best, found = _in_axes(
            adapters if (steps, batch) == SIZES[0] else tried, known, ask, steps, batch, best, found
        )
        if _rank(found) == SHAPED:
            best, found = _in_storages(adapters, known, ask, steps, best, found)
        if best.only_last and best.spec.directions == 2 and _rank(found) != RIGHT:
            of_state = replace(best, only_last="state")
            if _rank(ask(of_state, steps)) == RIGHT:
                best, found = of_state, ask(of_state, steps)
        if _rank(found) <= SHAPED:
            return _with_sizes(best, ask, steps, batch), found
    return replace(best, batch=0), found


def _with_sizes(adapter: Adapter, ask: _Asking, steps: int, batch: int) -> Adapter:
    """The adapter with the only length that it takes, as of a loop written out, and the only
    number of sequences.
    """
    adapter = replace(adapter, batch=batch if batch == 1 else 0)
    if adapter.returns_numpy and adapter.layout.arrays == "torch":
        numpys = replace(adapter, layout=replace(adapter.layout, arrays="numpy"))
        if _rank(ask(numpys, steps)) <= _rank(ask(adapter, steps)):
            adapter = numpys
    ranks = {n: _rank(ask(adapter, n)) for n in sorted({1, 2, 3, 4, 5, steps})}
    shortest = next((n for n, rank in ranks.items() if rank <= SHAPED), steps)
    after = _rank(ask(adapter, shortest + 1))
    longer = [rank for n, rank in ranks.items() if n > steps]
    written_out = shortest > 1 and (
        after > SHAPED or (adapter.kind == "gradient" and after != RIGHT)
    )
    if written_out:
        return replace(adapter, steps=shortest)
    if longer and min(longer) > SHAPED:
        return replace(adapter, steps=steps)
    return adapter


def _in_axes(
    adapters: list[Adapter], known: Mapping[str, Any], ask: _Asking, steps: int, batch: int,
    best: Adapter, found: Trial,
) -> tuple[Adapter, Trial]:  # fmt: skip
    """The best of all axes at one size; what was found before where none is better."""
    for adapter in adapters:
        for layout in _axes(adapter, known):
            tried = replace(adapter, layout=layout, notes={}, batch=batch, only_last="")
            trial = ask(tried, steps)
            if _better(trial, found):
                best, found = tried, trial
            if _rank(found) == RIGHT:
                return best, found
    return best, found


def _in_storages(
    adapters: list[Adapter], known: Mapping[str, Any], ask: _Asking, steps: int, best: Adapter,
    found: Trial,
) -> tuple[Adapter, Trial]:  # fmt: skip
    """The storage that fits, of those that shapes cannot tell apart."""
    others = [best, *_others(adapters, best, known)]
    shaped: list[tuple[Adapter, Trial]] = []
    for n, tried in enumerate(others):
        trial = found if n == 0 else ask(tried, steps)
        if _rank(trial) == RIGHT:
            return tried, trial
        told = tried.match is not None and tried.match.named and tried.layout.gates
        function = tried.match is None and (tried.bare, tried.kind) != (best.bare, best.kind)
        if _rank(trial) == SHAPED and not told and not function:
            shaped.append((tried, trial))
    for tried, trial in shaped:
        if steps > 1 and _rank(ask(tried, 1)) == RIGHT:
            return tried, trial
    return _explained(shaped) or (best, found)


def _explained(shaped: Sequence[tuple[Adapter, Trial]]) -> tuple[Adapter, Trial] | None:
    """The first in which one known mistake gives the numbers of the forward pass."""
    if len(shaped) < 2 or not any(q in shaped[0][1].got for q in ("output", "h_n")):
        return None
    index = first_explained([trial for _, trial in shaped])
    if index is None:
        return replace(shaped[0][0], guessed=len(shaped)), shaped[0][1]
    adapter, trial = shaped[index]
    return replace(adapter, guessed=len(shaped)), trial


class _Asking:
    """Puts a small problem to adapters; it is solved once for all that can be asked the same."""

    def __init__(self) -> None:
        self.solved: dict[Any, Solved] = {}

    def __call__(self, adapter: Adapter, steps: int) -> Trial:
        batch = 1 if adapter.layout.unbatched else adapter.batch or 2
        phase = "training" if adapter.kind == "gradient" else "inference"
        spec = replace(adapter.spec, dropout=0.0)
        key = (spec, batch, steps, adapter.absent, adapter.takes_state, adapter.loss)
        if key not in self.solved:
            case = Case(spec, steps, batch, phase, initial_state=adapter.takes_state, seed=3)
            self.solved[key] = solved_for(replace(adapter, only_last=""), case)
        return attempt(adapter, self.solved[key])


def _others(adapters: list[Adapter], best: Adapter, known: Mapping[str, Any]) -> Iterable[Adapter]:
    """Layouts that shapes cannot tell from the best: axes of the states, storage of the weights."""
    axes = {best.layout.states, *(STATES[1:3] if best.layout.states in STATES[1:3] else ())}
    states = [known["states"]] if known.get("states") else [s for s in STATES if s in axes]
    for adapter in adapters:
        own = adapter.own_storage
        every = storages(
            adapter.spec, few=adapter.match is not None and bool(adapter.match.inferred)
        )
        stored = [s for s in every if own and _possible(s, adapter, known)]
        for storage in stored or [{}]:
            for axis in states:
                layout = replace(best.layout, states=axis, **storage)
                yield replace(adapter, layout=layout, notes={}, batch=best.batch)


def _better(trial: Trial, found: Trial) -> bool:
    """A layout other than the first must make the numbers right, or be the first to fit at all."""
    rank, before = _rank(trial), _rank(found)
    return rank == RIGHT or (before >= RAN and rank < before)


def _axes(adapter: Adapter, known: Mapping[str, Any]) -> Iterable[Layout]:
    """Axes and arrays, torch's first; what the user said stays."""
    first = adapter.layout
    transposed = adapter.match.transposed if adapter.match else None
    if known.get("transposed") is None and transposed:
        first = replace(first, transposed=True)

    declared = getattr(adapter.candidate, "batch_first", None) is True

    held = adapter.match.slots.values() if adapter.match else ()
    arrays_held = held and all(isinstance(s.base, np.ndarray) for slots in held for s in slots)
    if arrays_held and known.get("arrays") is None:
        first = replace(first, arrays="numpy")

    def options(name: str, values: Iterable[Any]) -> list[Any]:
        own = getattr(first, name)
        return [own] if known.get(name) is not None else [own, *(v for v in values if v != own)]

    single = adapter.spec.layers * adapter.spec.directions == 1
    grid = itertools.product(
        options("arrays", ("torch", "numpy")),
        options("transposed", (False, True) if adapter.own_storage and transposed is None else ()),
        options("unbatched", (False, True)),
        (False, True),
        options("states", STATES if single else STATES[:3]),
        options("batch_first", (False, True)) if not declared else [first.batch_first],
    )
    for arrays, turned, unbatched, columns, states, batch_first in grid:
        if (unbatched and batch_first) or (columns and not unbatched):
            continue
        yield replace(
            first, arrays=arrays, transposed=turned, unbatched=unbatched, columns=columns,
            states=states, batch_first=batch_first,
        )  # fmt: skip


def _possible(storage: Mapping[str, Any], adapter: Adapter, known: Mapping[str, Any]) -> bool:
    """Return whether a storage is in line with what the user said and the shapes say."""
    shapes = adapter.match.transposed if adapter.match else None
    if shapes is not None and storage["transposed"] != shapes:
        return False
    return all(known.get(name) in (None, value) for name, value in storage.items())
