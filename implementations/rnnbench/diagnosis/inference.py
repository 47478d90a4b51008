"""The network and the place of each weight, inferred from names, shapes and attributes.

For objects that carry neither torch's attributes nor its names of weights. Tensors are sorted into
units, one for each layer and direction, by the numbers and words in their paths. Within a unit a
weight may be held whole or gate by gate, apart or as the product with [x, h] or [h, x], as torch
stores it or transposed; GRUs may hold r and z together and n apart. Everything that the shapes
allow is a guess; which one holds is for numbers to decide.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnbench.diagnosis.slots import Slot
from rnnbench.diagnosis.words import (
    BIAS,
    FORWARD,
    HEAD,
    HIDDEN_SIZE,
    INPUT,
    INPUT_SIZE,
    NUMBER,
    RECURRENT,
    REVERSE,
    gates_named,
)
from rnnbench.spec import DIRECTION_SUFFIX, DTYPES, GATE_ORDER, Spec

MOST = 12
"""Guesses that are tried; the shapes of small networks with equal sizes allow more."""

_CELLS = {1: ("rnn_tanh", "rnn_relu"), 3: ("gru",), 4: ("lstm",)}
Unit = tuple[Slot, ...]
Held = Mapping[str, Sequence[Slot]]


@dataclass(frozen=True)
class Guess:
    """A network and the slots, or parts of slots, that hold each of its weights.

    transposed  whether weights are stored as (columns, rows)
    named       whether names tell which gate is which
    """

    spec: Spec
    held: Mapping[str, list[Slot]]
    transposed: bool
    named: bool


@dataclass(frozen=True)
class _Layer:
    gates: int
    held: Held
    transposed: bool
    named: bool


def guesses(candidate: Any, slots: Sequence[Slot], spec: Spec | None) -> list[Guess]:
    """Return the networks that the tensors of an object can be, the most telling first.

    spec: the network where it is known, so that only its weights are sought.
    """
    found: list[Guess] = []
    for units in _partitions(_unstacked(slots)):
        for H, inputs in _sizes(candidate, units, spec):
            found += _networks(candidate, units, H, inputs, spec)
            if len(found) >= MOST:
                return found[:MOST]
    return found


def _unstacked(slots: Sequence[Slot]) -> list[Slot]:
    """Slots, those of three axes (L, rows, columns) layer by layer, and their biases (L, rows)."""
    counts = {slot.shape[0] for slot in slots if len(slot.shape) == 3}
    found = []
    for slot in slots:
        bias = len(slot.shape) == 2 and slot.shape[0] in counts and BIAS.search(slot.path)
        if len(slot.shape) == 3 or bias:
            found += [slot.part(k) for k in range(slot.shape[0])]
        else:
            found.append(slot)
    return found


def _partitions(slots: Sequence[Slot]) -> Iterator[list[list[Unit]]]:
    """Units by layer and direction: by numbers and words of their paths, all in one, or by the
    first name of their paths, a layer each.
    """
    seen = []
    for by_number, by_word in ((True, True), (True, False), (False, True), (False, False)):
        units: dict[tuple[int, int], list[Slot]] = {}
        for slot in slots:
            if _is_head(slot):
                continue
            number = NUMBER.search(slot.path) if by_number else None
            reverse = bool(by_word and REVERSE.search(slot.path))
            units.setdefault((int(number[1]) if number else -1, int(reverse)), []).append(slot)
        if by_number and len(units) > 1:  # what has no number is no layer, a head mostly
            units = {key: held for key, held in units.items() if key[0] >= 0}
        layers = sorted({layer for layer, _ in units})
        directions = sorted({direction for _, direction in units})
        if not units or len(units) != len(layers) * len(directions):
            continue
        grid = [[tuple(units[layer, d]) for d in directions] for layer in layers]
        if grid not in seen:
            seen.append(grid)
            yield grid
    owners: dict[str, list[Slot]] = {}
    for slot in slots:
        if not _is_head(slot):
            owners.setdefault(slot.path.partition(".")[0], []).append(slot)
    if len({len(held) for held in owners.values()}) == 1 < len(owners):
        yield [[tuple(held)] for held in owners.values()]


def _is_head(slot: Slot) -> bool:
    owner = slot.path.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    return bool(HEAD.search(owner)) and not FORWARD.search(owner)


def _sizes(
    candidate: Any, units: list[list[Unit]], spec: Spec | None
) -> Iterator[tuple[int, list[int]]]:
    """Hidden sizes with input sizes that may be meant: by attributes, else by the shapes."""
    if spec is not None:
        yield spec.hidden_size, [spec.input_size]
        return
    first = units[0][0]
    dims = {n for slot in first if len(slot.shape) == 2 for n in slot.shape}
    whole = vars(candidate) if hasattr(candidate, "__dict__") else {}
    numbers = {k: v for k, v in whole.items() if isinstance(v, int) and not isinstance(v, bool)}
    hidden = [v for k, v in numbers.items() if HIDDEN_SIZE.search(k) and v > 0]
    inputs = [v for k, v in numbers.items() if INPUT_SIZE.search(k) and v > 0]
    if not hidden:
        hidden = sorted({n // g for n in dims for g in (1, 3, 4) if n % g == 0})
        hidden.sort(key=lambda n: not any((g * n, n) in _both(first) for g in (4, 3, 1)))
    for H in hidden:
        rest = sorted({n for n in dims if n != H} | {n - H for n in dims if n > H})
        yield H, [*inputs, *(n for n in (*rest, H) if n not in inputs)]


def _both(unit: Unit) -> set[tuple[int, ...]]:
    return {shape for slot in unit for shape in (slot.shape, slot.shape[::-1])}


def _networks(
    candidate: Any, units: list[list[Unit]], H: int, inputs: Sequence[int], spec: Spec | None
) -> Iterator[Guess]:
    """Guesses for one hidden size: every unit parsed in the same way."""
    D = len(units[0])
    if spec is not None and (len(units), D) != (spec.layers, spec.directions):
        return
    for I in inputs:  # noqa: E741
        sizes = [I, *[D * H] * (len(units) - 1)]
        per_unit = [
            [list(_parsed(unit, H, size)) for unit in layer]
            for layer, size in zip(units, sizes, strict=True)
        ]
        rows = [parsed for layer in per_unit for parsed in layer]
        if not all(rows):
            continue
        count = min(map(len, rows))
        for k in range(count):
            chosen = [parsed[k] for parsed in rows]
            if len({(one.gates, one.transposed, *sorted(one.held)) for one in chosen}) == 1:
                yield from _guess(candidate, units, chosen, I, H, spec)


def _guess(
    candidate: Any, units: list[list[Unit]], chosen: Sequence[_Layer], I: int, H: int,  # noqa: E741
    spec: Spec | None,
) -> Iterator[Guess]:  # fmt: skip
    D, first = len(units[0]), chosen[0]
    held: dict[str, list[Slot]] = {}
    for n, layer in enumerate(chosen):
        end = f"_l{n // D}{DIRECTION_SUFFIX[n % D]}"
        held |= {kind + end: list(slots) for kind, slots in layer.held.items()}
    bias = any(name.startswith("bias") for name in held)
    for cell in _cells(candidate, first.gates):
        if spec is not None and spec.cell != cell:
            continue
        network = spec or Spec(cell, I, H, len(units), D, bias, _dtype(units[0][0]))
        yield Guess(network, held, first.transposed, first.named)


def _cells(candidate: Any, gates: int) -> Sequence[str]:
    """Return the cells of so many gates that the names speak for."""
    name = type(candidate).__name__.lower()
    for word, count in (("lstm", 4), ("gru", 3)):
        if word in name and gates != count:
            return ()
    if gates > 1:
        return _CELLS[gates]
    modules = candidate.modules() if hasattr(candidate, "modules") else [candidate]
    said = " ".join(
        str(getattr(m, key, "")) for m in modules for key in ("nonlinearity", "activation", "act")
    ).lower()
    if "relu" in said:
        return _CELLS[1][::-1]
    return _CELLS[1][:1] if "tanh" in said else _CELLS[1]


def _dtype(unit: Unit) -> str:
    name = str(unit[0].tensor.dtype).removeprefix("torch.")
    return name if name in DTYPES else "float32"


def _parsed(unit: Unit, H: int, I: int) -> Iterator[_Layer]:  # noqa: E741
    """Every way in which the tensors of one layer and direction are its weights."""
    matrices = [slot for slot in unit if len(slot.shape) == 2]
    for transposed, gates in itertools.product((False, True), (4, 3, 1)):

        def fitting(rows: int, columns: int, t: bool = transposed) -> list[Slot]:
            return [m for m in matrices if _is(m, rows, columns, t)]

        for split in _splits(gates, H):
            yield from _apart(unit, fitting, gates, split, H, I, transposed)
            yield from _joined(unit, fitting, gates, split, H, I, transposed)


def _is(slot: Slot, rows: int, columns: int, transposed: bool) -> bool:
    return slot.shape == ((columns, rows) if transposed else (rows, columns))


def _splits(gates: int, H: int) -> Iterator[list[int]]:
    """Rows of the tensors that make up a weight: whole, gate by gate, and r, z together."""
    yield [gates * H]
    if gates > 1:
        yield [H] * gates
    if gates == 3:
        yield [2 * H, H]


def _apart(
    unit: Unit,
    fitting: Any,
    gates: int,
    split: list[int],
    H: int,
    I: int,  # noqa: E741
    transposed: bool,
) -> Iterator[_Layer]:
    """The input's and the state's weights in tensors of their own."""
    inputs = {rows: fitting(rows, I) for rows in set(split)}
    states = {rows: fitting(rows, H) for rows in set(split)}
    ways = [(inputs, states)]
    if I == H:
        pairs = {rows: _two_kinds(inputs[rows], split.count(rows)) for rows in set(split)}
        count = min(map(len, pairs.values()))
        ways = [
            ({r: pairs[r][k][0] for r in pairs}, {r: pairs[r][k][1] for r in pairs})
            for k in range(count)
        ]
    for own, recurrent in ways:
        if any(len(held[rows]) != split.count(rows) for held in (own, recurrent) for rows in held):
            continue
        ih = [slot for rows in dict.fromkeys(split) for slot in own[rows]]
        hh = [slot for rows in dict.fromkeys(split) for slot in recurrent[rows]]
        (ih, named), (hh, _) = _in_order(ih, gates), _in_order(hh, gates)
        held = {"weight_ih": ih, "weight_hh": hh} | _biases(unit, ih, hh, gates, split, H)
        yield _Layer(gates, held, transposed, named)


def _two_kinds(slots: list[Slot], count: int) -> list[tuple[list[Slot], list[Slot]]]:
    """Tensors of one shape as the input's and the state's: by name, else in both orders."""
    if len(slots) != 2 * count:
        return []
    recurrent = [s for s in slots if RECURRENT.search(s.path) and not INPUT.search(s.path)]
    rest = [s for s in slots if s not in recurrent]
    if len(recurrent) == count:
        return [(rest, recurrent)]
    return [(slots[:count], slots[count:]), (slots[count:], slots[:count])]


def _joined(
    unit: Unit,
    fitting: Any,
    gates: int,
    split: list[int],
    H: int,
    I: int,  # noqa: E741
    transposed: bool,
) -> Iterator[_Layer]:
    """One tensor for the product with [x, h] or [h, x]."""
    found = {rows: fitting(rows, I + H) for rows in set(split)}
    if any(len(found[rows]) != split.count(rows) for rows in found):
        return
    slots, named = _in_order([s for rows in dict.fromkeys(split) for s in found[rows]], gates)
    biases = _biases(unit, slots, [], gates, split, H)
    for x_first in (True, False):
        middle = I if x_first else H
        low, high = slice(None, middle), slice(middle, None)
        x_part, h_part = (low, high) if x_first else (high, low)

        def columns(which: slice) -> list[Slot]:
            index = (which,) if transposed else (slice(None), which)
            return [slot.part(*index) for slot in slots]

        held = {"weight_ih": columns(x_part), "weight_hh": columns(h_part)}
        yield _Layer(gates, held | biases, transposed, named)


def _in_order(slots: list[Slot], gates: int) -> tuple[list[Slot], bool]:
    """Slots of single gates in torch's order, and whether their names tell it."""
    if len(slots) != gates or gates == 1:
        return slots, False
    order = GATE_ORDER[_CELLS[gates][0]]
    letters = gates_named([slot.path for slot in slots], order)
    if letters is None:
        return slots, False
    return [slots[letters.index(gate)] for gate in order], True


