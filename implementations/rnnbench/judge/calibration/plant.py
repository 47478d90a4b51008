"""Copies of an installed commit, and which case is slowed by how much.

In a planted verdict half of the cases are slowed, each size an equal share of them, as a real
change seldom touches all: the rule that controls false discoveries is the stricter, the fewer
changes there are. From one verdict to the next the sizes move on, so that after eight each case
was slowed by each of four sizes and was left alone four times.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from rnnbench.errors import InputError
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.sides import Case, Side

SIZES = (0.02, 0.05, 0.1, 0.2)


def keyed(suite: Suite, cases: Iterable[Case]) -> dict[Case, str]:
    """Return the cases that the suite can slow, each with its key."""
    keys = {case: suite.key(case) for case in cases} if suite.key else {}
    return {case: key for case, key in keys.items() if key is not None}


def sizes(keys: Mapping[Case, str], turn: int, of: Sequence[float] = SIZES) -> dict[Case, float]:
    """Return the cases that the verdict number ``turn`` slows, each with its size."""
    known = sorted(set(keys.values()))
    Random(0).shuffle(known)
    cycle = [size for one in of for size in (one, 0.0)]
    of_key = {one: cycle[(place + turn) % len(cycle)] for place, one in enumerate(known)}
    return {case: of_key[key] for case, key in keys.items() if of_key[key] > 0}


def copied(
    side: Side, into: Path, suite: Suite, planted: Mapping[Case, float] | None = None
) -> Side:
    """Return a side with its own copy of the installed package; with ``planted``, slowed by that.

    ``planted`` may be empty: the copy then has all that slows but for the slowing. Raises
    InputError for a side that has no folder of its own, or a package that can't be slowed.
    """
    if side.path is None:
        raise InputError("side must have the package in a folder of its own, to be copied")
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(side.path, into, symlinks=True)
    if planted is not None and suite.plant is not None:
        keys = keyed(suite, planted)
        try:
            suite.plant(into, {keys[case]: size for case, size in planted.items()})
        except ValueError as error:
            raise InputError(str(error)) from error
    return replace(side, path=into)
