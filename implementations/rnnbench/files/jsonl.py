"""Files with one JSON object per line, which several processes may append to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def append(made: Mapping[str, Any], target: Path) -> Path:
    """Append a line in one write, so that a killed run loses that line at most; folders are made.

    Raises ValueError for NaN or infinity, which JSON does not have.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(made, allow_nan=False, default=str) + "\n"
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    return target


def read(file: Path, schema: int | None = None) -> Iterator[dict[str, Any] | str]:
    """Yield each line's object, or a sentence on why the line cannot be read.

    Lines of another ``schema`` cannot be read either. A last line that a killed writer left
    unfinished is passed over. Raises OSError where the file cannot be read.
    """
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                yield f"{file.name}, line {number}: no JSON: {error}"
            continue
        if not isinstance(found, dict):
            yield f"{file.name}, line {number}: no JSON object"
        elif schema is not None and found.get("schema") != schema:
            yield f"{file.name}, line {number}: schema {found.get('schema')!r} must be {schema}"
        else:
            yield found


def merge(source: Path, target: Path) -> None:
    """Append the whole lines of ``source`` that ``target`` lacks.

    A half last line, which a kill can leave, is cut off first.
    """
    lines = [line for line in source.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    known = target.read_bytes() if target.exists() else b""
    whole = known.rfind(b"\n") + 1
    have = set(known[:whole].splitlines(keepends=True))
    fresh = b"".join(line for line in lines if line not in have)
    if not fresh and whole == len(known):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as stream:
        stream.truncate(whole)
        stream.write(fresh)
