"""What torch does: each fact can be looked at again, and the page shows what was seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reports.data import facts as kept
from reports.data.report import Report
from reports.data.rows import frame
from reports.jobs import torch_facts
from reports.jobs.torch_facts import FACTS, Fact, collect, observe
from reports.pages import torch

from rnnbench.judge.site.html.page import Frame

FACT = Fact("a-fact", "torch <b>does</b> it.", "Then & so.", lambda: (True, "seen <script>"))


@pytest.mark.parametrize("name", FACTS)
def test_fact_holds_on_the_pinned_torch(name: str) -> None:
    found = observe(FACTS[name])
    assert found["holds"], found["seen"]
    assert found["command"] == f"python -m reports.jobs.torch_facts {name}"


def test_dropout_loss_is_among_them() -> None:
    assert "allow-rnn-loses-dropout" in FACTS
    assert len(FACTS) >= 10


def page_of(results: Path) -> str:
    return torch.render(Report(frame([], {}), facts=kept.read(results)), Frame("rnnbench"))


def facts_of(monkeypatch: pytest.MonkeyPatch, *facts: Fact) -> None:
    monkeypatch.setattr(torch_facts, "FACTS", {fact.name: fact for fact in facts})


def test_page_shows_facts_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts_of(monkeypatch, FACT)
    collect(tmp_path)
    page = page_of(tmp_path)
    assert "torch &lt;b&gt;does&lt;/b&gt; it." in page
    assert "seen &lt;script&gt;" in page
    assert "✔ yes" in page


def test_fact_that_no_longer_holds_or_breaks_is_shown_as_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks() -> tuple[bool, str]:
        raise RuntimeError("no such operator")

    gone = Fact("gone", "It does.", "So.", lambda: (False, "it does not"))
    facts_of(monkeypatch, gone, Fact("broken", "It does too.", "So.", breaks))
    path = collect(tmp_path)
    assert [json.loads(line)["holds"] for line in path.read_text().splitlines()] == [False, None]
    page = page_of(tmp_path)
    assert "✖ no longer" in page
    assert "✖ its program broke" in page
    assert "RuntimeError: no such operator" in page


def test_nothing_looked_at_and_an_unreadable_file_are_said(tmp_path: Path) -> None:
    assert "Nothing has been looked at" in page_of(tmp_path)
    folder = tmp_path / kept.FOLDER
    folder.mkdir()
    (folder / "here.jsonl").write_text("{half")
    assert "here.jsonl cannot be read" in page_of(tmp_path)
