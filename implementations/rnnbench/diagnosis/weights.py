"""Match a candidate's tensors to weights: by torch's names, by shape, or by a mapping."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rnnbench.diagnosis.heads import Head, head_of
from rnnbench.diagnosis.inference import guesses
from rnnbench.diagnosis.slots import Slot
from rnnbench.diagnosis.words import FORWARD, INPUT, RECURRENT, REVERSE, TORCH_NAME
from rnnbench.errors import InputError
from rnnbench.spec import DIRECTION_SUFFIX, Spec

Mapped = Mapping[str, "str | Sequence[str] | None"]


@dataclass
class Match:
    """Each weight's slots (several where one weight is held gate by gate), and what it means.

    absent      parameters that the candidate does not have: zero in every problem
    own_storage whether the names are not torch's, so that rows and axes may be stored otherwise
    transposed  whether shapes alone say that weights are stored transposed; None if they cannot
    unmatched   parameters of the candidate that are no weight of the network
    head        what is taken out for the time of a call
    inferred    how its weights were found, where neither torch's names nor a mapping tell
    named       whether names tell which gate is which
    """

    slots: dict[str, list[Slot]]
    absent: tuple[str, ...] = ()
    own_storage: bool = False
    transposed: bool | None = None
    unmatched: tuple[Slot, ...] = ()
    head: Head = field(default_factory=Head)
    inferred: str = ""
    named: bool = False
    scaled: dict[str, float] = field(default_factory=dict)  # by the last call that did, in place

    @property
    def plain(self) -> list[str]:
        """Paths of weights that are no parameters."""
        return [s.path for held in self.slots.values() for s in held if not s.registered]

    @property
    def tied(self) -> list[tuple[str, str]]:
        """Pairs of weights that are one tensor."""
        first: dict[int, str] = {}
        pairs = []
        for name, held in self.slots.items():
            for slot in held:
                if first.setdefault(id(slot.tensor), name) != name:
                    pairs.append((first[id(slot.tensor)], name))
        return pairs

    @contextmanager
    def holding(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """The candidate with these weights in place of its own; one tensor gets one value."""
        put: dict[int, Any] = {}
        joined: dict[int, tuple[Slot, Any]] = {}
        try:
            for name, held in self.slots.items():
                for slot, part in zip(held, self._parted(weights[name], held), strict=True):
                    if slot.whole is None:
                        slot.write(put.setdefault(id(slot.tensor), part))
                        continue
                    whole = slot.whole
                    if id(whole.tensor) not in joined:
                        own = torch.as_tensor(whole.tensor).detach().to(part.dtype).clone()
                        joined[id(whole.tensor)] = (whole, own)
                    joined[id(whole.tensor)][1][slot.index] = part
            for whole, value in joined.values():
                whole.write(value)
            before = {name: (weights[name], weights[name].detach().clone()) for name in self.slots}
            with self.head.taken_out():
                yield
            for name, (now, was) in before.items():
                if not torch.equal(now, was) and was.any():
                    self.scaled[name] = float((now * was).sum() / (was * was).sum())
        finally:
            self.restore()

    def _parted(self, weight: Tensor, held: list[Slot]) -> list[Tensor]:
        """A weight as its slots hold it: whole or gate by gate, a bias as a row or a column."""
        if len(held) == 1:
            parts: Sequence[Tensor] = [weight]
        elif weight.dim() == 1:
            parts = torch.split(weight, [slot.size for slot in held])
        else:
            axis = -1 if self._columns(held) else 0
            parts = torch.split(weight, [slot.shape[axis] for slot in held], dim=axis)
        return [
            part.reshape(slot.shape) if part.dim() == 1 and slot.size == part.numel() else part
            for slot, part in zip(held, parts, strict=True)
        ]

    def restore(self) -> None:
        """Put the candidate's own weights back."""
        for held in self.slots.values():
            for slot in held:
                (slot.whole or slot).write(slot.base)

    def _columns(self, held: list[Slot]) -> bool:
        """Return whether the gates of a weight held gate by gate are blocks of columns."""
        return bool(self.transposed) and len(held[0].shape) == 2


