"""The site is published whole, whatever the results are like."""

from __future__ import annotations

import json
import re
from pathlib import Path

from synthetic import ENVIRONMENT, MARKUP, Project

URL = re.compile(r"https?://[^\s\"'<>)]+")
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/2005/Atom"}
SITE = {
    "assets",
    "card.html",
    "cold.html",
    "commits.html",
    "commits.json",
    "crossovers.html",
    "environment.html",
    "explorer.html",
    "feed.xml",
    "favicon.svg",
    "graphs",
    "index.html",
    "torch.html",
    "index.json",
    "info.json",
    "profiles.json",
    "regressions-ignore.json",
    "regressions.html",
    "regressions.json",
    "samples",
    "speed.html",
    "training.html",
    "verdicts",
    "verdicts.json",
    "verdicts.schema.json",
}


def published(project: Project) -> str:
    """Write, publish, and return the page."""
    project.write()
    project.publish()
    return project.page()


def foreign_urls(folder: Path) -> set[str]:
    """URLs in a site's own files; ``assets`` and ``favicon.svg`` are asv-tachyon's."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] not in {"assets", "favicon.svg"}:
            found |= set(URL.findall(path.read_text(encoding="utf-8")))
    return found - NAMESPACES


def test_asvs_own_pages_are_gone_and_ours_are_there(hostile: Project) -> None:
    assert {path.name for path in hostile.html.iterdir()} == SITE
    assert "regressions" in json.loads((hostile.html / "regressions.json").read_text())


def test_no_file_of_ours_refers_to_another_host(hostile: Project) -> None:
    assert foreign_urls(hostile.html) == set()


def test_the_search_for_urls_finds_one(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<script src="https://cdn.example/x.js"></script>')
    assert foreign_urls(tmp_path) == {"https://cdn.example/x.js"}


def test_every_name_is_escaped(hostile: Project) -> None:
    page = hostile.page()
    assert MARKUP not in page
    assert "<b>&" not in page
    for escaped in (
        "End &#34;&amp;&lt;b&gt;&lt;script&gt;",
        "bench&#34;&amp;&lt;b&gt;",
        "speed.Wild.time_&lt;b&gt;&amp;",
        "&lt;i&gt;&#34;&amp;",
    ):
        assert escaped in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6


def test_the_explorer_gets_subjects_and_the_right_direction(hostile: Project) -> None:
    subjects = json.loads((hostile.html / "commits.json").read_text())["by_hash"]
    assert subjects[hostile.commits[0]] == "Begin"
    index = json.loads((hostile.html / "index.json").read_text())
    assert all(entry["less_is_better"] for entry in index["benchmarks"].values())


def test_every_measured_commit_has_an_anchor(hostile: Project) -> None:
    page = (hostile.html / "commits.html").read_text(encoding="utf-8")
    for commit in hostile.commits:
        assert page.count(f'id="commit-{commit}"') == 1


def test_failed_parity_is_red_and_its_time_is_nowhere(project: Project) -> None:
    run = project.measure()
    record, index = run.records[10], 10
    run.values[record["benchmark"]][index] = 77.7
    record.update(status="parity", reason="output is beyond its budget", parity=None)
    page = published(project)
    assert "77.7" not in page
    assert '<p class="banner bad"' in page
    assert '<td class="num bad">parity failed' in page


def test_all_green(project: Project) -> None:
    project.measure()
    page = published(project)
    assert '<p class="banner good" role="status"><strong>✔ All parity green.</strong>' in page


def test_nothing_measured_is_red(project: Project) -> None:
    page = published(project)
    assert '<p class="banner bad" role="status"><strong>✖ Nothing measured.</strong>' in page


def test_without_any_verdict_the_overview_says_so_and_is_not_green(project: Project) -> None:
    project.measure()
    page = published(project)
    assert "No verdict yet" in page
    assert "nothing here says whether something became slower" in page
    assert page.index("No verdict yet") < page.index("All parity green")
    assert "no error rate was measured" in page


def test_all_failed_is_red(project: Project) -> None:
    run = project.measure()
    run.values = {name: [None] * len(values) for name, values in run.values.items()}
    for record in run.records:
        record.update(status="error", reason="boom", parity=None)
    assert "✖ Nothing measured." in published(project)


def test_what_could_not_be_read_is_on_the_page(project: Project) -> None:
    project.measure(0)
    broken = project.measure(1)
    project.write()
    name = f"{broken.commit[:8]}-{ENVIRONMENT}"
    (project.results / "bench" / f"{name}.json").write_text('{"commit_hash": "<b>')
    with (project.results / "records" / "bench" / f"{name}.jsonl").open("a") as records:
        records.write("{broken}\n")
    project.publish()
    page = project.page()
    assert "Not everything could be read" in page
    assert f"bench/{name}.json cannot be read" in page
    assert "1 broken record(s)" in page


def test_a_section_per_machine_and_environment(project: Project) -> None:
    project.measure(0, machine="ash")
    project.measure(1, machine="oak")
    project.measure(1, machine="oak", environment="existing-py", python="3.12")
    page = published(project)
    assert page.count("<article") == 3
    assert re.findall(r"<h2><span>Machine</span> (\w+)</h2>", page) == ["ash", "oak", "oak"]


def test_a_run_of_speed_only_says_what_is_missing(project: Project) -> None:
    run = project.measure()
    run.values = {name: v for name, v in run.values.items() if name.startswith("speed.")}
    run.records = [r for r in run.records if r["benchmark"].startswith("speed.")]
    page = published(project)
    assert "nothing tells a slower machine from slower code" in page


def test_a_baseline_that_is_missing_leaves_the_times(project: Project) -> None:
    run = project.measure()
    for record in run.records:
        if record["params"][:1] == ["native"]:
            record.update(status="error", reason="boom", parity=None)
    page = published(project)
    assert "no native time" in page
    assert "slower than native in" not in page


def test_a_commit_that_git_does_not_know(project: Project) -> None:
    run = project.measure()
    run.commit = "f" * 40
    for record in run.records:
        record["commit"] = run.commit
    assert "(not in this repository)" in published(project)
