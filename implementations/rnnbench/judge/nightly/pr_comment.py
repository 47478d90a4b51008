"""A verdict that a stranger's run has written: checked strictly, then made a comment.

A pull request from a fork measures in a job without rights, whose code is the stranger's; so is the
file that it leaves. The job that comments has the right to write, runs this module from the main
branch, and takes from the file what has the shape of a verdict on the commit that it was asked
about, within bounds. What it prints escapes every text (`rnnbench.judge.verdict.text`). Only the
standard library is needed.

    python -m rnnbench.judge.nightly.pr_comment verdict.json HEAD > comment.md
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from rnnbench.exit_codes import GOOD, USAGE
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import SCHEMA, UNITS, Verdict

MOST_BYTES = 4 << 20
MOST_ITEMS = 5000
LONGEST_TEXT = 400
LONGEST_COMMENT = 60_000
"""Characters; GitHub takes 65,536."""
HASH = re.compile(r"[0-9a-f]{40}")
NOTE = (
    "<sub>Measured by the pull request's own workflow run, whose code is the pull request's: "
    "this comment repeats what it said.</sub>"
)


class RefusedError(ValueError):
    """The file is no verdict on the commit asked about; the sentence says where it departs."""


def read(content: bytes, head: str) -> Verdict:
    """The verdict in a file that nobody vouches for; raises RefusedError."""
    if len(content) > MOST_BYTES:
        raise RefusedError(f"the file has {len(content)} bytes; at most {MOST_BYTES} are read")
    try:
        given = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the file is no JSON: {error}") from None
    if not isinstance(given, dict) or given.pop("schema", None) != SCHEMA:
        raise RefusedError(f"the file is no verdict of schema {SCHEMA}")
    given.pop("exit_code", None)  # follows from the cases
    _require(given, Verdict, "verdict")
    _require_attribution(given["attribution"])
    for side in ("base", "head"):
        if not HASH.fullmatch(given[side]["hash"]):
            raise RefusedError(f"{side}.hash is no commit's")
    if given["head"]["hash"] != head:
        raise RefusedError(f"it judges {given['head']['hash']}, not {head}")
    if not all(HASH.fullmatch(commit) for commit in given["commits"]):
        raise RefusedError("commits holds something else than commits")
    if not all(case["quantity"] in UNITS for case in given["cases"]):
        raise RefusedError("a case's quantity is none that there is")
    try:
        datetime.fromisoformat(given["at"])
        return Verdict.from_dict(given | {"schema": SCHEMA})
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from None


def comment(verdict: Verdict) -> str:
    """The body of the comment."""
    body = text.markdown(verdict)
    if len(body) > LONGEST_COMMENT:
        body = f"### {text.escaped(text.headline(verdict))}\n\n{text.escaped(text.counts(verdict))}"
    return f"{body}\n{NOTE}\n"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _require(value: object, kind: Any, where: str) -> None:
    """Raise RefusedError unless ``value``, as JSON has it, is of the type ``kind``."""
    origin = get_origin(kind)
    if origin is UnionType:
        if value is None and NoneType in get_args(kind):
            return
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
        _require(value, kind, where)
    elif is_dataclass(kind):
        _require_fields(value, kind, where)
    elif origin is tuple:
        _require_items(value, get_args(kind), where)
    elif origin is Mapping:
        _require_mapping(value, get_args(kind)[1], where)
    elif not _fits(value, kind):
        raise RefusedError(f"{where} must be {kind.__name__} within bounds; got {value!r:.80}")


def _fits(value: object, kind: type) -> bool:
    """Whether a single value is of the type and within bounds."""
    if issubclass(kind, StrEnum):
        return value in list(kind)
    if kind is str:
        return isinstance(value, str) and len(value) <= LONGEST_TEXT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) < 1e15 and (kind is float or isinstance(value, int))


def _require_fields(value: object, kind: Any, where: str) -> None:
    hints = get_type_hints(kind)
    names = {one.name for one in fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        raise RefusedError(f"{where} must have exactly the fields {', '.join(sorted(names))}")
    for name in names:
        _require(value[name], hints[name], f"{where}.{name}")


def _require_items(value: object, kinds: Sequence[Any], where: str) -> None:
    if not isinstance(value, list) or len(value) > MOST_ITEMS:
        raise RefusedError(f"{where} must be a list of at most {MOST_ITEMS}")
    if kinds[-1] is Ellipsis:
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise RefusedError(f"{where} must have {len(kinds)} items; got {len(value)}")
    for number, (one, kind) in enumerate(zip(value, kinds, strict=True)):
        _require(one, kind, f"{where}[{number}]")


def _require_mapping(value: object, kind: Any, where: str) -> None:
    if not isinstance(value, dict) or len(value) > MOST_ITEMS:
        raise RefusedError(f"{where} must be an object of at most {MOST_ITEMS} names")
    for name, one in value.items():
        _require(name, str, where)
        if kind is not Any:
            _require(one, kind, f"{where}.{name:.40}")


def _require_attribution(value: Mapping[str, Any] | None) -> None:
    """Its parts are free but for the sentence that is shown."""
    for part, one in (value or {}).items():
        if not isinstance(one, dict):
            raise RefusedError(f"attribution.{part:.40} must be an object")
        _require(one.get("says"), str, f"attribution.{part:.40}.says")


def main(arguments: Sequence[str]) -> int:
    """Print the comment; a refused file leaves a sentence on stderr and a code of wrong usage."""
    try:
        file, head = arguments
        with Path(file).open("rb") as stream:
            verdict = read(stream.read(MOST_BYTES + 1), head)
    except (ValueError, OSError) as error:
        print(f"refused: {text.plain(str(error))}", file=sys.stderr)  # noqa: T201
        return USAGE
    sys.stdout.write(comment(verdict))
    return GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
