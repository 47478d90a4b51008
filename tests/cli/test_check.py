"""The commands as a user runs them: output, exit codes, JSON."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

import rnnbench
from rnnbench import Spec, interface, mistakes
from rnnbench.backends.manual import Manual
from rnnbench.cli import app

SMALL = ["--T", "3", "--layers", "1", "--batch", "2", "--dtype", "float32", "--bias", "yes"]


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


class Wrong(Manual):
    """Transposes W_hh."""

    def run(self, spec, inputs):
        weights = dict(zip((p.name for p in spec.parameters), inputs.weights, strict=True))
        return mistakes.candidate(spec, "transposed_w_hh")(inputs.x, inputs.state, weights)


class Refusing(Manual):
    def supports(self, spec, conditions):
        return "it is not its day"


class Broken(Manual):
    def run(self, spec, inputs):
        raise RuntimeError("kernel missing")


@pytest.fixture
def registered():
    added = {"wrong": Wrong(), "refusing": Refusing(), "broken": Broken()}
    for name, backend in added.items():
        rnnbench.register(name, backend)
    yield
    for name in added:
        interface.unregister(name)


def test_right_backends_exit_0_and_say_how_far_from_the_budget():
    result = invoke("check", "manual", "native", *SMALL)
    assert result.exit_code == 0, result.output
    assert "PASSED" in result.output
    assert "eps" in result.output
    assert result.output.count("lstm") >= 2


def test_wrong_backend_exits_1_and_names_quantity_and_case(registered):
    result = invoke("check", "wrong", "--cell", "gru", *SMALL)
    assert result.exit_code == 1
    assert "over budget: wrong output" in result.output
    assert "gru-I7-H16-L1-D1-float32-T3-B2-inference" in result.output
    assert "FAILED" in result.output


def test_nothing_measured_exits_4_with_the_reason(registered):
    result = invoke("check", "refusing", *SMALL)
    assert result.exit_code == 4
    assert "NOTHING MEASURED" in result.output
    assert "it is not its day" in result.output


def test_one_backend_unmeasured_beside_a_right_one_is_not_green(registered):
    result = invoke("check", "manual", "refusing", *SMALL)
    assert result.exit_code == 4
    assert "NOTHING MEASURED of refusing" in result.output
    assert "PASSED" not in result.output


def test_backend_that_breaks_exits_5_with_its_sentence(registered):
    result = invoke("check", "broken", *SMALL)
    assert result.exit_code == 5
    assert "RuntimeError: kernel missing" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "backend must be one of"),
        (["--cell", "elman"], "cell must be one of"),
        (["--bias", "perhaps"], "--bias must be 'yes' or 'no'"),
        (["--T", "0"], "T must be an int of at least 1; got 0"),
        (["--hidden-size", "0"], "hidden_size must be an int of at least 1; got 0"),
        (["--phase", "eval"], "phase must be one of"),
    ],
)
def test_wrong_usage_exits_2_with_one_sentence(arguments, message):
    result = invoke("check", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_json_has_verdict_worst_and_failures(registered):
    result = invoke("check", "manual", "wrong", "--cell", "gru", "--json", *SMALL)
    data = json.loads(result.stdout)
    assert (data["passed"], data["cases"]) == (False, 4)
    assert {g["backend"] for g in data["groups"]} == {"manual", "wrong"}
    assert {f["candidate"] for f in data["failures"]} == {"wrong"}
    good = next(g for g in data["groups"] if g["backend"] == "manual")
    assert good["worst"]["error"] <= good["worst"]["budget"]


def test_help_explains_the_exit_codes():
    assert "4 nothing was measured" in " ".join(invoke("check", "--help").output.split())


def test_the_spec_of_a_planted_mistake_is_right_without_the_mistake():
    """The wrong backend above is wrong only by its transposition."""
    spec = Spec("gru", 3, 4)
    weights = {p.name: torch.randn(p.shape) for p in spec.parameters}
    x, h0 = torch.randn(4, 2, 3), torch.randn(1, 2, 4)
    blocks = weights["weight_hh_l0"].reshape(-1, 4, 4)
    symmetric = weights | {"weight_hh_l0": (blocks + blocks.mT).reshape(-1, 4)}
    y, _ = mistakes.candidate(spec, "transposed_w_hh")(x, (h0,), symmetric)
    right, _ = rnnbench.run("manual", spec, x, (h0,), tuple(symmetric.values()))
    torch.testing.assert_close(y, right)
