"""Files that commands and jobs leave beside asv's results: ``<results_dir>/<kind>/<host>.jsonl``.

Of lines of one key the newest counts. What cannot be read becomes a problem in words.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rnnbench.files import jsonl

Parsed = TypeVar("Parsed")
SCHEMA = 1


def newest(
    folder: Path,
    parse: Callable[[Mapping[str, Any]], Parsed],
    key: Callable[[Parsed], Hashable],
    problems: list[str],
) -> dict[str, list[Parsed]]:
    """Return the newest line of each key, by host.

    A line that ``parse`` raises KeyError, TypeError or ValueError for is broken; broken lines are
    counted in ``problems``.
    """
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        kept: dict[Hashable, Parsed] = {}
        broken = 0
        for line in jsonl.read(path, SCHEMA):
            try:
                if isinstance(line, str):
                    raise ValueError(line)
                one = parse(line)
                kept[key(one)] = one
            except (KeyError, TypeError, ValueError):
                broken += 1
        if broken:
            problems.append(f"{folder.name}/{path.name}: {broken} broken line(s) passed over.")
        found[path.stem] = list(kept.values())
    return found
