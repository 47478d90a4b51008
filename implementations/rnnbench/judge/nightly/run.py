"""Run one night: judge and measure what is new within the budget, and publish.

Order: judge head against the last clean commit, which is the purpose of a night; a share for
calibration; measure units until the time is up; publish. The file of the night is written when it
begins and after every step, so that the next night sees that it was killed, and goes on from it.

The last clean commit is the head of the last night of this machine and shard that finished with
exit code 0. So there is no state that could contradict the nights. A night that lost something is
never clean: it ends with code 5 if it had to set a file aside, or could not keep its verdict or
refresh the card, and with code 3 if it has no base because the records of earlier nights are lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rnnbench.errors import InputError
from rnnbench.files import atomic, machine, records
from rnnbench.judge.commits import between, commit, find
from rnnbench.judge.engine import Engine
from rnnbench.judge.nightly import accounts, result_files
from rnnbench.judge.nightly.ledger import KIND, Ledger
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.nightly.plan import Plan, Step
from rnnbench.judge.nightly.steps import Running, ledger_name
from rnnbench.judge.nightly.units import Shard
from rnnbench.judge.verdict.answer import Verdict

BASE_LOST = (
    "The records of earlier nights are lost, and with them the last clean commit: nothing was "
    "judged. Name a commit that is known to be good by --base."
)


@dataclass(frozen=True)
class Result:
    """A night that is over."""

    night: Night
    verdict: Verdict | None
    file: Path
    page: Path


def night(engine: Engine, plan: Plan, show: Callable[[Step], None]) -> Result:
    """Run one night on the engine's repository; its lock must be held.

    Raises InputError where there is no commit to measure. What goes wrong otherwise is in the
    night's troubles, and costs that unit only.
    """
    show(Step("reading"))
    run = _begin(engine, plan, show)
    run.save()
    base, head = run.night.base, run.night.head
    with engine.opened([head] if base is None else [head, base]) as broken:
        if broken is not None:
            sentence = f"It was half written when a run was killed; it is now {broken}."
            run.trouble(Trouble("result file", broken.stem, sentence))
        run.list_units()
        run.judge_head()
        run.calibrate_machine()
        run.measure()
        run.close()
    file = engine.project.results / records.NIGHTS / engine.project.host / run.file
    return Result(run.night, run.verdict, file, engine.project.html / "index.html")


def _begin(engine: Engine, plan: Plan, show: Callable[[Step], None]) -> Running:
    """Return the state in which the nights before leave this one; raises InputError."""
    began = time.monotonic()
    folder, results = engine.project.folder, engine.project.results
    head = find(folder, "HEAD")
    if head is None:
        raise InputError(f"{folder} must be a git checkout with a commit; it has none")
    atomic.sweep(results)
    nights, troubles = _nights(engine)
    earlier = [one for one in nights if (one.shard, one.bench) == (str(plan.shard), plan.bench)]
    troubles += result_files.set_broken_aside(results)
    ledger, broken = _ledger(engine, plan.shard)
    troubles += broken
    if engine.scratch.exists():
        result_files.adopt(engine.scratch, results)
        engine.clear()
    lost = bool(troubles)
    base = plan.base and commit(folder, plan.base, "base").hash
    base = base or next((n.head for n in reversed(earlier) if n.finished and not n.exit_code), None)
    base_lost = base is None and _was_a_night(engine, plan.shard, nights, ledger)
    if base_lost:
        troubles.append(Trouble("base", head[:8], BASE_LOST))
    troubles += accounts.of_clone(folder, base, head, existing=engine.existing)
    commits, left_out = _commits(base, head, ledger, engine, plan)
    at, clock = _moment(nights)
    tonight = Night(
        at=at,
        machine=machine.identity() | {"host": engine.project.host},
        head=head,
        base=base,
        commits=tuple(commits),
        budget=plan.budget,
        shard=str(plan.shard),
        bench=plan.bench,
    )
    if earlier and not earlier[-1].finished:
        last = earlier[-1]
        kept = f"The {last.measured} units that it had measured are kept; this night goes on."
        troubles.append(Trouble("killed", last.at, f"That night was cut off. {kept}"))
        if (last.head, last.base) == (head, base):
            tonight = replace(tonight, verdict=last.verdict)
    ledger.unbuilt.pop(head, None)
    file = records.name(at, *plan.shard.slug)
    troubles += [*left_out, *clock]
    return Running(
        engine, plan, show, began, tonight, ledger, commits, file, troubles,
        base_lost=base_lost, broken=lost,
    )  # fmt: skip


def _was_a_night(engine: Engine, shard: Shard, nights: Sequence[Night], ledger: Ledger) -> bool:
    """Return True if this machine and shard had a night whose record is not there any more."""
    if ledger.last and not any(one.shard == str(shard) for one in nights):
        return True
    project = engine.project
    names = (
        file.name for file in result_files.aside(project.results, records.NIGHTS, project.host)
    )
    return any(name.split(".")[0].split("-")[1:] == [*shard.slug] for name in names)


def _nights(engine: Engine) -> tuple[list[Night], list[Trouble]]:
    """Return the nights of this machine, oldest first; broken files are set aside."""
    found, troubles = [], []
    for one in records.read(
        engine.project.results, records.NIGHTS, Night.from_dict, engine.project.host
    ):
        if one.value is None:
            why = f"no night: {one.broken}"
            troubles.append(result_files.set_aside(engine.project.results, one.file, why))
        else:
            found.append(one.value)
    return found, troubles


def _ledger(engine: Engine, shard: Shard) -> tuple[Ledger, list[Trouble]]:
    results = engine.project.results
    file = results / KIND / engine.project.host / ledger_name(shard)
    try:
        return Ledger.read(file), []
    except ValueError as error:
        why = f"no ledger: {type(error).__name__}: {error}"
        return Ledger(), [result_files.set_aside(results, file, why)]


def _commits(
    base: str | None, head: str, ledger: Ledger, engine: Engine, plan: Plan
) -> tuple[list[str], list[Trouble]]:
    """Return the commits that may have units: those left over from earlier nights, then new ones.

    Where base is unknown, or no ancestor of head, only head is new.
    """
    folder = engine.project.folder
    new = between(folder, base, head) if base is not None else ()
    new = new or (head,)
    if engine.existing:
        return [head], []
    over = [one for one in ledger.queue if one not in new and find(folder, one)]
    every = [*over, *new]
    if len(every) <= plan.commits:
        return every, []
    dropped = len(every) - plan.commits
    sentence = f"{dropped} older commits are not measured: at most {plan.commits} are (--commits)."
    return every[dropped:], [Trouble("commits", every[0][:8], sentence)]


def _moment(earlier: Sequence[Night]) -> tuple[str, list[Trouble]]:
    """Return when the night begins: after all earlier ones, whatever the clock says."""
    now = datetime.now(UTC).replace(microsecond=0)
    if not earlier:
        return now.isoformat(), []
    last = max(datetime.fromisoformat(one.at) for one in earlier)
    if now > last:
        return now.isoformat(), []
    at = (last + timedelta(seconds=1)).isoformat()
    if now == last:
        return at, []
    sentence = (
        f"The clock says {now.isoformat()}, and the last night began at {last.isoformat()}: this "
        f"one is filed as {at}, so that nights keep their order."
    )
    return at, [Trouble("clock", at, sentence)]
