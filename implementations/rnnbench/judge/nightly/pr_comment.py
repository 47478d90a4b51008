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
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rnnbench.exit_codes import GOOD, USAGE
from rnnbench.files import schema
from rnnbench.files.foreign import plain
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import UNITS, Verdict

MOST_BYTES = 4 << 20
BOUNDS = schema.Bounds(items=5000, text=400, number=1e15)
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
    """Return the verdict in a file that nobody vouches for; raises RefusedError."""
    if len(content) > MOST_BYTES:
        raise RefusedError(f"the file has {len(content)} bytes; at most {MOST_BYTES} are read")
    try:
        given = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the file is no JSON: {error}") from None
    if not isinstance(given, dict) or given.get("schema") != Verdict.SCHEMA:
        raise RefusedError(f"the file is no verdict of schema {Verdict.SCHEMA}")
    try:
        verdict = Verdict.from_dict(given, BOUNDS)
        datetime.fromisoformat(verdict.at)
        _require_sentences(verdict.attribution or {})
    except ValueError as error:
        raise RefusedError(str(error)) from None
    for side, commit in (("base", verdict.base), ("head", verdict.head)):
        if not HASH.fullmatch(commit.hash):
            raise RefusedError(f"{side}.hash is no commit's")
    if verdict.head.hash != head:
        raise RefusedError(f"it judges {verdict.head.hash}, not {head}")
    if not all(HASH.fullmatch(commit) for commit in verdict.commits):
        raise RefusedError("commits holds something else than commits")
    if not all(case.quantity in UNITS for case in verdict.cases):
        raise RefusedError("a case's quantity is none that there is")
    return verdict


def comment(verdict: Verdict) -> str:
    """Return the body of the comment."""
    body = text.markdown(verdict)
    if len(body) > LONGEST_COMMENT:
        body = f"### {text.escaped(text.headline(verdict))}\n\n{text.escaped(text.counts(verdict))}"
    return f"{body}\n{NOTE}\n"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _require_sentences(attribution: Mapping[str, Any]) -> None:
    """Raise SchemaError unless each part, which is free otherwise, has the text that is shown."""
    for part, one in attribution.items():
        where = f"attribution.{part:.40}"
        says = schema.build(dict[str, Any], one, where, BOUNDS).get("says")
        schema.build(str, says, f"{where}.says", BOUNDS)


def main(arguments: Sequence[str]) -> int:
    """Print the comment; a refused file leaves a sentence on stderr and a code of wrong usage."""
    try:
        file, head = arguments
        with Path(file).open("rb") as stream:
            verdict = read(stream.read(MOST_BYTES + 1), head)
    except (ValueError, OSError) as error:
        print(f"refused: {plain(str(error))}", file=sys.stderr)  # noqa: T201
        return USAGE
    sys.stdout.write(comment(verdict))
    return GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
