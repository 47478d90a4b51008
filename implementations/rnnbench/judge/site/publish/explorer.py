"""The history explorer: asv-tachyon's prebuilt interface beside asv's published data.

Its script fetches ``index.json``, ``graphs/…`` and a few optional files relative to the page, and
loads its own parts from ``./assets/``. So ``explorer.html`` lies in html_dir itself, unchanged.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rnnbench.files import foreign
from rnnbench.judge.site.data.commits import Commit

NOT_INSTALLED = "asv-tachyon is not installed: no history explorer. Install rnnbench[bench]."
APOLOGY = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>History</title>'
    f'<p>{NOT_INSTALLED}</p><p><a href="index.html">Report</a></p></html>'
)


def files(commits: Mapping[str, Commit], graphs: Iterable[str]) -> dict[str, str | bytes]:
    """Return the explorer's page, its assets and the optional files that it asks for.

    Those are subject lines, and empty answers: a file that it fetches and does not find is an
    error in the browser's console. ``graphs`` are names such as ``graphs/….json``.
    """
    static = static_dir()
    if static is None:
        return {"explorer.html": APOLOGY}
    assets = [path for path in sorted((static / "assets").rglob("*")) if path.is_file()]
    subjects = {name: commit.subject for name, commit in commits.items()}
    return {
        "explorer.html": (static / "index.html").read_bytes(),
        "favicon.svg": (static / "favicon.svg").read_bytes(),
        **{path.relative_to(static).as_posix(): path.read_bytes() for path in assets},
        "commits.json": foreign.dumped({"by_hash": subjects, "by_revision": {}}),
        "profiles.json": json.dumps({"paths": {}}),
        "regressions-ignore.json": json.dumps([]),
        **{graph.replace("graphs/", "samples/", 1): "{}" for graph in graphs},
    }


def static_dir() -> Path | None:
    """Return the folder of the prebuilt interface, None where asv-tachyon is not installed."""
    spec = importlib.util.find_spec("asv_tachyon")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static"
