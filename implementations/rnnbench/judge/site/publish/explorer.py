"""The history explorer: asv-tachyon's prebuilt interface beside asv's published data.

Its script fetches ``index.json``, ``graphs/…`` and a few optional files relative to the page, and
loads its own parts from ``./assets/``. So ``explorer.html`` lies in html_dir itself, unchanged.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnnbench.judge.site.data.commits import Commit
from rnnbench.judge.site.html.page import write

# What asv's publishers and the explorer's data consist of; every other file in html_dir is part
# of asv's own interface or its feed, and refers to other hosts.
DATA = {"graphs", "regressions.json"}
NOT_INSTALLED = "asv-tachyon is not installed: no history explorer. Install rnnbench[bench]."


def remove_asv_pages(html_dir: Path) -> None:
    """Delete all that asv put there but the published data."""
    for path in html_dir.iterdir():
        if path.name in DATA:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def install(html_dir: Path, commits: dict[str, Commit], graphs: Iterable[str]) -> None:
    """Put the explorer's page, its assets and the optional files it asks for into html_dir."""
    static = static_dir()
    if static is None:
        (html_dir / "explorer.html").write_text(_apology(), encoding="utf-8")
        return
    shutil.copyfile(static / "index.html", html_dir / "explorer.html")
    shutil.copyfile(static / "favicon.svg", html_dir / "favicon.svg")
    shutil.copytree(
        static / "assets", html_dir / "assets", copy_function=shutil.copyfile, dirs_exist_ok=True
    )
    _write_optional_files(html_dir, commits, graphs)


def static_dir() -> Path | None:
    """Folder of the prebuilt interface, or None where asv-tachyon is not installed."""
    spec = importlib.util.find_spec("asv_tachyon")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static"


def declare_direction(benchmarks: dict[str, dict[str, Any]]) -> None:
    """Say that less is better, which asv then writes into index.json.

    Without it the explorer takes more of any tracked value (errors, bytes, seconds) for better.
    """
    for benchmark in benchmarks.values():
        benchmark.setdefault("less_is_better", True)


def _write_optional_files(
    html_dir: Path, commits: dict[str, Commit], graphs: Iterable[str]
) -> None:
    """Subject lines for the explorer, and empty answers to what else it asks for.

    A file it fetches and does not find is an error in the browser's console.
    """
    subjects = {name: commit.subject for name, commit in commits.items()}
    _write_json(html_dir / "commits.json", {"by_hash": subjects, "by_revision": {}})
    _write_json(html_dir / "profiles.json", {"paths": {}})
    _write_json(html_dir / "regressions-ignore.json", [])
    for graph in graphs:
        _write_json(html_dir / "samples" / f"{Path(graph).relative_to('graphs')}.json", {})


def _write_json(path: Path, data: Any) -> None:
    write(path, json.dumps(data))


def _apology() -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>History</title>'
        f'<p>{NOT_INSTALLED}</p><p><a href="index.html">Report</a></p></html>'
    )
