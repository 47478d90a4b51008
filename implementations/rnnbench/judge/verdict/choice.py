"""The choice of cases that a verdict measures.

By default a part of the suite that the budget has room for, chosen by coverage (`covering`; Cohen,
Dalal, Fredman and Patton 1997): any two values of two parameters come together in some case and,
where there is room, beside each value of the first parameter, which in many suites names what is
compared. So what is slow for one combination of two values is seen. These cases are the same each
time; of the others as many as there is room for take turns, by the number of the day.

Left out are compile seconds and instructions, of which a case takes seconds to minutes in every
process. Of memory, imports and other values there are fewer: those at the first values of all but
the first parameter, and the first import. The suite may leave out more (`rnnbench.judge.suite`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations, zip_longest

from rnnbench.errors import InputError
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.sides import (
    COMPILE,
    IMPORT,
    INSTRUCTIONS,
    MEMORY,
    PARITY,
    VALUE,
    Case,
)

CASE_SECONDS = 6.0
"""Budget that a case takes until it is decided, about."""
SAME = 0.8
"""Share of the room for the cases that are the same each time."""

Chooser = Callable[[Iterable[Case]], list[Case]]


def compiled(bench: str) -> re.Pattern[str]:
    """Return a pattern of case names; raises InputError."""
    try:
        return re.compile(bench)
    except re.error as error:
        raise InputError(f"bench must be a regular expression; got {bench!r}: {error}") from error


def chooser(
    bench: Collection[str],
    names: Collection[str],
    suite: Suite,
    budget: float = 600.0,
    turn: int = 0,
) -> Chooser:
    """Return a function that picks cases: by patterns in a name, by whole names, or by default.

    ``budget`` in seconds and ``turn`` are of the default choice: how many cases it has room for,
    and whose turn it is of those that are not always measured.

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
            return default(suite.choose(list(known.values())), int(budget / CASE_SECONDS), turn)
        return [
            case
            for name, case in known.items()
            if name in names or any(pattern.search(name) for pattern in patterns)
        ]

    return choose


def default(cases: Iterable[Case], room: int, turn: int = 0) -> list[Case]:
    """Return the cases of the default choice, in their order.

    ``room`` is for those that are measured in rounds; errors against the oracle are measured once.
    """
    of_benchmark: dict[str, list[Case]] = {}
    for case in cases:
        of_benchmark.setdefault(case.benchmark, []).append(case)
    parts = [_eligible(own) for own in of_benchmark.values()]
    errors = [covering(own) for own in parts if own and own[0].quantity == PARITY]
    turns = [covering(own) for own in parts if own and own[0].quantity != PARITY]
    first = [case for row in zip_longest(*turns) for case in row if case is not None]
    others = [case for own in parts for case in own if case not in set(first)]
    others = [case for case in others if case.quantity != PARITY]
    same = first[: max(1, round(SAME * room))] if len(first) + len(others) > room else first
    rest = [*first[len(same) :], *others]
    random.Random(0).shuffle(rest)
    more = max(0, room - len(same))
    start = turn * more % max(1, len(rest))
    chosen = {*same, *(rest * 2)[start : start + min(more, len(rest))]}
    chosen |= {case for own in errors for case in own}
    return [case for own in parts for case in own if case in chosen]


def _eligible(cases: Sequence[Case]) -> list[Case]:
    """Return the cases of one benchmark that may be chosen."""
    quantity, first = cases[0].quantity, [value for _, value in cases[0].params]
    if quantity in (COMPILE, INSTRUCTIONS):
        return []
    if quantity not in (MEMORY, VALUE, IMPORT):
        return list(cases)
    fixed = 0 if quantity == IMPORT else 1
    return [c for c in cases if [value for _, value in c.params][fixed:] == first[fixed:]]


def covering(cases: Sequence[Case]) -> list[Case]:
    """Return cases of one benchmark that together have all that its cases have of `_covered`.

    Greedy: each next one adds the most pairs that are new, then the most triples.
    """
    have = {case: [set(part) for part in _covered(case)] for case in cases}
    chosen: list[Case] = []
    while have:
        best = max(have, key=lambda case: [len(part) for part in have[case]])
        new = have.pop(best)
        if not any(new):
            break
        chosen.append(best)
        have = {
            case: [part - seen for part, seen in zip(left, new, strict=True)]
            for case, left in have.items()
        }
    return chosen


def _covered(case: Case) -> Iterator[Iterator[tuple[tuple[str, str], ...]]]:
    """Yield the single values and pairs of them, then the pairs beside the first value."""
    params = case.params or (("", ""),)
    yield (pair for size in (1, 2) for pair in combinations(params, size))
    yield ((params[0], *pair) for pair in combinations(params[1:], 2))
