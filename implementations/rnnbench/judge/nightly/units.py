"""A unit is a commit and some cases of one benchmark: the least that a night tells apart.

Order: the slice of cases that went unmeasured for longest comes first, by the night that measured
it last; of equals the oldest commit. So every slice has its turn however small the budget is, and
one commit is installed for all of its units in a row.

asv takes some ten seconds to start and to end, so units of one commit that are known to be short
share a run of asv (`batch`), which is what a kill may cost. A unit of which a case fails there is
run again alone, so that what asv said is of it alone.

A fleet of machines shares the cases: case c belongs to shard 1 + (SHA-256(c) mod n), every case to
exactly one, whatever other cases there are, and the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from rnnbench.errors import InputError
from rnnbench.judge.engine import case_names
from rnnbench.judge.nightly.ledger import Ledger

UNIT_CASES = 16
BATCH_SECONDS = 120.0
"""Most seconds, as expected, of the units that share a run of asv."""


@dataclass(frozen=True)
class Shard:
    """The ``i``-th of ``n`` parts of the cases, counted from 1."""

    i: int = 1
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard of a text ``i/n``; raises InputError unless 1 ≤ i ≤ n."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"shard must be i/n with 1 <= i <= n, like 2/3; got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, case: str) -> bool:
        """Return True if the case, by its name ``benchmark(value, …)``, is of this shard."""
        digest = int.from_bytes(sha256(case.encode()).digest())
        return digest % self.n == self.i - 1

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"

    @property
    def slug(self) -> tuple[str, ...]:
        """Part of a file's name; none where there is one shard."""
        return () if self.n == 1 else (f"{self.i}of{self.n}",)


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
    """A commit and the cases of a slice that it lacks."""

    commit: str
    slice: Slice
    cases: tuple[str, ...]
    """Those of the slice that have no number at this commit yet."""

    @property
    def name(self) -> str:
        return f"{self.commit[:8]} {self.slice.id}"

    @property
    def pattern(self) -> str:
        """The pattern for asv's ``--bench`` that matches these cases and no other."""
        return f"^({'|'.join(re.escape(case) for case in self.cases)})$"


def slices(
    suite: Iterable[Mapping[str, Any]],
    shard: Shard,
    patterns: Sequence[str],
    size: int = UNIT_CASES,
) -> list[Slice]:
    """Return slices of the cases of a shard that match one of the patterns (``--bench``)."""
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
    """Return all units that are left, the one that waited longest first.

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


def batch(
    units: Sequence[Unit], ledger: Ledger, alone: Container[Unit], seconds: float
) -> list[Unit]:
    """Return the first unit, and those of its commit after it that fit into the same run of asv.

    Together they take no more than ``seconds``, as expected, nor than `BATCH_SECONDS`.
    """

    def known(unit: Unit) -> float | None:
        per_case = ledger.seconds.get(unit.slice.benchmark)
        return None if per_case is None or unit in alone else per_case * len(unit.cases)

    first, *more = units
    chosen, total = [first], known(first)
    if total is None:
        return chosen
    for unit in more:
        own = known(unit)
        if unit.commit != first.commit or own is None:
            continue
        if total + own <= min(seconds, BATCH_SECONDS):
            chosen.append(unit)
            total += own
    return chosen


def shares(batch: Sequence[Unit], ledger: Ledger, seconds: float) -> dict[str, float]:
    """Return benchmark → seconds per case of a run that took so long, in proportion to before."""
    if len(batch) == 1:
        return {batch[0].slice.benchmark: seconds / len(batch[0].cases)}
    before = {unit.slice.benchmark: ledger.seconds[unit.slice.benchmark] for unit in batch}
    total = sum(before[unit.slice.benchmark] * len(unit.cases) for unit in batch)
    return {benchmark: one * seconds / max(total, 1e-9) for benchmark, one in before.items()}


def expected(unit: Unit, ledger: Ledger) -> float | None:
    """Return the seconds that the unit will take, by earlier ones: of its benchmark, else any."""
    per_case = ledger.seconds.get(unit.slice.benchmark)
    if per_case is None:
        known = [value for name, value in ledger.seconds.items() if not name.startswith("<")]
        if not known:
            return None
        per_case = sum(known) / len(known)
    return per_case * len(unit.cases)


def estimate(units: Iterable[Unit], ledger: Ledger) -> float | None:
    """Return the seconds that all of them will take; None where nothing is known."""
    total = 0.0
    for unit in units:
        seconds = expected(unit, ledger)
        if seconds is None:
            return None
        total += seconds
    return total
