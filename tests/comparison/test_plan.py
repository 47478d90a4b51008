"""What can be asked for, and how it is refused."""

from __future__ import annotations

import json

import pytest

import rnnbench
from rnnbench import Case, InputError, Spec
from rnnbench.comparison import plan as plans
from rnnbench.comparison.plan import Plan, Shape

CASE = Case(Spec("gru", 3, 4), 5, 2)


@pytest.mark.parametrize(("text", "shape"), [("1x64", (1, 64, 64)), ("16x32x128", (16, 32, 128))])
def test_shape(text, shape):
    assert Shape.parse(text) == shape


@pytest.mark.parametrize("text", ["", "64", "0x64", "1x64x", "1×64", "axb", "1x2x3x4", "-1x4"])
def test_no_shape(text):
    with pytest.raises(InputError, match="shapes must be BxH or BxIxH, like 16x128; got"):
        Shape.parse(text)


def test_grid_is_every_combination():
    cases = plans.grid(
        ["gru", "lstm"], [Shape(1, 3, 4), Shape(2, 5, 6)], ["inference", "training"],
        ["float32", "float64"], steps=7, layers=2, directions=2,
    )  # fmt: skip
    assert len(set(cases)) == len(cases) == 16
    assert {(c.T, c.spec.layers, c.spec.directions) for c in cases} == {(7, 2, 2)}
    assert {(c.B, c.spec.input_size, c.spec.hidden_size) for c in cases} == {(1, 3, 4), (2, 5, 6)}


def test_baseline_is_first_and_there_once():
    assert plans.with_baseline(["numba", "native"]) == ("native", "numba")
    assert plans.with_baseline(["manual"]) == ("native", "manual")


def test_a_plan_survives_the_way_to_another_process():
    lengths = Case(Spec("lstm", 3, 4, proj_size=2), 5, 2, "inference", lengths=(5, 3))
    plan = Plan((CASE, lengths), ("native", "manual"), 2, 0.5)
    got = Plan.from_dict(json.loads(json.dumps(plan.as_dict())))
    assert got == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ("native",)), "cases must be one at least; got none"),
        (((CASE,), ("native", "cudnn")), "backend must be one of 'manual', .*; got 'cudnn'"),
        (((CASE,), ("native", "native")), "backends must be named once each"),
        (((CASE,), ("native",), 0), "threads must be at least 1; got 0"),
        (((CASE,), ("native",), 1, 0.0), "seconds must be positive; got 0"),
    ],
)
def test_impossible_plan_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Plan(*arguments)


def test_the_table_is_of_known_cells_and_shapes():
    assert set(plans.TABLE_CELLS) <= set(rnnbench.spec.CELLS)
    assert [Shape.parse(text).B for text in plans.TABLE_SHAPES] == [1, 1, 16, 32, 64]
