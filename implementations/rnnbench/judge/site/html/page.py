"""Templates to pages, each with the style and script of the site inside.

A page forbids itself every request by its content security policy, so that it reads from
``file://`` and can be mailed as one file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rnnbench.files import foreign
from rnnbench.judge.site.html import svg, text
from rnnbench.judge.verdict import text as words

HERE = Path(__file__).parent
FIRST = [
    ("index.html", "Report"),
    ("regressions.html", "regressions"),
    ("card.html", "error rates"),
]
LAST = [
    ("environment.html", "environment"),
    ("commits.html", "commits"),
    ("explorer.html", "history explorer"),
]
"""Pages of every site: file name and words in the navigation; a suite's own stand between."""


@dataclass(frozen=True)
class Frame:
    """The parts that the pages of a site have in common.

    foot    sentences on what the machines' verdicts are worth
    titles  the suite's own pages: file name and words in the navigation
    """

    project: str
    foot: Sequence[str] = ()
    titles: Sequence[tuple[str, str]] = ()


def page(
    template: str, frame: Frame, folder: Path | None = None, here: str = "", **context: Any
) -> str:
    """Return a template as HTML; everything in ``context`` is shown escaped.

    folder  the templates of a suite, which may extend and include ours
    here    the page's file name, unless it is the template's
    """
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    return (
        _templates(folder)
        .get_template(template)
        .render(
            style=style,
            script=script,
            policy=_policy(style, script),
            project=frame.project,
            foot=frame.foot,
            site_pages=[*FIRST, *frame.titles, *LAST],
            here=here or template.removesuffix(".j2"),
            **context,
        )
    )


@cache
def _templates(folder: Path | None) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*filter(None, [folder]), HERE / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: foreign.clean(value) if isinstance(value, str) else value,
    )
    environment.globals.update(key=svg.legend_mark, say=words)
    environment.filters.update(moment=text.moment, number=text.number, count=text.count)
    environment.filters.update(iso=text.iso_moment, seconds=text.seconds)
    return environment


@cache
def _asset(name: str) -> Markup:
    """Return a file of ours, to be put into the page as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))  # noqa: S704


def _policy(style: str, script: str) -> str:
    """Allow this very style and script only; nothing may be fetched."""
    ours = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; img-src data:; {ours}"


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
