"""The site in a real browser: offline, without complaints, with and without script."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect
from reports.pages import TITLES
from synthetic import Project

from rnnbench.judge.site.html.page import FIRST, LAST

OURS = [name for name, _ in [*FIRST, *LAST] if name != "explorer.html"] + list(TITLES)
WIDE, NARROW = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}
INK = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let ink = 0;
    for (let i = 3; i < pixels.length; i += 4) ink += pixels[i] > 0;
    return ink;
}"""


def shown(table: Locator, column: int) -> list[str]:
    """First lines of a column's visible cells."""
    cells = table.locator(f"tbody tr:not([hidden]) td:nth-child({column})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def every_case(visit: Any) -> Locator:
    """The long table at the end, unfolded."""
    visit.page.goto(f"{visit.base}index.html")
    section = visit.page.locator("#s0-cases")
    section.locator("summary").first.click()
    return section  # type: ignore[no-any-return]


def test_the_page_asks_nobody_and_complains_of_nothing(served: Any) -> None:
    served.page.goto(f"{served.base}index.html")
    expect(served.page.locator("h1")).to_contain_text("synthetic")
    assert served.page.locator("svg[role=img] > title").count() >= 8
    assert served.is_clean()


def test_the_guard_sees_a_foreign_request_and_an_error(served: Any) -> None:
    served.page.goto(f"{served.base}explorer.html")
    served.page.evaluate("fetch('http://other.example/x').catch(() => console.error('no'))")
    served.page.wait_for_timeout(200)
    assert served.foreign == ["http://other.example/x"]
    assert not served.is_clean()


def test_the_policy_alone_would_stop_a_foreign_request(served: Any) -> None:
    served.page.goto(f"{served.base}index.html")
    failed = "fetch('http://other.example/x').then(() => false, () => true)"
    assert served.page.evaluate(failed)
    assert served.foreign == []


def test_the_table_sorts_by_number_both_ways(served: Any) -> None:
    section = every_case(served)
    header = section.locator("th", has_text="Median")
    values = section.locator("tbody tr:not([hidden]) td:nth-child(5)[data-sort]")
    read = "cells => cells.map(cell => Number(cell.dataset.sort))"
    header.get_by_role("button").click()
    rising = values.evaluate_all(read)
    expect(header).to_have_attribute("aria-sort", "ascending")
    header.get_by_role("button").click()
    falling = values.evaluate_all(read)
    expect(header).to_have_attribute("aria-sort", "descending")
    assert len(rising) > 400
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)
    # What has no figure stays at the end.
    assert "parity failed" in shown(section.locator("table"), 5)[-20:]
    assert served.is_clean()


def test_the_table_sorts_by_text(served: Any) -> None:
    section = every_case(served)
    section.locator("th", has_text="Backend").get_by_role("button").click()
    names = [name for name in shown(section.locator("table"), 2) if name.isalpha()]
    assert names == sorted(names)
    assert len(set(names)) == 4


def test_the_table_filters_by_all_words(served: Any) -> None:
    section = every_case(served)
    table, box = section.locator("table"), section.get_by_role("searchbox")
    before = len(shown(table, 1))
    box.fill("GRU numba  training")
    assert set(shown(table, 3)) == {"gru"}
    assert set(shown(table, 2)) == {"numba"}
    expect(section.locator("output")).to_have_text(f"{len(shown(table, 1))} of {before} rows")
    box.fill("no such case")
    assert shown(table, 1) == []
    box.fill("")
    assert len(shown(table, 1)) == before
    assert served.is_clean()


def test_the_explorer_draws_a_graph_offline(served: Any) -> None:
    url = f"{served.base}explorer.html#view=explore&bench=control.Control.time_matmul"
    served.page.goto(url)
    canvas = served.page.locator(".uplot canvas").first
    expect(canvas).to_be_visible()
    assert canvas.evaluate(INK) > 500
    assert served.is_clean()


def test_the_explorer_leads_back_to_the_commit(served: Any, hostile: Project) -> None:
    served.page.goto(f"{served.base}explorer.html#view=explore&bench=control.Control.time_matmul")
    link = served.page.get_by_role("link", name="open commit")
    expect(link).to_have_attribute("href", f"commits.html#commit-{hostile.commits[-1]}")
    home = served.page.get_by_role("link", name="synthetic")
    expect(home).to_have_attribute("href", "index.html")


