"""Records come back from JSON as they were, and what is no record is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbench.files.schema import Bounds, Record, SchemaError, build


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Rate(NamedTuple):
    best: float
    median: float


@dataclass(frozen=True)
class Inner:
    name: str
    rate: Rate | None
    colours: tuple[Colour, ...] = ()


@dataclass(frozen=True)
class Outer(Record):
    SCHEMA = 3

    count: int
    sure: bool
    inner: tuple[Inner, ...]
    by_name: Mapping[str, float | None]
    pair: tuple[str, int]
    rest: Any = None


@dataclass(frozen=True)
class Whole(Record):
    outer: Outer


finite = st.floats(allow_nan=False, allow_infinity=False)
rates = st.none() | st.builds(Rate, finite, finite)
inners = st.builds(Inner, st.text(), rates, st.lists(st.sampled_from(Colour)).map(tuple))
outers = st.builds(
    Outer,
    st.integers(),
    st.booleans(),
    st.lists(inners, max_size=3).map(tuple),
    st.dictionaries(st.text(), st.none() | finite, max_size=3),
    st.tuples(st.text(), st.integers()),
)


@given(outers)
def test_a_record_survives_json(record):
    assert Outer.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@given(outers)
def test_a_record_in_a_record_may_have_been_written_on_its_own(record):
    for part in (record.as_dict(), Whole(record).as_dict()["outer"]):
        given = json.loads(json.dumps({"schema": 1, "outer": part}))
        assert Whole.from_dict(given) == Whole(record)
    with pytest.raises(SchemaError, match="schema must be 3; got 2"):
        Whole.from_dict({"schema": 1, "outer": record.as_dict() | {"schema": 2}})


GOOD = Outer(1, True, (Inner("a", Rate(1.0, 0.5)),), {"x": 1.0}, ("p", 2)).as_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema must be 3; got 2"),
        ({"count": 1.5}, "outer.count must be int"),
        ({"count": True}, "outer.count must be int"),
        ({"sure": 1}, "outer.sure must be bool"),
        ({"inner": [{"name": "a"}]}, r"outer.inner\[0\] must have exactly the fields name, rate"),
        ({"inner": [{"name": "a", "rate": [1.0]}]}, r"inner\[0\].rate must have 2 items; got 1"),
        ({"inner": [{"name": "a", "rate": None, "colours": ["green"]}]}, "must be Colour, one of"),
        ({"by_name": {"x": "1"}}, "outer.by_name.x must be float"),
        ({"by_name": []}, "outer.by_name must be an object"),
        ({"pair": ["p", 2, 3]}, "outer.pair must have 2 items; got 3"),
        ({"more": 1}, "must have exactly the fields"),
    ],
)
def test_what_is_no_record_is_refused_by_its_place(change, words):
    with pytest.raises(SchemaError, match=words):
        Outer.from_dict(GOOD | change)


@pytest.mark.parametrize("value", [None, 3, [], {}])
def test_no_object_is_no_record(value):
    with pytest.raises(SchemaError, match="schema must be 3"):
        Outer.from_dict(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, "abcd"),
        (float, 11.0),
        (float, math.inf),
        (float, math.nan),
        (tuple[int, ...], [1] * 4),
    ],
)
def test_bounds_hold_for_what_nobody_vouches_for(kind, value):
    build(kind, value, "value")
    with pytest.raises(SchemaError, match="value must be"):
        build(kind, value, "value", Bounds(items=3, text=3, number=10))