def inferred(candidate: Any, slots: Sequence[Slot], spec: Spec | None) -> list[tuple[Spec, Match]]:
    """Every network that the candidate's names and shapes allow, with its weights; none if they
    allow none.
    """
    found = []
    for guess in guesses(candidate, slots, spec):
        network = guess.spec
        absent = [p.name for p in network.parameters if p.name not in guess.held]
        torchs = all(TORCH_NAME.search(slot.path) for held in guess.held.values() for slot in held)
        match = _match(slots, network, guess.held, absent, own=not torchs)
        places = ", ".join(
            f"{name} = {' | '.join(slot.path for slot in held)}"
            for name, held in match.slots.items()
        )
        stored = "transposed" if guess.transposed else "as torch stores them"
        said = (
            f"inferred: {network.cell}, I={network.input_size}, H={network.hidden_size}, "
            f"L={network.layers}, D={network.directions}, weights {stored}: {places}"
        )
        square = all(len(set(s.shape)) == 1 for h in match.slots.values() for s in h if s.size > 1)
        transposed = None if square else guess.transposed
        match = replace(match, inferred=said, named=guess.named, transposed=transposed)
        found.append((network, match))
    return found


def with_head(match: Match, candidate: Any, spec: Spec) -> Match:
    """The match, with what stands around the recurrent part taken out."""
    head = head_of(candidate, match.unmatched, spec.output_size)
    rest = tuple(slot for slot in match.unmatched if id(slot.tensor) not in head.slots)
    return replace(match, head=head, unmatched=rest)


def matches(slots: Sequence[Slot], spec: Spec, mapping: Mapped | None) -> list[Match]:
    """Every way in which the slots can be the weights: one, or two where numbers must decide.

    Raises InputError with an example of the mapping where they cannot be told apart.
    """
    mapping = mapping or {}
    by_path = {slot.path: slot for slot in slots}
    taken: dict[str, list[Slot]] = {}
    absent = [name for name, path in mapping.items() if path is None]
    names = {p.name for p in spec.parameters}
    for name, paths in mapping.items():
        if name not in names:
            raise InputError(
                f"mapping must have the names of {spec.name}'s parameters as keys "
                f"({', '.join(sorted(names)[:3])}, …); got {name!r}"
            )
        listed = [paths] if isinstance(paths, str) else list(paths or ())
        if listed:
            taken[name] = [_placed(name, path, by_path) for path in listed]
    used = {id(slot.base) for held in taken.values() for slot in held}
    free = [slot for slot in slots if id(slot.tensor) not in used]
    missing = [p.name for p in spec.parameters if p.name not in taken and p.name not in absent]
    named = _by_torch_names(free, spec, missing) if missing else {}
    if named is not None:
        taken |= named
        absent += [name for name in missing if name not in named]
        return [_match(slots, spec, taken, absent, own=bool(mapping))]
    found = [
        _match(
            slots, spec, taken | given, [*absent, *(n for n in missing if n not in given)], own=True
        )
        for given in _by_shape(free, spec, missing)
    ]
    return [match for match in found if _fits(match, spec)] or [_refuse(slots, spec, missing)]


def _placed(name: str, path: str, by_path: Mapping[str, Slot]) -> Slot:
    """The slot, or the part of one, that a mapping names: ``W``, ``W[0]``, ``W[:, :5]``."""
    if _dotted(path) in by_path:
        return by_path[_dotted(path)]
    base, index = indexed(path)
    if index and _dotted(base) in by_path:
        try:
            return by_path[_dotted(base)].part(*index)
        except IndexError as error:
            shape = by_path[_dotted(base)].shape
            raise InputError(
                f"mapping[{name!r}] must be within {base} {shape}; got {path!r}"
            ) from error
    held = ", ".join(sorted(by_path)[:8]) or "no tensors"
    raise InputError(
        f"mapping[{name!r}] must name a tensor that the candidate holds ({held}); got {path!r}"
    )