def test_every_view_of_the_explorer_is_clean(served: Any) -> None:
    served.page.goto(f"{served.base}explorer.html")
    tabs = served.page.get_by_role("tablist").first.get_by_role("button")
    expect(tabs.first).to_be_visible()
    for tab in tabs.all():
        tab.click()
        served.page.wait_for_timeout(150)
    assert served.is_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_from_a_file_without_script(
    hostile: Project, browser: Browser, scheme: Any, size: Any
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=False)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((hostile.html / "index.html").as_uri())
    expect(page.locator("#s0 .banner")).to_contain_text("Parity failed in 1 case")
    expect(page.locator("#tonight .banner")).to_contain_text("Regression: 2 of 4 cases")
    expect(page.locator("#s0-inference table").first).to_be_visible()
    expect(page.locator("#s0-inference svg.chart").first).to_be_visible()
    expect(page.locator("#s0-parity")).to_contain_text("48.0 of 12.0 eps")
    # Controls that need script are not there.
    assert page.locator("table button, input").count() == 0
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_whole_from_a_file_without_script(
    hostile: Project, browser: Browser, scheme: Any, size: Any
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=False)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name in OURS:
        page.goto((hostile.html / name).as_uri())
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("footer")).to_contain_text("1 false alarm in 40 verdicts")
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], name
        assert page.locator("table button, input").count() == 0
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_every_page_asks_nobody_and_complains_of_nothing(served: Any) -> None:
    for name in OURS:
        served.page.goto(f"{served.base}{name}")
        expect(served.page.locator("nav.pages [aria-current=page]")).to_have_count(1)
        for link in served.page.locator("nav.pages a").all():
            target = str(link.get_attribute("href"))
            assert served.page.request.get(f"{served.base}{target}").ok, target
    assert served.is_clean()


def test_a_regression_is_told_by_words_and_drawn(served: Any) -> None:
    served.page.goto(f"{served.base}regressions.html")
    first = served.page.locator("article.regression").first
    expect(first).to_contain_text("yes: no later verdict takes it back")
    expect(first).to_contain_text("rnnbench verdict")
    expect(first.locator("svg.chart circle.dot")).to_have_count(3)
    assert served.is_clean()


def test_the_page_speed_asks_nobody_and_complains_of_nothing(served: Any) -> None:
    served.page.goto(f"{served.base}index.html")
    served.page.get_by_role("banner").get_by_role("link", name="speed").click()
    expect(served.page.locator("h1")).to_contain_text("Speed")
    for region in served.page.locator("article nav a").all():
        target = region.get_attribute("href") or ""
        expect(served.page.locator(target)).to_have_count(1)
    served.page.get_by_role("link", name="Report").click()
    expect(served.page.locator("h1")).to_contain_text("synthetic")
    assert served.is_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_speed_from_a_file_without_script(
    hostile: Project, browser: Browser, scheme: Any, size: Any
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=False)
    page = context.new_page()
    page.goto((hostile.html / "speed.html").as_uri())
    plot = page.locator("#m0-roofline svg.chart")
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size["width"]
    expect(page.locator("#m0-lose")).to_contain_text("times slower than")
    expect(page.locator("#m0-1 .panel table").first).to_be_visible()
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    # A chart's rows and its table's stand side by side, one as high as the other.
    if size is WIDE:
        panel = page.locator("#m0-1 .panel").first
        rows = panel.locator("tbody tr").evaluate_all("all => all.map(r => r.offsetTop)")
        rules = panel.locator("line.rule").evaluate_all("all => all.map(l => l.y1.baseVal.value)")
        assert [b - a for a, b in pairwise(rows)] == pytest.approx(
            [b - a for a, b in pairwise(rules)], abs=1
        )
    context.close()


def test_light_and_dark_differ_and_status_is_told_in_words(
    hostile: Project, browser: Browser
) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto((hostile.html / "index.html").as_uri())
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for cell in page.locator("td.good, td.bad").all()[:60]:
            assert (cell.text_content() or "").strip()
        context.close()
    assert len(grounds) == 2
