"""The choice of cases that a verdict measures.

By default those around the first value of each parameter: the first parameter takes all of its
values, and at most one of the others departs from its first. Left out are compile seconds and
instructions, of which a case takes seconds to minutes in every process. Of memory and imports there
are fewer: memory at the first values of all but the first parameter, and the first import. Of these
the suite may leave out more (`rnnbench.judge.suite`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from rnnbench.errors import InputError
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.sides import COMPILE, IMPORT, INSTRUCTIONS, MEMORY, Case

Chooser = Callable[[Iterable[Case]], list[Case]]


def compiled(bench: str) -> re.Pattern[str]:
    """Return a pattern of case names; raises InputError."""
    try:
        return re.compile(bench)
    except re.error as error:
        raise InputError(f"bench must be a regular expression; got {bench!r}: {error}") from error


def chooser(bench: Collection[str], names: Collection[str], suite: Suite) -> Chooser:
    """Return a function that picks cases: by patterns in a name, by whole names, or by default.

    Raises InputError for a pattern that is no regular expression; the function, for a name that no
    case has.
    """
    patterns = [compiled(text) for text in bench]

    def choose(cases: Iterable[Case]) -> list[Case]:
        known = {case.name: case for case in cases}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"cases must be names of cases; there is no {unknown[0]!r}")
        if not patterns and not names:
            return suite.choose(default(known.values()))
        return [
            case
            for name, case in known.items()
            if name in names or any(pattern.search(name) for pattern in patterns)
        ]

    return choose


def default(cases: Iterable[Case]) -> list[Case]:
    """Return the cases around the first values."""
    every = list(cases)
    first: dict[str, tuple[str, ...]] = {}
    for case in every:
        first.setdefault(case.benchmark, tuple(value for _, value in case.params))
    return [case for case in every if _near(case, first[case.benchmark])]


def _near(case: Case, first: tuple[str, ...]) -> bool:
    departs = [value != one for (_, value), one in zip(case.params, first, strict=True)]
    if case.quantity in (COMPILE, INSTRUCTIONS):
        return False
    if case.quantity == IMPORT:
        return not any(departs)
    return sum(departs[1:]) <= (0 if case.quantity == MEMORY else 1)