def indexed(path: str) -> tuple[str, tuple[int | slice, ...]]:
    """``W[0][:, :5]`` as ``W`` and the index (0, :, :5); an empty index where there is none."""
    found = re.search(r"((?:\[[-\d:,\s]+\])+)$", path)
    if not found:
        return path, ()
    index: list[int | slice] = []
    for one in re.split(r"[\[\],]+", found[1].strip("[]")):
        ends = [int(end) if end.strip() else None for end in one.split(":")]
        index.append(slice(*ends) if len(ends) > 1 else int(one))
    return path[: found.start()], tuple(index)


def _dotted(path: str) -> str:
    """``W[0][1]`` as ``W.0.1``."""
    return re.sub(r"\[['\"]?([^\]'\"]+)['\"]?\]", r".\1", path).lstrip(".")


def _match(
    slots: Sequence[Slot], spec: Spec, taken: Mapping[str, list[Slot]], absent: Sequence[str],
    own: bool,
) -> Match:  # fmt: skip
    ordered = {p.name: taken[p.name] for p in spec.parameters if p.name in taken}
    used = {id(slot.base) for held in ordered.values() for slot in held}
    rest = tuple(slot for slot in slots if id(slot.tensor) not in used)
    match = Match(ordered, tuple(absent), own, _transposed(spec, ordered), rest)
    for one, other in match.tied:
        if one.replace("bias_ih", "bias_hh") == other:
            raise InputError(
                f"candidate must hold {one} and {other} in two tensors; it holds one for both, "
                "which cannot be set to two values: give each its own, or leave one out"
            )
    return match


def _transposed(spec: Spec, held: Mapping[str, list[Slot]]) -> bool | None:
    """Return what the shapes of the weights that are not square say."""
    for p in spec.parameters:
        if p.name not in held or len(p.shape) != 2:
            continue
        rows, columns = p.shape[0] // len(held[p.name]), p.shape[1]
        if rows != columns:
            if held[p.name][0].shape == (rows, columns):
                return False
            if held[p.name][0].shape == (columns, rows):
                return True
    return None


