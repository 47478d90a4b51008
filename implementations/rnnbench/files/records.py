"""Records below asv's results directory: one JSON object per file, of a kind, of a machine.

    verdicts/HOST/AT-BASE8-HEAD8.json   card/HOST/AT.json   nights/HOST/AT.json
    comparison/HOST.jsonl   training/HOST.jsonl   search/HOST.jsonl   (a line each)

AT is the moment in UTC (20261122T031500Z), so that names sort by time and folders of several
machines merge by copying. Readers give each broken file back with a sentence, and go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

from rnnbench.files import atomic, foreign, jsonl, machine

VERDICTS, CARD, NIGHTS = "verdicts", "card", "nights"

Read = TypeVar("Read")


@dataclass(frozen=True)
class Found(Generic[Read]):
    """A file and what it holds, or why it can't be read."""

    file: Path
    value: Read | None
    broken: str | None = None


def about(schema: int = 1) -> dict[str, Any]:
    """Return how every record begins: its schema, the moment, this machine and its versions."""
    return {
        "schema": schema,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.identity(),
        "versions": machine.versions(),
    }


def name(at: str, *more: str) -> str:
    """Return a file's name from an ISO moment and what else tells it apart."""
    moment = re.sub(r"[-:]|\.\d+", "", at).replace("+0000", "Z")
    return "-".join((moment, *more)) + ".json"


def write(folder: Path, kind: str, host: str, file: str, value: Mapping[str, Any]) -> Path:
    """Write one object whole or not at all; returns where."""
    return atomic.write(folder / kind / host / file, f"{foreign.dumped(value)}\n")


def append(folder: Path, kind: str, made: Mapping[str, Any]) -> Path:
    """Append a record that begins with `about` as a line to its machine's file; returns where."""
    return jsonl.append(made, folder / kind / f"{made['machine']['host']}.jsonl")


def files(folder: Path, kind: str, host: str = "*") -> list[Path]:
    """Return all of a kind, by host, then oldest first."""
    return sorted(folder.glob(f"{kind}/{host}/*.json"))


def read(
    folder: Path,
    kind: str,
    parse: Callable[[Mapping[str, Any]], Read],
    host: str = "*",
    newest: int | None = None,
) -> Iterator[Found[Read]]:
    """Yield all of a kind, or so many ``newest`` of each host; ``parse`` is `Record.from_dict`."""
    of_host = groupby(files(folder, kind, host), key=lambda file: file.parent)
    chosen = [file for _, own in of_host for file in list(own)[-(newest or 0) :]]
    for file in chosen:
        try:
            yield Found(file, parse(json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Found(file, None, f"{file.name}: {type(error).__name__}: {error}")
