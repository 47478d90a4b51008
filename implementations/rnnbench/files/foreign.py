"""Text from strangers, made fit for any format: the one place where it is.

Exception messages, subjects of commits and names of cases come from whoever wrote a commit. They
may hold what no UTF-8 file can (lone surrogates), what XML and HTML forbid (controls,
noncharacters), and what makes a reader see another text than there is (bidirectional controls;
Boucher and Anderson 2021).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_NONE = "\ud800-\udfff\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
CONTROLS, NONE = re.compile(f"[{_CONTROLS}]+"), re.compile(f"[{_NONE}]")
REPLACEMENT = "\ufffd"

Text = TypeVar("Text", bound=str)


def clean(text: Text) -> Text:
    """Return text of several lines: controls become a space, what is no character U+FFFD.

    Of a subclass of str, such as escaped markup, the same subclass.
    """
    if text.isascii() and text.isprintable():
        return text
    return type(text)(NONE.sub(REPLACEMENT, CONTROLS.sub(" ", text)))


def plain(text: str) -> str:
    """Return `clean` text on one line, without space at its ends."""
    return re.sub(r"[\n\t ]*[\n\t]+ *", " ", clean(text)).strip()


def dumped(value: Any) -> str:
    """Return a value as compact JSON, every text in it `clean`; raises ValueError for NaN."""
    return json.dumps(_cleaned(value), separators=(",", ":"), allow_nan=False)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {_cleaned(name): _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list | tuple) else value
