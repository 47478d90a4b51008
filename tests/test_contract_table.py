"""The README's table of the contract is what the backends answer today."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnbench import contract, interface

README = Path(__file__).parents[1] / "README.md"


def test_readme_holds_the_table_as_generated():
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- contract -->\n")
    held, _, _ = rest.partition("\n<!-- /contract -->")
    assert held == contract.table(), "run python -m rnnbench.contract and paste it"


@pytest.mark.parametrize("feature", contract.FEATURES)
def test_every_cell_is_yes_or_a_reason(backend, feature):
    answer = contract.support(backend, feature)
    assert answer
    if answer != "yes":
        assert " " in answer


def test_refusal_appears_with_its_reason(monkeypatch):
    monkeypatch.setattr(
        interface.get_backend("manual"), "supports", lambda spec, conditions: "not today"
    )
    assert contract.support("manual", "float64") == "not today"
    assert "| float64 | not today |" in contract.table()
