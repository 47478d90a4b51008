"""``verdicts.json``: the newest verdicts of every machine, for programs.

Its format is in ``verdicts.schema.json`` beside it, a JSON Schema.
"""

from __future__ import annotations

from typing import Any

from rnnbench.files import foreign
from rnnbench.judge.site.data.judged import Host, Judged
from rnnbench.judge.site.html.page import HERE

SCHEMA = 1
SCHEMA_FILE = "verdicts.schema.json"


def render(judged: Judged, project: str) -> str:
    """Return the whole file as text."""
    whole = {
        "schema": SCHEMA,
        "project": project,
        "machines": {name: _machine(host) for name, host in judged.hosts.items()},
        "problems": judged.problems,
    }
    return foreign.dumped(whole) + "\n"


def schema() -> str:
    """Return the JSON Schema of the file."""
    return (HERE / "assets" / SCHEMA_FILE).read_text(encoding="utf-8")


def _machine(host: Host) -> dict[str, Any]:
    return {
        "card": host.card.as_dict() if host.card else None,
        "night": host.nights[0].value.as_dict() if host.nights else None,
        "verdicts": [{"file": one.file} | one.value.as_dict() for one in host.verdicts],
        "older": host.older,
    }
