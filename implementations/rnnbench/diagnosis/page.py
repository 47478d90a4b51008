"""A diagnosis as one self-contained page: no script, no request, readable offline and when mailed.

The heat map shows the error as a share of the budget over layer and time, forward and backward, as
an inline picture made here and as a table of the same figures beside it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import tempfile
from pathlib import Path

import jinja2
from markupsafe import Markup

from rnnbench.diagnosis import account
from rnnbench.diagnosis.findings import Findings, Row
from rnnbench.diagnosis.script import words
from rnnbench.errors import InputError
from rnnbench.files import atomic, foreign

HERE = Path(__file__).parent / "templates"
LABEL, CELL, ROW, TOP, BOTTOM = 118, 34, 24, 8, 30
DECADES = 7.0
"""Shares of the budget from 1 to 10⁷ are told apart by colour; what is red is so by a mark too."""


TITLES = ("Forward: states and output", "Backward: gradients of the weights")


def page(d: Findings) -> str:
    """The page as HTML; everything in the diagnosis is shown escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: foreign.clean(value) if isinstance(value, str) else value,
    )
    style = (HERE / "diagnosis.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("diagnosis.html.j2").render(
        d=d,
        right=d.status == "right",
        account=account,
        words=words,
        style=Markup(style),  # noqa: S704 (ours)
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'",
        maps=[(TITLES[b], rows, _picture(TITLES[b], rows)) for b, rows in d.maps().items()],
    )


def write(d: Findings, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises InputError where the folder does not exist or cannot be written to.
    """
    check_path(path)
    try:
        atomic.write(path, page(d))
    except OSError as error:
        raise InputError(f"html must be a path that can be written to: {error}") from error


def check_path(path: Path) -> None:
    """Raise InputError where `write` could not write, before there is something to write."""
    if path.is_dir():
        raise InputError(f"html must be a path that can be written to; {path} is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"html must be a path that can be written to: {error}") from error


def _picture(title: str, rows: list[Row]) -> Markup:
    """Draw a square per layer and step; a cross in what departs, a frame around the first."""
    T = len(rows[0][1])
    width, height = LABEL + CELL * T + 12, TOP + ROW * len(rows) + BOTTOM
    parts = [
        Markup(
            '<svg role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" '
            'width="{w}" height="{h}"><title>{title}, error over layer and time</title>'
        ).format(w=width, h=height, title=title)
    ]
    for r, (name, cells) in enumerate(rows):
        y = TOP + r * ROW
        parts.append(_text(LABEL - 8, y + ROW * 0.65, name, "end"))
        parts += [_square(LABEL + t * CELL, y, share, first) for t, share, first in cells]
    parts += [_text(LABEL + (t + 0.5) * CELL, height - 14, f"t={t}", "middle") for t in range(T)]
    return Markup("").join([*parts, Markup("</svg>")])


def _square(x: float, y: float, share: float, first: bool) -> Markup:
    departs = share > 1
    strength = 1.0 if math.isinf(share) else min(math.log10(max(share, 1.0)) / DECADES, 1.0)
    mark = Markup('<path class="cross" d="M{},{}l10,10m0,-10l-10,10"/>').format(
        x + CELL / 2 - 5, y + ROW / 2 - 5
    )
    return Markup(
        '<g><title>{words}</title><rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" '
        'fill-opacity="{alpha:.2f}"/>{mark}</g>'
    ).format(
        words=share_words(share), kind=("bad" if departs else "fine") + " first" * first,
        x=x + 1, y=y + 1, w=CELL - 2, h=ROW - 2, alpha=0.25 + 0.65 * strength if departs else 1.0,
        mark=mark if departs else "",
    )  # fmt: skip


def share_words(share: float) -> str:
    """Error over budget, in words."""
    return "within the budget" if share <= 1 else f"{account.figure(share)} times the budget"


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, words)
