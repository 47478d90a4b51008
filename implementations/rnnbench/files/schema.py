"""Dataclasses as JSON objects and back, checked against their type annotations.

Standard library only: the job that comments on a stranger's verdict installs nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

Built = TypeVar("Built")


class SchemaError(ValueError):
    """A JSON value is not of the type that it must have; the sentence says where."""


@dataclass(frozen=True)
class Bounds:
    """Limits for a file that nobody vouches for."""

    items: float = math.inf
    """Of a list or an object."""
    text: float = math.inf
    """Characters."""
    number: float = math.inf
    """Absolute value."""
    null: float | None = None
    """Number that null stands for where a float must be; None where null is refused there."""


FREE = Bounds()


class Record:
    """Base of dataclasses that are kept as JSON objects.

    ``SCHEMA`` grows when a stored field changes its meaning. A field with a default may be missing
    in a file, which is how fields are added.
    """

    SCHEMA: ClassVar[int] = 1

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the schema."""
        own: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return {"schema": self.SCHEMA} | own

    @classmethod
    def from_dict(cls, given: Any, bounds: Bounds = FREE) -> Self:
        """Return the object that `as_dict` was called on; raises SchemaError."""
        if not isinstance(given, Mapping) or given.get("schema") != cls.SCHEMA:
            got = given.get("schema") if isinstance(given, Mapping) else given
            raise SchemaError(f"schema must be {cls.SCHEMA}; got {got!r:.80}")
        own = {name: value for name, value in given.items() if name != "schema"}
        return build(cls, own, cls.__name__.lower(), bounds)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return the object kept in a JSON file; raises OSError or ValueError."""
        return cls.from_dict(json.loads(file.read_text(encoding="utf-8")))


def build(kind: type[Built], value: Any, where: str, bounds: Bounds = FREE) -> Built:
    """Return ``value``, as JSON has it, as an object of the annotated type ``kind``.

    Types: dataclasses and named tuples of these, tuple, list, Mapping with text for keys, unions,
    enumerations, bool, int, float, str, Any. Raises SchemaError with the path ``where``.
    """
    found: Built = _build(kind, value, where, bounds)
    return found


def _build(kind: Any, value: Any, where: str, bounds: Bounds) -> Any:  # noqa: PLR0911
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (UnionType, Union):
        return _build_union(get_args(kind), value, where, bounds)
    if isinstance(kind, type) and issubclass(kind, Record) and _is_whole(value):
        return kind.from_dict(value, bounds)
    if is_dataclass(kind):
        return _build_fields(kind, value, where, bounds)
    if origin in (tuple, list, Sequence):
        return _build_items(origin, get_args(kind), value, where, bounds)
    if isinstance(kind, type) and issubclass(kind, tuple):
        hints = tuple(_hints(kind).values())
        return kind(*_build_items(tuple, hints, value, where, bounds))
    if origin in (dict, Mapping):
        return _build_mapping(get_args(kind), value, where, bounds)
    return _build_single(kind, value, where, bounds)


def _is_whole(value: Any) -> bool:
    """Return True for a record that was written on its own, and then became a part of another."""
    return isinstance(value, Mapping) and "schema" in value


def _build_union(kinds: Sequence[Any], value: Any, where: str, bounds: Bounds) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        try:
            return _build(kind, value, where, bounds)
        except SchemaError:
            continue
    return _build(last, value, where, bounds)


def _build_fields(kind: Any, value: Any, where: str, bounds: Bounds) -> Any:
    own = [one for one in fields(kind) if one.init]
    needed = {one.name for one in own if one.default is one.default_factory is MISSING}
    if not isinstance(value, Mapping) or not needed <= value.keys() <= {one.name for one in own}:
        names = ", ".join(one.name for one in own)
        got = ", ".join(sorted(map(str, value))) if isinstance(value, Mapping) else f"{value!r}"
        raise SchemaError(f"{where} must have exactly the fields {names}; got {got:.200}")
    hints = _hints(kind)
    return kind(
        **{name: _build(hints[name], one, f"{where}.{name}", bounds) for name, one in value.items()}
    )


def _build_items(origin: Any, kinds: Sequence[Any], value: Any, where: str, bounds: Bounds) -> Any:
    if not isinstance(value, list | tuple) or len(value) > bounds.items:
        raise SchemaError(f"{where} must be a list of at most {bounds.items}; got {value!r:.80}")
    if origin is not tuple or kinds[-1:] == (Ellipsis,):
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise SchemaError(f"{where} must have {len(kinds)} items; got {len(value)}")
    found = (
        _build(kind, one, f"{where}[{number}]", bounds)
        for number, (one, kind) in enumerate(zip(value, kinds, strict=True))
    )
    return list(found) if origin is list else tuple(found)


def _build_mapping(kinds: Sequence[Any], value: Any, where: str, bounds: Bounds) -> Any:
    if not isinstance(value, Mapping) or len(value) > bounds.items:
        raise SchemaError(f"{where} must be an object of at most {bounds.items}; got {value!r:.80}")
    return {
        _build(kinds[0], name, where, bounds): _build(kinds[1], one, f"{where}.{name:.40}", bounds)
        for name, one in value.items()
    }


def _build_single(kind: type, value: Any, where: str, bounds: Bounds) -> Any:
    """Return a text, a truth value, a number or a member of an enumeration."""
    if issubclass(kind, Enum):
        if value in [member.value for member in kind]:
            return kind(value)
        known = ", ".join(repr(member.value) for member in kind)
        raise SchemaError(f"{where} must be {kind.__name__}, one of {known}; got {value!r:.80}")
    if value is None and kind is float and bounds.null is not None:
        return bounds.null
    accepted = (int, float) if kind is float else (kind,)
    fits = isinstance(value, accepted) and isinstance(value, bool) == (kind is bool)
    if fits and kind is str:
        fits = len(value) <= bounds.text
    elif fits and bounds.number < math.inf:
        fits = math.isfinite(value) and abs(value) <= bounds.number
    if not fits:
        raise SchemaError(f"{where} must be {kind.__name__} within bounds; got {value!r:.80}")
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
