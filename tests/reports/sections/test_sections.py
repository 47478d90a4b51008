"""Parity matrix, panels, losses, costs and charts, from rows."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from reports.data import ratios
from reports.data.rows import load_rows
from reports.sections import costs, facts, parity, speed
from reports.sections.headline import verdict
from synthetic import Project, fail_parity
from synthetic import parity as parity_of

INFERENCE = "speed.Inference.time_inference"
SERIES = {"native": 0, "manual": 1, "numba": 2, "compile": 3}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def rows(project: Project) -> pd.DataFrame:
    """A run in which numba's first RNN case fails parity."""
    run = project.measure()
    fail_parity(run, INFERENCE, 64)
    project.write()
    return load_rows(project.results)


def test_the_matrix_names_the_failure_and_its_size(rows: pd.DataFrame) -> None:
    found = parity.matrix(rows, SERIES)
    inference, training = found.tables
    lines = {
        name: dict(zip(inference.cells, figures, strict=True))
        for name, _, figures in inference.lines
    }
    assert lines["numba"]["rnn_tanh"].text == "✖ FAIL 1 of 8"
    assert "48.0 of 12.0 eps" in lines["numba"]["rnn_tanh"].note
    assert lines["numba"]["gru"].text == "✔ 8 ok · 20 %"
    assert all(figure.look == "good" for _, _, figures in training.lines for figure in figures)
    assert found.cases[0].passed is False


def test_chaotic_quantities_are_not_gated(rows: pd.DataFrame) -> None:
    assert max(case.error for case in parity.parities(rows)) == 48


def test_an_error_that_is_no_number_is_the_worst(project: Project) -> None:
    run = project.measure()
    fail_parity(run, INFERENCE, 0)
    run.records[0]["parity"] = parity_of("h_n", {"error": None, "budget": 4.0, "status": "nan"})
    project.write()
    worst = parity.parities(load_rows(project.results))[0]
    assert (worst.passed, worst.used) == (False, math.inf)


def test_the_headline_is_red_for_any_failed_parity(rows: pd.DataFrame) -> None:
    found = verdict(rows)
    assert (found.look, found.headline) == ("bad", "Parity failed in 1 case")
    assert verdict(rows[rows["benchmark"] != INFERENCE]).look == "good"


def test_the_headline_is_not_green_without_parity(rows: pd.DataFrame) -> None:
    found = verdict(rows[rows["group"] == "control"])
    assert (found.look, found.headline) == ("warn", "Parity not proven")


def test_a_failed_case_shows_no_time_and_no_mark(rows: pd.DataFrame) -> None:
    panel = speed.phases(rows, ratios.to_baseline(rows), SERIES)[0].panels[0]
    figure = panel.lines[0][1][panel.backends.index("numba")]
    assert (figure.text, figure.note, figure.look) == ("parity failed", "", "bad")
    words = [node.text for node in ET.fromstring(panel.chart).iter(f"{SVG}text")]
    assert words.count("numba: parity failed") == 1


def test_chart_and_table_show_the_same_figures(rows: pd.DataFrame) -> None:
    for phase in speed.phases(rows, ratios.to_baseline(rows), SERIES):
        for panel in phase.panels:
            chart = ET.fromstring(panel.chart)
            marks = [node.text or "" for node in chart.iter(f"{SVG}title")][1:]
            table = [
                f"{name}: {figure.text.lstrip('▲▼ ')} {figure.note.split(' · ')[0]}"
                for _, figures in panel.lines
                for name, figure in zip(panel.backends, figures, strict=True)
                if figure.text.endswith("×")
            ]
            assert marks == table
            assert len(marks) > 8


def test_losses_name_the_case_and_only_what_is_beyond_noise(rows: pd.DataFrame) -> None:
    found = {loss.backend: loss for loss in speed.losses(ratios.to_baseline(rows), SERIES)}
    assert (found["numba"].count, found["numba"].cases) == (0, 63)
    assert found["manual"].count == 64
    assert "times slower than native (99 % interval" in found["manual"].sentences[0]
    assert "native" not in found


def test_costs_are_won_back_in_the_best_case(rows: pd.DataFrame) -> None:
    found = costs.cold(rows, ratios.to_baseline(rows), SERIES)
    lines = {(cell, name): figures for cell, name, figures in found.lines}
    manual, numba = lines["gru", "manual"], lines["gru", "numba"]
    assert numba[0].text.endswith(" s")
    assert numba[2].note == "2 cases"
    assert manual[3].text == "never"
    assert [name for name, _ in found.imports] == ["ours", "torch"]
    assert numba[3].text.endswith(" calls")
    assert numba[3].note.startswith("medium L2 ")
    assert "8 of 8 cases faster" in numba[3].note


def test_absences_give_their_reasons(rows: pd.DataFrame) -> None:
    found = facts.absences(rows)
    assert found[0].bad
    assert found[0].cases == ["T=16, 1 layer, 1 direction, medium"]
    assert any(item.reason == "no two-layer LSTM" and len(item.cases) == 4 for item in found)
