"""The README's table of the contract is what the backends answer today."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import sizes

from rnnbench import Case, Spec, check, interface
from rnnbench.parity import contract

README = Path(__file__).parents[2] / "README.md"


def test_readme_holds_the_table_as_generated():
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- contract -->\n")
    held, _, _ = rest.partition("\n<!-- /contract -->")
    assert held == contract.table(), "run python -m rnnbench.parity.contract and paste it"


@pytest.mark.parametrize("feature", contract.FEATURES)
def test_every_cell_is_yes_or_a_reason(backend, feature):
    answer = contract.support(backend, feature)
    assert answer
    if answer != "yes":
        assert " " in answer


@pytest.mark.parametrize("feature", [f for f in contract.FEATURES if "CUDA" not in f])
def test_every_yes_is_shown_by_parity(backend, feature):
    cells, changes, conditions = contract.FEATURES[feature]
    if contract.support(backend, feature) != "yes":
        pytest.skip(f"{backend}: {contract.support(backend, feature)}")
    if backend == "compile" and changes.get("dtype") in ("float16", "bfloat16"):
        cells = ("gru",)  # 18 graphs to compile for the others, which full contract runs have
    if backend == "jax" and os.environ.get("RNNBENCH_PROFILE") != "full":
        cells = cells[-1:]  # it compiles each for half a second and more
    hidden, projection = sizes(backend, 4, changes.get("proj_size", 0))
    changes = changes | {"hidden_size": hidden, "proj_size": projection}
    cases = [
        Case(
            Spec(**{"cell": cell, "input_size": 3} | changes),
            5, 2, conditions.phase, lengths=(5, 3) if conditions.packed else None,
        )
        for cell in cells
    ]  # fmt: skip
    result = check(backend, cases)
    assert result.passed, result


def test_refusal_appears_with_its_reason(monkeypatch):
    monkeypatch.setattr(
        interface.get_backend("manual"), "supports", lambda spec, conditions: "not today"
    )
    assert contract.support("manual", "float64") == "not today"
    assert "| float64 | not today |" in contract.table()
