"""Which of a stranger's tensors is which weight: by torch's names, by shape, or by a mapping.

A `Slot` is one place in the candidate that holds a tensor: a registered parameter, a plain
attribute, an item of a list, tuple or dict at any depth, also inside objects that are no modules.
Tensors are put there for the length of a call and taken out again; the candidate's own values stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnbench.diagnosis.layouts import to_numpy
from rnnbench.errors import InputError
from rnnbench.spec import DIRECTION_SUFFIX, Spec

Write = Callable[[Any], None]
Mapped = Mapping[str, "str | Sequence[str] | None"]
DEPTH = 8

_TORCH_NAME = re.compile(r"(?:^|\.)((?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?)$")
_REVERSE = re.compile(r"(?i)(^|[._\d])(bw|bwd|back|backward|rev|reverse|r2l)(?=$|[._\d])")
_FORWARD = re.compile(r"(?i)(^|[._\d])(fw|fwd|forward|l2r)(?=$|[._\d])")
_RECURRENT = re.compile(r"(?i)(hh|h2h|rec|(^|[._])(w|b|weight|bias)_?h(?=$|[._\d])|(^|[._])u)")
_INPUT = re.compile(
    r"(?i)(ih|i2h|x2h|xh|in|(^|[._])(w|b|weight|bias)_?[xi](?=$|[._\d])|(^|[._])w$)"
)


@dataclass
class Slot:
    """One place that holds a tensor. ``writers``: that place, and aliases of the same tensor."""

    path: str
    tensor: Any
    registered: bool
    writers: list[Write] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def write(self, value: Any) -> None:
        """Put a tensor there; a place that held a NumPy array gets one."""
        if isinstance(self.tensor, np.ndarray) and isinstance(value, Tensor):
            value = to_numpy(value)
        for writer in self.writers:
            writer(value)


def slots_of(candidate: Any) -> list[Slot]:
    """Every place of the candidate that holds a tensor of floating point, parameters first."""
    found: list[Slot] = []
    modules = dict(candidate.named_modules(remove_duplicate=False)) if _is_module(candidate) else {}
    for prefix, module in modules.items():
        for kind in ("_parameters", "_buffers"):
            held = getattr(module, kind)
            for name, tensor in held.items():
                if tensor is not None and tensor.is_floating_point():
                    path = f"{prefix}.{name}".lstrip(".")
                    found.append(
                        Slot(path, tensor, kind == "_parameters", [_item_writer(held, name)])
                    )
    registered = {id(slot.tensor): slot for slot in reversed(found)}
    for path, tensor, writer in _plain(candidate, "", set(), DEPTH):
        known = registered.get(id(tensor))
        if known is not None:
            known.writers.append(writer)
        else:
            found.append(Slot(path, tensor, False, [writer]))
    return found


def refuse_what_cannot_be_set(candidate: Any) -> None:
    """Raise InputError for a module some of whose weights are computed anew for every call."""
    if not _is_module(candidate):
        return
    for prefix, module in candidate.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                "candidate must not be a module of torch.jit, whose weights cannot be set for the "
                f"time of a call; got {type(module).__name__}: give the module that it is made of"
            )
        made = list(getattr(module, "parametrizations", ()))
        made += [
            name.removesuffix(end)
            for name in module._parameters
            for end in ("_orig", "_v")  # spectral_norm and weight_norm of older days
            if name.endswith(end)
            and name.removesuffix(end) not in module._parameters
            and isinstance(getattr(module, name.removesuffix(end), None), Tensor)
        ]
        if made:
            path = f"{prefix}.{made[0]}".lstrip(".")
            raise InputError(
                f"candidate must hold its weights as they are; {path} is parametrised, computed "
                "anew for every call (weight_norm, spectral_norm, …), and cannot be set: give the "
                "module without, as of torch.nn.utils.parametrize.remove_parametrizations"
            )


def _is_module(value: Any) -> bool:
    return isinstance(value, torch.nn.Module)


def _item_writer(holder: Any, key: Any) -> Write:
    def write(value: Any) -> None:
        holder[key] = value

    return write


def _plain(value: Any, path: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any, Write]]:
    """Tensors in attributes and containers that no module registers, with their writers."""
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    items: list[tuple[str, Any, Write]] = []
    if isinstance(value, dict):
        items = [(f"{path}.{k}", v, _item_writer(value, k)) for k, v in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}.{i}", v, _item_writer(value, i)) for i, v in enumerate(value)]
    elif isinstance(value, FunctionType | MethodType | ModuleType | type) or not hasattr(
        value, "__dict__"
    ):
        return
    else:
        own = vars(value)
        hidden = vars(torch.nn.Module()).keys() if _is_module(value) else ()
        items = [
            (f"{path}.{name}", held, _item_writer(own, name))
            for name, held in own.items()
            if name not in hidden and not name.startswith("_flat_weight")
        ]
        if _is_module(value):
            items += [(f"{path}.{n}", m, _item_writer({}, n)) for n, m in value._modules.items()]
    for name, held, writer in items:
        yield from _leaf_or_deeper(name.lstrip("."), held, writer, seen, depth)


def _leaf_or_deeper(
    path: str, held: Any, writer: Write, seen: set[int], depth: int
) -> Iterator[tuple[str, Any, Write]]:
    if isinstance(held, Tensor):
        if held.is_floating_point():
            yield path, held, writer
    elif isinstance(held, np.ndarray):
        if held.dtype.kind == "f":
            yield path, held, writer
    elif isinstance(held, tuple):
        current = list(held)  # shared by the writers, so that each sees what the others wrote

        def put(index: int) -> Write:
            def write(value: Any) -> None:
                current[index] = value
                writer(tuple(current))

            return write

        for i, one in enumerate(held):
            yield from _leaf_or_deeper(f"{path}.{i}", one, put(i), seen, depth)
    else:
        yield from _plain(held, path, seen, depth - 1)


@dataclass
class Match:
    """Each weight's slots (several where one weight is held gate by gate), and what it means.

    absent      parameters that the candidate does not have: zero in every problem
    own_storage whether the names are not torch's, so that rows and axes may be stored otherwise
    transposed  whether shapes alone say that weights are stored transposed; None if they cannot
    unmatched   parameters of the candidate that are no weight of the network
    """

    slots: dict[str, list[Slot]]
    absent: tuple[str, ...] = ()
    own_storage: bool = False
    transposed: bool | None = None
    unmatched: tuple[Slot, ...] = ()

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
        try:
            for name, held in self.slots.items():
                axis = -1 if self._columns(held) else 0
                parts = (
                    weights[name].chunk(len(held), dim=axis) if len(held) > 1 else [weights[name]]
                )
                for slot, part in zip(held, parts, strict=True):
                    slot.write(put.setdefault(id(slot.tensor), part))
            yield
        finally:
            for held in self.slots.values():
                for slot in held:
                    slot.write(slot.tensor)

    def _columns(self, held: list[Slot]) -> bool:
        """Whether the gates of a weight held gate by gate are blocks of columns."""
        return bool(self.transposed) and len(held[0].shape) == 2


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
        for path in map(_dotted, listed):
            if path not in by_path:
                held = ", ".join(sorted(by_path)[:8]) or "no tensors"
                raise InputError(
                    f"mapping[{name!r}] must name a tensor that the candidate holds ({held}); "
                    f"got {path!r}"
                )
        if listed:
            taken[name] = [by_path[_dotted(path)] for path in listed]
    used = {id(slot) for held in taken.values() for slot in held}
    free = [slot for slot in slots if id(slot) not in used]
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


def _dotted(path: str) -> str:
    """``W[0][1]`` as ``W.0.1``."""
    return re.sub(r"\[['\"]?([^\]'\"]+)['\"]?\]", r".\1", path).lstrip(".")


def _match(
    slots: Sequence[Slot], spec: Spec, taken: Mapping[str, list[Slot]], absent: Sequence[str],
    own: bool,
) -> Match:  # fmt: skip
    ordered = {p.name: taken[p.name] for p in spec.parameters if p.name in taken}
    used = {id(slot.tensor) for held in ordered.values() for slot in held}
    rest = tuple(slot for slot in slots if slot.registered and id(slot.tensor) not in used)
    match = Match(ordered, tuple(absent), own, _transposed(spec, ordered), rest)
    for one, other in match.tied:
        if one.replace("bias_ih", "bias_hh") == other:
            raise InputError(
                f"candidate must hold {one} and {other} in two tensors; it holds one for both, "
                "which cannot be set to two values: give each its own, or leave one out"
            )
    return match


def _transposed(spec: Spec, held: Mapping[str, list[Slot]]) -> bool | None:
    """What the shapes of the weights that are not square say."""
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
    """Whether every slot has the size of its weight, as stored or transposed."""
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
        found = _TORCH_NAME.search(slot.path)
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
    reverse = [slot for slot in held if _REVERSE.search(slot.path)]
    forward = [slot for slot in held if slot not in reverse]
    said = reverse and all(_FORWARD.search(slot.path) for slot in forward)
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
    named = _TORCH_NAME.search(slot.path)
    if named:
        return named[1].split("_l")[0]
    possible = {
        p.name.split("_l")[0] for p in spec.parameters if slot.shape in (p.shape, p.shape[::-1])
    } & wanted
    if possible == {"bias_ih", "bias_hh"} and single_bias:
        return "bias_ih"
    if len(possible) <= 1:
        return next(iter(possible), None)
    hints = (("_hh", _RECURRENT), ("_ih", _INPUT))
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
            return {p.name: whole[0]}
        if len(gates) >= spec.gates > 1:
            return {p.name: gates[: spec.gates]}
    return {}
