"""The steps of one night, and what is known of it on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from rnnbench.exit_codes import BROKEN, FAILED, GOOD, INCONCLUSIVE, NOTHING_MEASURED
from rnnbench.files import records
from rnnbench.judge.commits import find
from rnnbench.judge.engine import APART, SUITE, Engine, EngineError
from rnnbench.judge.nightly import accounts, parts, result_files, units
from rnnbench.judge.nightly.ledger import Ledger
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.nightly.plan import Plan, Step
from rnnbench.judge.nightly.units import Shard, Unit
from rnnbench.judge.supervised import Ended
from rnnbench.judge.verdict.answer import Verdict

PUBLISH_SECONDS = 3600.0
GRACE = 0.1
"""Share of the budget that a unit may run over its end before it is stopped; at least a minute."""
IN_VAIN = 3
"""Units in a row without a result that could be kept, after which the night measures no more."""
RANK = (FAILED, BROKEN, NOTHING_MEASURED, INCONCLUSIVE, GOOD)
"""Exit codes, the one that stands first where several apply: as in `Verdict.exit_code`."""
PUBLISH = "<publish>"


@dataclass
class Running:
    """The state of one night."""

    engine: Engine
    plan: Plan
    show: Callable[[Step], None]
    began: float
    night: Night
    ledger: Ledger
    commits: list[str]
    file: str
    """Of the night and of the ledger."""
    troubles: list[Trouble]
    left: list[Unit] = field(default_factory=list)
    cases: int = 0
    """Of the suite, as far as this night is concerned with it."""
    verdict: Verdict | None = None
    base_lost: bool = False
    """There may have been a clean night, whose record is lost."""
    broken: bool = False
    """Something at head, or a whole part of the night."""
    parity: bool = False

    @property
    def passed(self) -> float:
        return time.monotonic() - self.began

    def remaining(self) -> float:
        return self.plan.budget - self.passed

    def save(self, **changes: object) -> None:
        """Write the night as it stands, and the ledger; a full disk is a trouble, no end."""
        self.night = replace(
            self.night,
            seconds=round(self.passed, 1),
            left=len(self.left),
            troubles=tuple(self.troubles),
            **changes,  # type: ignore[arg-type]
        )
        results, host = self.engine.project.results, self.engine.project.host
        try:
            records.write(results, records.NIGHTS, host, self.file, self.night.as_dict())
            self.ledger.write(results, host, ledger_name(self.plan.shard))
        except OSError as error:
            self.broken = True
            if not any(one.unit == "night" for one in self.troubles):
                self.troubles.append(accounts.full_disk(error, "night"))

    def trouble(self, *troubles: Trouble, at_head: bool = False) -> None:
        self.troubles += troubles
        self.broken |= at_head

    def judge_head(self) -> None:
        """Judge head, unless an interrupted night has judged these two commits already."""
        base, head = self.night.base, self.night.head
        seconds = self.plan.budget * self.plan.verdict_share if self.plan.judges else 0.0
        if base is None or base == head or not seconds:
            return
        if find(self.engine.project.folder, base) is None:
            return
        if self.night.verdict is None:
            self._show("judging", seconds)
            judged = parts.judge(self.engine, self.plan, base, head, seconds)
            self.trouble(*judged.troubles, at_head=bool(judged.troubles))
            self.verdict = judged.verdict
            self.save(verdict=judged.path)
        else:
            with suppress(OSError, ValueError):
                self.verdict = Verdict.read(self.engine.project.results / self.night.verdict)

    def calibrate_machine(self) -> None:
        seconds = min(self.plan.budget * self.plan.calibrate_share, self.remaining())
        if seconds > 0 and self.plan.judges:
            self._show("calibrating", seconds)
            troubles = parts.calibrate(self.engine, self.plan, seconds)
            self.trouble(*troubles, at_head=bool(troubles))

    def list_units(self) -> None:
        """List what is left to measure; nothing where the suite can't be imported."""
        self._show("listing", None)
        suite: list[dict[str, Any]] = []
        try:
            suite = self.engine.suite(self.night.head)
        except OSError as error:
            self.trouble(accounts.full_disk(error, "listing"), at_head=True)
        except EngineError as error:
            if not accounts.built(error.ended):
                self.trouble(accounts.unbuilt(self.night.head, error.ended), at_head=True)
            else:
                self.trouble(accounts.part_failed("listing", error.ended), at_head=True)
        if not suite:
            return
        slices = units.slices(suite, self.plan.shard, self.plan.bench, self.plan.unit_cases)
        self.cases = sum(len(part.cases) for part in slices)
        if not self.cases:
            asked = f"{', '.join(self.plan.bench) or 'no pattern'}; shard {self.plan.shard}"
            self.trouble(Trouble("cases", "listing", f"The suite has no such case: {asked}."))
        known = result_files.numbers(
            self.engine.project.results,
            self.engine.project.host,
            self.commits,
            existing=self.engine.existing,
        )
        self.left = units.waiting(self.commits, slices, known, self.ledger, self.night.head)

    def measure(self) -> None:
        """Measure until there is no unit left or the time is up."""
        waiting, total = list(self.left), len(self.left)
        alone: set[Unit] = set()
        vain = 0
        while waiting and self.remaining() > 0 and vain < IN_VAIN:
            batch = units.batch(waiting, self.ledger, alone, self.remaining())
            expected = units.estimate(batch, self.ledger)
            waiting = [one for one in waiting if one not in batch]
            if batch[0].commit in self.ledger.unbuilt:
                self.left = [one for one in self.left if one not in batch]
                continue
            if expected is not None and expected > self.remaining() and self.night.measured:
                continue
            later = units.estimate(self.left, self.ledger)
            rest = None if later is None else min(later, self.remaining())
            self._show("measuring", rest, total - len(self.left), total)
            try:
                again = self._measure(batch)
            except OSError as error:
                again = []
                vain += 1
                name = batch[0].name
                self.trouble(accounts.full_disk(error, name), at_head=self._at_head(batch[0]))
            else:
                vain = vain + 1 if again and len(batch) == 1 else 0
            if len(batch) > 1:
                alone |= set(again)
                waiting = again + waiting
            self.save()

    def _measure(self, batch: Sequence[Unit]) -> list[Unit]:
        """Measure units of one commit; returns those without an outcome of their own.

        Of a batch of one, its trouble is noted; of more, what failed is to be run again alone.
        Raises OSError if it can't be kept.
        """
        commit, single = batch[0].commit, len(batch) == 1
        limit = self.remaining() + max(60.0, GRACE * self.plan.budget)
        results, scratch = self.engine.project.results, self.engine.scratch
        self.engine.clear()
        result_files.seed(results, scratch, self.engine.project.host, commit)
        patterns = [unit.pattern for unit in batch]
        ended = self.engine.measure(commit, patterns, limit, conf=APART)
        head = self._at_head(batch[0])
        if not accounts.built(ended):
            trouble = accounts.unbuilt(commit, ended)
            self.ledger.unbuilt[commit] = trouble.account
            self.trouble(trouble, at_head=head)
            self.left = [one for one in self.left if one not in batch]
            return []
        if ended.code not in (0, 2):  # 2: some case failed, and all is saved
            if single:
                self.trouble(accounts.no_results(batch[0], ended), at_head=head)
            return list(batch)
        found = result_files.adopt(scratch, results)
        for benchmark, seconds in units.shares(batch, self.ledger, ended.seconds).items():
            self.ledger.note_seconds(benchmark, seconds)
        return [
            unit
            for unit in batch
            if not self._noted(unit, found.get(unit.slice.key, {}), ended, single=single)
        ]

    def _noted(self, unit: Unit, found: Mapping[str, str], ended: Ended, *, single: bool) -> bool:
        """Note the outcomes of a unit's cases; returns False if it is to be run again alone."""
        head = self._at_head(unit)
        kinds = {case: found.get(case, "failed") for case in unit.cases}
        failed = list(kinds.values()).count("failed")
        if failed and not single:
            return False
        self.ledger.note_outcomes(unit.commit, unit.slice.key, kinds)
        self.ledger.last[unit.slice.id] = self.night.at
        self.left.remove(unit)
        self.night = replace(self.night, measured=self.night.measured + 1)
        if failed:
            trouble = accounts.failed_cases(unit, failed, ended, again=head)
            self.parity |= head and trouble.what == "parity"
            self.trouble(trouble, at_head=head and trouble.what != "parity")
        return True

    def _show(self, what: str, expected: float | None, done: int = 0, total: int = 0) -> None:
        """Show a step now and while its command runs, with what is left of what it should take."""

        def tick(passed: float) -> None:
            rest = None if expected is None else expected - passed
            self.show(Step(what, done, total, rest))

        self.engine.tick = tick
        tick(0.0)

    def _at_head(self, unit: Unit) -> bool:
        return unit.commit == self.night.head

    def exit_code(self) -> int:
        """Return the code of the worst outcome, in the order of `RANK`."""
        codes = {GOOD if self.verdict is None else self.verdict.exit_code}
        if self.parity:
            codes.add(FAILED)
        if self.broken:
            codes.add(BROKEN)
        new = self.night.base != self.night.head
        if self.verdict is None and not self.night.measured and (self.left or not self.cases):
            codes.add(NOTHING_MEASURED)  # nothing left: all of it was measured before
        if self.base_lost or (
            self.plan.judges and self.verdict is None and self.night.base is not None and new
        ):
            codes.add(INCONCLUSIVE)  # measured, and judged by nobody
        return next(code for code in RANK if code in codes)

    def close(self) -> None:
        """Keep the night for the report, publish, then keep the outcome of that."""
        self.ledger.queue = [c for c in self.commits if any(u.commit == c for u in self.left)]
        self.ledger.keep_only([*self.commits, self.night.head])
        self.save(exit_code=self.exit_code(), finished=True)
        if (self.engine.project.results / SUITE).exists():
            self._show("publishing", self.ledger.seconds.get(PUBLISH))
            ended = self.engine.publish(PUBLISH_SECONDS)
            self.ledger.note_seconds(PUBLISH, ended.seconds)
            if ended.code:
                self.trouble(accounts.part_failed("publish", ended), at_head=True)
            self.save(exit_code=self.exit_code())


def ledger_name(shard: Shard) -> str:
    """Return the name of a shard's ledger."""
    return "-".join(("ledger", *shard.slug)) + ".json"
