"""The part of the report on truncated BPTT, from rows."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from reports.data import report
from reports.data.rows import load_rows
from reports.pages import overview
from reports.sections.truncation import truncation
from synthetic import Project

from rnnbench.judge.site.html.figures import Panel

SVG = "{http://www.w3.org/2000/svg}"
SECONDS = "truncation.Seconds.time_pass"


@pytest.fixture
def rows(project: Project) -> pd.DataFrame:
    """A run with every case measured."""
    project.measure()
    project.write()
    return load_rows(project.results)


def table(panel: Panel) -> dict[str, list[str]]:
    return {label: [figure.text for figure in figures] for label, figures in panel.lines}


def test_a_pass_is_compared_with_the_batched_windows(rows: pd.DataFrame) -> None:
    panel = truncation(rows)[0]
    assert panel.title == "One pass: gru, T=256, K=16, single"
    assert table(panel) == {
        "chunks": ["1.00 ms", "20.0×", "977 KiB"],
        "sliding": ["2.00 ms", "10.0×", "1.91 MiB"],
        "full": ["4.00 ms", "5.00×", "3.81 MiB"],
        "windows": ["20.0 ms", "1.00×", "19.1 MiB"],
    }


def test_bias_and_norm_go_by_the_size_of_the_number(rows: pd.DataFrame) -> None:
    _, bias, lags = truncation(rows)
    assert (bias.corner, bias.heads) == ("K", ["chunks", "sliding"])
    assert [label for label, _ in bias.lines] == ["1", "16", "64"]
    assert (lags.corner, lags.heads) == ("lag", ["gru", "lstm"])
    assert table(lags) == {
        "1": ["0.500"] * 2,
        "16": ["0.0000153"] * 2,
        "128": ["2.94e-39"] * 2,
    }


def test_charts_show_what_the_tables_show(rows: pd.DataFrame) -> None:
    for panel in truncation(rows):
        marks = [node.text or "" for node in ET.fromstring(panel.chart).iter(f"{SVG}title")][1:]
        names = panel.heads if panel.series else [None]
        expected = [
            f"{name or label}: {figure.text}"
            for label, figures in panel.lines
            for name, figure in zip(names, figures, strict=False)
        ]
        assert marks == expected


def test_a_case_without_a_number_has_words(project: Project) -> None:
    run = project.measure()
    sliding = run.records[-1 - (4 + 6 + 6 + 4) + 2]
    assert (sliding["benchmark"], sliding["params"][0]) == (SECONDS, "sliding")
    sliding.update(status="error", reason="sliding is 0.1 from windows")
    project.write()
    panel = truncation(load_rows(project.results))[0]
    assert table(panel)["sliding"][:2] == ["broke", "—"]
    words = [node.text for node in ET.fromstring(panel.chart).iter(f"{SVG}text")]
    assert "broke" in words


def test_the_page_has_the_part_or_says_that_it_was_not_measured(project: Project) -> None:
    project.measure()
    project.write()
    site = project.load()
    given = report.read(site)
    page = overview.render(site, given)
    assert page.count('id="s0-truncation"') == 1
    assert "Norm of ∂h_T/∂s_t over the lag T − t: single" in page
    rows = given.rows[given.rows["group"] != "truncation"]
    without = overview.render(site, report.Report(rows))
    assert "Time, memory and bias of a pass were not measured." in without
    assert "Norm of ∂h_T" not in without
