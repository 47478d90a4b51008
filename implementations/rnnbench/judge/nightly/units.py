"""A unit is a commit and some cases of one benchmark: the least that a night gains or loses.

Order: the slice of cases that went unmeasured for longest comes first, by the night that measured
it last; of equals the oldest commit. So every slice has its turn however small the budget is, and
one commit is installed for all of its units in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnbench.judge.engine import case_names
from rnnbench.judge.nightly.ledger import Ledger
from rnnbench.judge.nightly.shard import Shard

UNIT_CASES = 16


@dataclass(frozen=True)
class Slice:
    """Some cases of one benchmark of the suite."""

    benchmark: str
    version: str
    number: int
    cases: tuple[str, ...]
    """asv's names, ``benchmark(value, …)``."""

    @property
    def id(self) -> str:
        return f"{self.benchmark}#{self.number}"

    @property
    def key(self) -> str:
        """The benchmark at its version: another version measures something else."""
        return f"{self.benchmark}@{self.version}"


@dataclass(frozen=True)
class Unit:
    """What one run of asv measures."""

    commit: str
    slice: Slice
    cases: tuple[str, ...]
    """Those of the slice that have no number at this commit yet."""

    @property
    def name(self) -> str:
        return f"{self.commit[:8]} {self.slice.id}"

    @property
    def pattern(self) -> str:
        """Of asv's ``--bench``: these cases and no other."""
        return f"^({'|'.join(re.escape(case) for case in self.cases)})$"


def slices(
    suite: Iterable[Mapping[str, Any]],
    shard: Shard,
    patterns: Sequence[str],
    size: int = UNIT_CASES,
) -> list[Slice]:
    """The cases of a shard that match one of the patterns (asv's ``--bench``), cut into slices."""
    found = []
    for entry in sorted(suite, key=lambda entry: str(entry["name"])):
        cases = [case for case in case_names(entry) if shard.holds(case)]
        if patterns:
            cases = [case for case in cases if any(re.search(one, case) for one in patterns)]
        for number, start in enumerate(range(0, len(cases), size)):
            part = tuple(cases[start : start + size])
            found.append(Slice(entry["name"], str(entry["version"]), number, part))
    return found


def waiting(
    commits: Sequence[str],
    parts: Sequence[Slice],
    numbers: Mapping[str, Mapping[str, set[str]]],
    ledger: Ledger,
    head: str,
) -> list[Unit]:
    """All units that are left, the one that waited longest first.

    ``numbers``: commit → benchmark at its version → the cases that have a number. What failed at
    head is tried again each night; what failed at an older commit has failed.
    """
    found = []
    for place, commit in enumerate(commits):
        if commit in ledger.unbuilt and commit != head:
            continue
        for part in parts:
            done = numbers.get(commit, {}).get(part.key, set())
            done = done | ledger.closed(commit, part.key, again=commit == head)
            cases = tuple(case for case in part.cases if case not in done)
            if cases:
                order = (ledger.last.get(part.id, ""), place, part.benchmark, part.number)
                found.append((order, Unit(commit, part, cases)))
    return [unit for _, unit in sorted(found, key=lambda pair: pair[0])]


def expected(unit: Unit, ledger: Ledger) -> float | None:
    """Seconds that the unit will take, by earlier ones: of its benchmark, else of any."""
    per_case = ledger.seconds.get(unit.slice.benchmark)
    if per_case is None:
        known = [value for name, value in ledger.seconds.items() if not name.startswith("<")]
        if not known:
            return None
        per_case = sum(known) / len(known)
    return per_case * len(unit.cases)


def estimate(units: Iterable[Unit], ledger: Ledger) -> float | None:
    """Seconds that all of them will take; None where nothing is known."""
    total = 0.0
    for unit in units:
        seconds = expected(unit, ledger)
        if seconds is None:
            return None
        total += seconds
    return total
