"""A page of the site: a template with our style and script inside.

A page forbids itself every request by its content security policy, so that it reads from
``file://`` and can be mailed as one file.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rnnbench.judge.site.html import dots, text
from rnnbench.judge.verdict import text as words

HERE = Path(__file__).parent
PAGES = [
    ("index.html", "Report"),
    ("regressions.html", "regressions"),
    ("card.html", "error rates"),
    ("crossovers.html", "crossovers"),
    ("cold.html", "cold and warm"),
    ("speed.html", "speed"),
    ("training.html", "training"),
    ("environment.html", "environment"),
    ("torch.html", "what torch does"),
    ("commits.html", "commits"),
    ("explorer.html", "history explorer"),
]
"""What every page leads to."""


def page(template: str, *, foot: Sequence[str], **context: Any) -> str:
    """The template as HTML; everything in ``context`` is shown escaped.

    ``foot``: sentences on what the machines' verdicts are worth.
    """
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    policy = _policy(style, script)
    found = _templates().get_template(template)
    here = template.removesuffix(".j2")
    about = {"site_pages": PAGES, "here": here, "foot": foot}
    return found.render(style=style, script=script, policy=policy, **about, **context)


def write(path: Path, content: str) -> None:
    """Whole or not at all; a file that says the same already is left alone."""
    data = content.encode()
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}"[-200:])
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(key=dots.legend_mark, say=words)
    environment.filters.update(moment=text.moment, number=text.number, count=text.count)
    environment.filters.update(iso=text.iso_moment, seconds=text.seconds)
    return environment


def _asset(name: str) -> Markup:
    """A file of ours to be put into the page as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))  # noqa: S704


def _policy(style: str, script: str) -> str:
    """Only this very style and script may work on the page, and nothing may be fetched."""
    ours = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; img-src data:; {ours}"


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
