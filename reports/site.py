"""A page of the site: a template with our style and script inside.

A page forbids itself every request by its content security policy, so that it reads from
``file://`` and can be mailed as one file.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from . import charts, text

HERE = Path(__file__).parent


def page(template: str, **context: Any) -> str:
    """The template as HTML; everything in ``context`` is shown escaped."""
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    policy = _policy(style, script)
    found = _templates().get_template(template)
    return found.render(style=style, script=script, policy=policy, **context)


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(key=charts.legend_mark)
    environment.filters.update(moment=text.moment, number=text.number, count=text.count)
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