def _biases(
    unit: Unit, ih: Sequence[Slot], hh: Sequence[Slot], gates: int, split: list[int], H: int
) -> dict[str, list[Slot]]:
    """The biases beside the weights, or the vectors that have their sizes; empty without any."""
    by_path = {slot.path: slot for slot in unit}
    beside = {}
    for kind, weights in (("bias_ih", ih), ("bias_hh", hh)):
        paths = [w.path[: -len("weight")] + "bias" for w in weights if w.path.endswith("weight")]
        own = [by_path[path] for path in paths if path in by_path]
        if own and len(own) == len(weights):
            beside[kind] = own
    if beside:
        return beside
    used = {id(slot.base) for slot in (*ih, *hh)}
    norms = {
        s.path.rpartition(".")[0]
        for s in unit
        if s.path.endswith(".weight") and s.size == len(s.tensor)
    }
    vectors = [
        s
        for s in unit
        if id(s.base) not in used
        and s.size == max(s.shape, default=0)
        and s.path.rpartition(".")[0] not in norms
    ]
    named = [s for s in vectors if BIAS.search(s.path)]
    for pool in (named, vectors):
        for sizes in (split, [H] * gates, [gates * H]):
            found = _by_size(pool, sizes, gates)
            if found:
                return found
    return {}


def _by_size(pool: Sequence[Slot], sizes: list[int], gates: int) -> dict[str, list[Slot]]:
    fitting = {n: [s for s in pool if s.size == n] for n in dict.fromkeys(sizes)}
    if all(len(fitting[n]) == sizes.count(n) for n in fitting):
        held, _ = _in_order([s for n in fitting for s in fitting[n]], gates)
        return {"bias_ih": held}
    if all(len(fitting[n]) == 2 * sizes.count(n) for n in fitting):
        pairs = [_two_kinds(fitting[n], sizes.count(n))[0] for n in fitting]
        kinds = zip(("bias_ih", "bias_hh"), zip(*pairs, strict=True), strict=True)
        return {kind: _in_order([s for one in held for s in one], gates)[0] for kind, held in kinds}
    return {}
