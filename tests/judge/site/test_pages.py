"""Verdicts, cards and nights on the pages, in the feed and in verdicts.json."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from judgements import card as card_of
from judgements import case, night, slower, verdict, write
from reports.pages import TITLES
from synthetic import MARKUP, Project

from rnnbench.files import foreign
from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.site.data import judged
from rnnbench.judge.site.data.histories import environment_changes
from rnnbench.judge.site.html.page import FIRST, LAST, Frame
from rnnbench.judge.site.pages import (
    card,
    environment,
    feed,
    overview,
    regressions,
    tonight,
    verdicts_json,
)
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

ATOM = "{http://www.w3.org/2005/Atom}"
BASE, HEAD, NEXT = "a" * 40, "b" * 40, "c" * 40
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
FIX = "2026-11-23T03:15:00+00:00"


def told(results: Path, *values: Verdict | Card | Night) -> judged.Host:
    """The only machine, after these were written."""
    write(results, *values)
    (host,) = judged.read(results).hosts.values()
    return host


@pytest.mark.parametrize(
    ("values", "look", "headline"),
    [
        ([verdict(BASE, HEAD, case())], "good", "No regression"),
        ([verdict(BASE, HEAD, case(), slower())], "bad", "Regression: 1 of 2"),
        ([verdict(BASE, HEAD, case(status=Status.INCONCLUSIVE))], "warn", "Inconclusive"),
        ([verdict(BASE, HEAD, case(status=Status.BROKEN))], "bad", "Broken"),
        ([verdict(BASE, HEAD, case(status=Status.SKIPPED))], "bad", "Nothing measured"),
        ([verdict(BASE, HEAD)], "bad", "Nothing measured"),
        ([night(HEAD)], "warn", "No verdict in the last night"),
        ([night(HEAD, finished=False)], "bad", "did not finish"),
        ([night(HEAD, exit_code=5)], "bad", "Something broke"),
        ([card_of()], "warn", "No verdict yet"),
        (
            [verdict(BASE, HEAD, case(), at="2026-11-21T03:15:00+00:00"), night(NEXT, exit_code=4)],
            "bad",
            "measured nothing",
        ),
        ([verdict(BASE, HEAD, case()), night(HEAD, exit_code=5, verdict="x")], "bad", "broke"),
    ],
)
def test_the_headline_is_the_newest_word(
    tmp_path: Path, values: list[Any], look: str, headline: str
) -> None:
    found = tonight.banner(told(tmp_path, *values))
    assert found.look == look
    assert headline in found.headline


def test_a_machine_that_fell_silent_is_not_green(tmp_path: Path) -> None:
    host = told(tmp_path, verdict(BASE, HEAD, case()))
    assert tonight.tonight(host, NOW).banner.look == "good"
    late = tonight.tonight(host, NOW + timedelta(days=3)).banner
    assert late.look == "warn"
    assert late.headline.startswith("Silent for 3 days")


def test_every_trouble_of_the_night_is_on_the_overview(project: Project) -> None:
    project.measure()
    project.write()
    troubles = (Trouble("hang", "unit 7", "killed after 600 s"), Trouble("disk", "x", "no space"))
    write(project.results, night(project.commits[-1], exit_code=5, troubles=troubles))
    page = overview.render(project.load())
    for words in ("hang", "unit 7", "killed after 600 s", "no space", "Something broke"):
        assert words in page


def test_where_seconds_and_instructions_disagree_the_overview_says_so(project: Project) -> None:
    project.measure()
    project.write()
    count = case(benchmark="instructions.Inference.track_instructions", quantity="instructions")
    agreed = verdict(BASE, HEAD, case(), count)
    write(project.results, agreed)
    assert "disagree" not in overview.render(project.load())
    later = verdict(BASE, HEAD, slower(), count, at="2026-11-22T04:15:00+00:00")
    write(project.results, later)
    page = overview.render(project.load())
    assert "Seconds and instructions disagree" in page
    assert "slower with the same instructions" in page


def test_a_foot_says_what_verdicts_are_worth(tmp_path: Path) -> None:
    assert "never measured" in told(tmp_path, verdict(BASE, HEAD, case())).worth
    worth = told(tmp_path, card_of()).worth
    assert "1 false alarm in 40 verdicts of 30 cases" in worth
    assert "5% slower found in 98.7 %" in worth
    assert "measured 2026-11-20" in worth


def test_a_regression_page_has_all_that_one_needs(project: Project) -> None:
    for commit in range(2):
        project.measure(commit)
    project.write()
    base, head = project.commits
    says = {"says": "with the dependencies swapped no regression stays", "differs": True}
    write(
        project.results,
        verdict(base, head, slower(), commits=(head,), attribution={"dependencies": says}),
    )
    given = project.load()
    host = given.judged.hosts["bench"]
    (found,) = regressions.found(host, given)
    assert found.standing
    assert [commit.subject for commit in found.suspects] == ["Second"]
    page = regressions.render(given)
    for words in (
        "+12.0 %",
        "+9.8 % … +14.2 %",
        "swapped no regression stays",
        "not made" if not found.attribution else "Attribution: dependencies",
        f"rnnbench verdict {base} {head}",
        "yes: no later verdict takes it back",
    ):
        assert words in page
    assert page.count('<svg class="chart line" role="img"') == 1
    assert page.count('<circle class="dot"') == 2
    assert 'class="band"' in page


@pytest.mark.parametrize(
    ("later", "standing"),
    [
        ((0, 2, Status.NO_CHANGE), False),
        ((1, 2, Status.NO_CHANGE), True),  # as slow as it was
        ((1, 2, Status.IMPROVEMENT), False),
        ((0, 2, Status.INCONCLUSIVE), True),
        ((0, 2, Status.REGRESSION), True),
        (None, True),
    ],
)
def test_only_a_verdict_against_a_sound_base_takes_a_regression_back(
    tmp_path: Path, later: tuple[int, int, Status] | None, standing: bool
) -> None:
    from synthetic import make_project

    project = make_project(tmp_path / "p", ["One", "Two", "Three"])
    for number in range(3):
        project.measure(number)
    project.write()
    commits = project.commits
    write(project.results, verdict(commits[0], commits[1], slower()))
    if later is not None:
        base, head, status = later
        answer = case(status=status)
        write(project.results, verdict(commits[base], commits[head], answer, at=FIX))
    given = project.load()
    (found,) = regressions.found(given.judged.hosts["bench"], given)
    assert found.standing == standing


def test_two_nights_with_one_regression_are_one_entry(project: Project) -> None:
    project.measure(0)
    project.write()
    base, head = project.commits
    write(project.results, verdict(base, head, slower()), verdict(base, NEXT, slower(), at=FIX))
    given = project.load()
    (found,) = regressions.found(given.judged.hosts["bench"], given)
    assert (found.times, found.one.value.at, found.first_at[:10]) == (2, FIX, "2026-11-22")


def test_the_card_shows_every_count(tmp_path: Path) -> None:
    older = card_of(at="2026-10-01T00:00:00+00:00", false_alarms=9)
    write(tmp_path, card_of(spared=144, spared_alarms=2), older)
    page = card.render(judged.read(tmp_path), Frame("p"))
    for words in (
        "1 in 40 verdicts of 30 cases each",
        "2 among 144 cases",
        "148 of 150",
        "139 of 140",
        "130 of 150",
        "145 of 150",
        "asv continuous",
        "31 false alarms, in 17 of 40 verdicts",
        "60 of 150",
        "valgrind is not installed",
        "2026-11-20 03:15 UTC",
        "9 in 40 × 30",
    ):
        assert words in page, words
    assert "✖" not in page


def test_a_slowdown_that_was_denied_is_red(tmp_path: Path) -> None:
    wrong = Planted(0.05, 5, 150, 100, 40, 10, 140, 99, 120)
    write(tmp_path, card_of(planted=(wrong,)))
    assert "✖ 6.67 %" in card.render(judged.read(tmp_path), Frame("p"))


def test_no_card_is_said_in_words(tmp_path: Path) -> None:
    assert "Not measured" in card.render(judged.read(tmp_path), Frame("p"))
    write(tmp_path, verdict(BASE, HEAD, case()))
    assert "nobody knows how many of them are false alarms" in card.render(
        judged.read(tmp_path), Frame("p")
    )


def test_an_environment_that_changed_is_dated_and_marks_the_graphs(project: Project) -> None:
    for number, version in enumerate(("2.12", "2.13")):
        for record in project.measure(number).records:
            record["machine"]["torch"] = version
    project.write()
    write(project.results, verdict(*project.commits, slower()))
    given = project.load()
    (history,) = given.histories.values()
    assert [[one.words for one in at] for at in environment_changes(history)] == [
        [],
        ["torch 2.12 → 2.13"],
    ]
    page = environment.render(given)
    assert re.search(r"<td>torch</td><td[^>]*>2.12</td><td[^>]*>2.13</td>", page)
    assert "<title>torch 2.12 → 2.13</title>" in regressions.render(given)


def test_machines_are_compared_side_by_side() -> None:
    lines = environment.compared(
        {"ash": {"torch": "2", "cpu": "x"}, "oak": {"torch": "2", "cpu": "y"}}
    )
    assert [(line.name, line.values, line.differs) for line in lines] == [
        ("cpu", ["x", "y"], True),
        ("torch", ["2", "2"], False),
    ]


def entries(results: Path) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(feed.render(judged.read(results), "p"))
    return root.findall(f"{ATOM}entry")


def test_the_feed_is_what_rfc_4287_asks_for(tmp_path: Path) -> None:
    write(tmp_path, verdict(BASE, HEAD, slower()), verdict(BASE, NEXT, case(), at=FIX))
    text = feed.render(judged.read(tmp_path), "p")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{ATOM}feed"
    found = root.findall(f"{ATOM}entry")
    for element in (root, *found):
        for name in ("id", "title", "updated"):
            (only,) = element.findall(f"{ATOM}{name}")
            assert only.text
        at = element.findtext(f"{ATOM}updated")
        assert datetime.fromisoformat(str(at)).tzinfo is not None
        assert str(element.findtext(f"{ATOM}id")).startswith("urn:uuid:")
    assert root.find(f"{ATOM}author/{ATOM}name") is not None
    assert root.findtext(f"{ATOM}updated") == found[0].findtext(f"{ATOM}updated")
    links = {link.get("rel"): link.get("href") for link in root.findall(f"{ATOM}link")}
    assert links == {"self": "feed.xml", "alternate": "regressions.html"}
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {"http://www.w3.org/2005/Atom"}


def test_an_entry_names_case_size_and_commit_and_stays_itself(tmp_path: Path) -> None:
    write(tmp_path, verdict(BASE, HEAD, slower(), commits=(HEAD,)))
    (first,) = entries(tmp_path)
    content = str(first.findtext(f"{ATOM}content"))
    for words in (slower().name, "+12.0 %", "+9.8 % … +14.2 %", HEAD[:12], "rnnbench verdict"):
        assert words in content
    write(tmp_path, verdict(BASE, NEXT, slower(), at=FIX))
    ids = [entry.findtext(f"{ATOM}id") for entry in entries(tmp_path)]
    assert len(set(ids)) == 2
    assert first.findtext(f"{ATOM}id") == ids[1]


def test_the_feed_tells_when_all_is_well_again_and_then_is_silent(tmp_path: Path) -> None:
    days = ["2026-11-22", "2026-11-23", "2026-11-24"]
    answers = [slower(), case(), case()]
    for day, answer in zip(days, answers, strict=True):
        write(tmp_path, verdict(BASE, HEAD, answer, at=f"{day}T03:00:00+00:00"))
    assert [str(e.findtext(f"{ATOM}updated"))[:10] for e in entries(tmp_path)] == days[1::-1]


def test_an_empty_feed_is_valid(tmp_path: Path) -> None:
    root = ElementTree.fromstring(feed.render(judged.read(tmp_path), "p"))
    assert root.findtext(f"{ATOM}updated") == "1970-01-01T00:00:00+00:00"


def test_verdicts_json_is_read_back_and_as_its_schema_says(tmp_path: Path) -> None:
    given = verdict(BASE, HEAD, slower())
    (path,) = write(tmp_path, given)
    write(tmp_path, card_of(), night(HEAD))
    whole = json.loads(verdicts_json.render(judged.read(tmp_path), "p"))
    machine = whole["machines"]["bench"]
    (one,) = machine["verdicts"]
    assert one.pop("file") == path.relative_to(tmp_path).as_posix()
    assert Verdict.from_dict(one) == given
    assert Card.from_dict(machine["card"]) == card_of()
    assert Night.from_dict(machine["night"]) == night(HEAD)


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [
        (Verdict, "verdict", {"file", "schema", "exit_code"}),
        (CaseAnswer, "case", set()),
        (Commit, "commit", set()),
        (Card, "card", {"schema"}),
        (Night, "night", {"schema"}),
    ],
)
def test_the_schema_knows_every_field(kind: Any, name: str, more: set[str]) -> None:
    schema = json.loads(verdicts_json.schema())
    fields = {field.name for field in dataclasses.fields(kind)} | more
    assert set(schema["$defs"][name]["properties"]) == fields
    assert set(schema["$defs"][name]["required"]) == fields


def test_broken_files_are_told_and_the_others_shown(tmp_path: Path) -> None:
    (path,) = write(tmp_path, verdict(BASE, HEAD, slower()))
    (path.parent / "20270101T000000Z-x.json").write_text("{")
    found = judged.read(tmp_path)
    assert len(found.hosts["bench"].verdicts) == 1
    assert "20270101T000000Z-x.json" in found.problems[0]


PAGES = [name for name, _ in [*FIRST, *LAST] if name != "explorer.html"] + list(TITLES)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_lets_markup_through(hostile: Project, name: str) -> None:
    page = (hostile.html / name).read_text(encoding="utf-8")
    assert MARKUP not in page
    assert page.count("<script>") == 1
    assert 'href="feed.xml"' in page
    assert '"&<b>' not in page


@pytest.mark.parametrize("name", ["index.html", "regressions.html", "card.html"])
def test_what_strangers_wrote_is_shown_all_the_same(hostile: Project, name: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (hostile.html / name).read_text()


def test_no_file_holds_what_its_format_forbids_or_what_hides_text(hostile: Project) -> None:
    for file in hostile.html.rglob("*"):
        if file.suffix in (".html", ".xml", ".json") and "assets" not in file.parts:
            text = file.read_bytes().decode()  # raises for what is no UTF-8
            assert foreign.clean(text) == text, file
            if file.suffix == ".json" and "half" not in file.name:
                json.dumps(json.loads(text), ensure_ascii=False).encode()
    ElementTree.fromstring((hostile.html / "feed.xml").read_bytes())  # expat


def test_feed_and_json_hold_markup_as_text(hostile: Project) -> None:
    text = (hostile.html / "feed.xml").read_text(encoding="utf-8")
    assert MARKUP not in text
    assert MARKUP in "".join(ElementTree.fromstring(text).itertext())
    whole = json.loads((hostile.html / "verdicts.json").read_text())
    ((machine,),) = [tuple(whole["machines"].values())]
    assert machine["verdicts"][0]["head"]["given"].startswith(MARKUP)
    assert "19990101T000000Z-half.json" in whole["problems"][0]
