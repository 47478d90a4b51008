"""The page of a diagnosis: whole, self-contained, readable without colour or script."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import pytest
from diagnosis.wrong_programs import TimeOutsideLayers, hand_made_gradient

import rnnbench
from rnnbench import InputError, Spec
from rnnbench.diagnosis.page import write
from rnnbench.mistakes import candidate

SPEC = Spec("rnn_tanh", 3, 4, 2, 2, bias=False)


@pytest.fixture(scope="module")
def wrong():
    return rnnbench.diagnose(TimeOutsideLayers(), spec=SPEC)


class _Balanced(HTMLParser):
    """Every tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_balanced(wrong):
    page = wrong.to_html()
    assert not re.search(r"(src|href)=\"(?!data:,)", page)
    assert "http://www.w3.org" in page  # the name space of SVG, no request
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "<script" not in page
    assert "default-src 'none'" in unescape(page)
    assert _Balanced(page).open == []


def test_the_heat_maps_are_pictures_with_a_title_and_the_same_figures_in_a_table(wrong):
    page = wrong.to_html()
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 2
    space = "{http://www.w3.org/2000/svg}"
    for picture, shares in zip(pictures, (wrong.heat.forward, wrong.heat.backward), strict=True):
        root = ET.fromstring(picture)
        assert root.get("role") == "img"
        assert root.find(f"{space}title").text
        squares = root.findall(f".//{space}rect")
        assert len(squares) == 4 * wrong.T
        crosses = sum(share > 1 for row in shares for share in row)
        assert len(root.findall(f".//{space}path")) == crosses > 0
    assert page.count("(first)") == 1
    for share in wrong.heat.forward[2]:
        assert f"{share:.3g}" in page


def test_the_page_says_place_cause_and_the_lines_of_mathematics(wrong):
    page = wrong.to_html()
    for words in ("layer 2, reverse half of its input", "time_loop_outside", "no parameters"):
        assert words in page
    for known in wrong.explanations:
        assert known.wrong in page
        assert known.right in page


def test_the_page_of_gradients_has_the_contributions():
    spec = Spec("rnn_tanh", 1, 2)
    found = rnnbench.diagnose(hand_made_gradient, spec=spec, kind="gradient")
    page = found.to_html()
    assert "What each step adds to the gradient of weight_ih_l0" in page
    assert page.count("✖ departs") == sum(c.departs for c in found.contributions)
    assert page.count("<svg") == 1


def test_a_right_candidate_gets_a_green_page_and_names_are_escaped():
    right = candidate(SPEC)

    def net(x, state, weights):
        return right(x, state, weights)

    net.__name__ = "<b>mine</b>"
    page = rnnbench.diagnose(net, spec=SPEC).to_html()
    assert "✔" in page
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine" in page


def test_the_page_is_written_whole_or_not_at_all(wrong, tmp_path):
    write(wrong, tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(InputError, match="html must be a path"):
        write(wrong, tmp_path / "nosuch" / "page.html")
