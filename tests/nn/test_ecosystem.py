"""Each cell of the table of torch's ecosystem is what its probe gives now."""

from __future__ import annotations

import os

import ecosystem
import pytest

ROWS = {
    name: cells
    for line in ecosystem.TABLE.read_text().splitlines()
    if line.startswith("| ")
    for name, *cells in [line.strip("| ").split(" | ")]
}
SLOW = ("torch.compile, aot_eager", "ONNX, the newer exporter")


def test_the_table_has_a_row_for_every_probe_and_at_least_80_cells():
    assert list(ROWS)[2:] == list(ecosystem.PROBES)
    assert len(ecosystem.PROBES) * len(ecosystem.BACKENDS) >= 80


@pytest.mark.parametrize("backend", ecosystem.BACKENDS)
@pytest.mark.parametrize("name", ecosystem.PROBES)
def test_a_feature_does_what_the_table_says(name, backend):
    if name in SLOW and backend != "numba" and os.environ.get("RNNBENCH_PROFILE") != "full":
        pytest.skip("compiles for seconds; RNNBENCH_PROFILE=full runs it")
    cells = dict(zip(("torch.nn", *ecosystem.BACKENDS), ROWS[name], strict=True))
    assert ecosystem.outcome(name, backend) == cells[backend]
    assert ecosystem.torchs(name) == cells["torch.nn"]


def test_planted_a_result_that_differs_is_seen(monkeypatch):
    monkeypatch.setitem(
        ecosystem.PROBES,
        "planted",
        lambda make: make("GRU").weight_hh_l0 + hasattr(make("GRU"), "backend"),
    )
    assert ecosystem.outcome("planted", "numba") == ecosystem.DIFFERS


def test_nothing_runs_to_another_result_but_what_torch_leaves_alone():
    wrong = {name for name, cells in ROWS.items() if ecosystem.DIFFERS in cells}
    assert wrong == {"quantize_dynamic"}
