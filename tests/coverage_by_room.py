"""Print the branch coverage of each room, from what ``pytest --cov`` has recorded.

    python tests/coverage_by_room.py

A figure is (statements run + branches taken) / (statements + branches). Functions that Numba
compiles are not counted: no tracer sees them run. Rooms below `FLOOR` are named at the end.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import redirect_stdout
from pathlib import PurePath

from architecture import ROOT, SOURCES, room
from coverage import Coverage

FLOOR = 0.85
KINDS = ("statements", "branches")


def module(file: str) -> str:
    """Return the dotted name of a source file, given relative to the checkout."""
    for package, folder in SOURCES.items():
        if PurePath(file).is_relative_to(folder):
            parts = PurePath(file).relative_to(folder).with_suffix("").parts
            return ".".join((package, *parts)).removesuffix(".__init__")
    raise ValueError(f"{file} is below none of {', '.join(SOURCES.values())}")


def of_rooms(files: dict[str, dict[str, dict[str, int]]]) -> dict[str, Counter[str]]:
    """Return what there is and what has run, summed by room, from a report's ``files``."""
    found: dict[str, Counter[str]] = {}
    for file, report in files.items():
        summary = report["summary"]
        counted = found.setdefault(room(module(file)), Counter())
        counted["statements"] += summary["num_statements"]
        counted["branches"] += summary["num_branches"]
        counted["run"] += summary["covered_lines"] + summary["covered_branches"]
    return found


def share(counted: Counter[str]) -> float:
    """Return the share that has run; of nothing all."""
    there = sum(counted[kind] for kind in KINDS)
    return counted["run"] / there if there else 1.0


def table(rooms: dict[str, Counter[str]]) -> str:
    """Return the figures as text, the rooms that are below `FLOOR` once more at its end."""
    lines = [f"{'room':28} {'statements':>10} {'branches':>8} {'covered':>8}"]
    whole = sum(rooms.values(), Counter())
    for name, counted in [*sorted(rooms.items()), ("all", whole)]:
        figures = f"{counted['statements']:10,} {counted['branches']:8,} {share(counted):8.1%}"
        lines.append(f"{name:28} {figures}")
    low = [name for name, counted in sorted(rooms.items()) if share(counted) < FLOOR]
    return "\n".join([*lines, f"below {FLOOR:.0%}: {', '.join(low) or 'none'}"])


def main() -> None:
    recorded = Coverage(config_file=str(ROOT / "pyproject.toml"))
    recorded.load()
    text = io.StringIO()
    with redirect_stdout(text):
        recorded.json_report(outfile="-")
    print(table(of_rooms(json.loads(text.getvalue())["files"])))


if __name__ == "__main__":
    main()
