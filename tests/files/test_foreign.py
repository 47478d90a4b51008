"""Whatever strangers write, every format can hold what we make of it."""

from __future__ import annotations

import json
import unicodedata
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from rnnbench.files.foreign import clean, dumped, plain

ANY = st.text(st.characters(codec=None, exclude_categories=()))
"""Surrogates, noncharacters and controls too."""
HIDING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@given(ANY)
def test_text_can_be_written_and_parsed_as_xml(text: str) -> None:
    element = ElementTree.Element("e")
    element.text = clean(text)
    written = ElementTree.tostring(element, encoding="utf-8")
    assert (ElementTree.fromstring(written).text or "") == clean(text)


@given(ANY)
def test_no_control_no_surrogate_and_no_noncharacter_is_left(text: str) -> None:
    for one in clean(text):
        assert one in "\t\n" or unicodedata.category(one) not in ("Cc", "Cs")
        assert ord(one) & 0xFFFE != 0xFFFE
        assert one not in HIDING


@given(ANY)
def test_what_is_fit_stays_as_it_is(text: str) -> None:
    fit = clean(text)
    assert clean(fit) == fit
    assert clean("π ≤ 3.2\n\tok 👍🏽 é") == "π ≤ 3.2\n\tok 👍🏽 é"


@given(ANY)
def test_a_line_is_one_line(text: str) -> None:
    assert len(plain(text).splitlines()) <= 1


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)))
def test_json_holds_text_that_any_parser_takes(value: object) -> None:
    again = json.loads(dumped(value))
    json.dumps(again, ensure_ascii=False).encode()


def test_markup_stays_markup() -> None:
    assert clean(escape("<b>\x07")) == Markup("&lt;b&gt; ")
    assert isinstance(clean(Markup("<b>\x07")), Markup)