def _fits(match: Match, spec: Spec) -> bool:
    """Return whether every slot has the size of its weight, as stored or transposed."""
    for p in spec.parameters:
        held = match.slots.get(p.name)
        if held is None:
            continue
        shape = (p.shape[0] // len(held), *p.shape[1:])
        allowed = {False: [shape], True: [shape[::-1]], None: [shape, shape[::-1]]}
        if any(slot.shape not in allowed[match.transposed] for slot in held):
            return False
    return True


def _by_torch_names(
    free: Sequence[Slot], spec: Spec, missing: Sequence[str]
) -> dict[str, list[Slot]] | None:
    """Slots whose paths end with torch's names; biases alone may lack."""
    ends: dict[str, list[Slot]] = {}
    for slot in free:
        found = TORCH_NAME.search(slot.path)
        if found:
            ends.setdefault(found[1], []).append(slot)
    if spec.layers * spec.directions == 1:
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            if kind in ends:
                ends.setdefault(f"{kind}_l0", ends[kind])
    given = {name: ends[name] for name in missing if len(ends.get(name, ())) == 1}
    lacking = [name for name in missing if name not in given and not name.startswith("bias")]
    return None if lacking or not given else given


def _by_shape(
    free: Sequence[Slot], spec: Spec, missing: Sequence[str]
) -> list[dict[str, list[Slot]]]:
    """Slots sorted into kinds by name and shape, then to layers and directions in both orders."""
    kinds: dict[str, list[Slot]] = {}
    wanted = {name.split("_l")[0] for name in missing}
    sums = [slot for slot in free if len(slot.shape) == 1]
    count = spec.layers * spec.directions
    for slot in free:
        kind = _kind(slot, spec, wanted, single_bias=len(sums) <= count, biases=sums)
        if kind is not None:
            kinds.setdefault(kind, []).append(slot)
    if not kinds or any(len(held) != count for held in kinds.values()):
        return []
    if any(kind.startswith("weight") and kind not in kinds for kind in wanted):
        return []
    orders = [_order(spec, first="layer")]
    if spec.layers > 1 and spec.directions > 1:
        orders.append(_order(spec, first="direction"))
    found = []
    for order in orders:
        given: dict[str, list[Slot]] = {}
        for kind, held in kinds.items():
            for (layer, direction), slot in zip(order, _sorted(held, order), strict=True):
                given[f"{kind}_l{layer}{DIRECTION_SUFFIX[direction]}"] = [slot]
        if given not in found:
            found.append(given)
    return found


def _order(spec: Spec, first: str) -> list[tuple[int, int]]:
    grid = [(k, d) for k in range(spec.layers) for d in range(spec.directions)]
    return grid if first == "layer" else sorted(grid, key=lambda place: place[::-1])


def _sorted(held: Sequence[Slot], order: Sequence[tuple[int, int]]) -> list[Slot]:
    """Slots in the given order of places: by words for the direction where all have them."""
    reverse = [slot for slot in held if REVERSE.search(slot.path)]
    forward = [slot for slot in held if slot not in reverse]
    said = reverse and all(FORWARD.search(slot.path) for slot in forward)
    if not (said or (reverse and len(reverse) == len(forward))):
        return list(held)
    queues = (iter(forward), iter(reverse))
    if len(forward) != len(reverse):
        return list(held)
    by_place = {place: next(queues[place[1]]) for place in sorted(order)}
    return [by_place[place] for place in order]


def _kind(
    slot: Slot, spec: Spec, wanted: set[str], *, single_bias: bool, biases: Sequence[Slot]
) -> str | None:
    """weight_ih, weight_hh, …; by shape alone where that is enough, else by the name too."""
    named = TORCH_NAME.search(slot.path)
    if named:
        return named[1].split("_l")[0]
    possible = {
        p.name.split("_l")[0] for p in spec.parameters if slot.shape in (p.shape, p.shape[::-1])
    } & wanted
    if possible == {"bias_ih", "bias_hh"} and single_bias:
        return "bias_ih"
    if len(possible) <= 1:
        return next(iter(possible), None)
    hints = (("_hh", RECURRENT), ("_ih", INPUT))
    hinted = [k for end, hint in hints if hint.search(slot.path) for k in possible if end in k]
    if hinted:
        return hinted[0]
    if possible == {"bias_ih", "bias_hh"} and len(biases) == 2:
        return ("bias_ih", "bias_hh")[biases.index(slot)]
    return None


def _refuse(slots: Sequence[Slot], spec: Spec, missing: Sequence[str]) -> Any:
    held = ", ".join(f"{slot.path} {slot.shape}" for slot in slots[:8]) or "none"
    held += f" and {len(slots) - 8} more" * (len(slots) > 8)
    shapes = {p.name: p.shape for p in spec.parameters}
    wanted = ", ".join(f"{name} {shapes[name]}" for name in list(missing)[:4])
    example = _example(slots, spec, missing)
    said = (
        f"Say it, for example mapping={example!r}, on the command line "
        f"--mapping '{json.dumps(example)}'"
        if example
        else "None of these has the shape of one, nor of one gate of one: hold each weight, or "
        "each gate of it, in a tensor of its own, or give a function f(x, state, weights)"
    )
    raise InputError(
        f"cannot tell which of the candidate's tensors are {wanted}; it holds {held}. {said}"
    )


def _example(slots: Sequence[Slot], spec: Spec, missing: Sequence[str]) -> dict[str, Any]:
    """A mapping of one weight that its shape allows: whole, or gate by gate as a list."""
    for p in (p for p in spec.parameters if p.name in missing):
        gate = (p.shape[0] // spec.gates, *p.shape[1:])
        whole = [slot.path for slot in slots if slot.shape in (p.shape, p.shape[::-1])]
        gates = [slot.path for slot in slots if slot.shape in (gate, gate[::-1])]
        if whole:
            kind = p.name.split("_l")[0]
            return {p.name: next((path for path in whole if kind in path), whole[0])}
        if len(gates) >= spec.gates > 1:
            return {p.name: gates[: spec.gates]}
    return {}
