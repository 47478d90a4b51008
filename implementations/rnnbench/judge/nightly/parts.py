"""The parts of a night that are commands of their own: the verdict, and the calibration."""

from __future__ import annotations

from dataclasses import dataclass

from rnnbench.files import records
from rnnbench.judge.engine import Engine
from rnnbench.judge.nightly import accounts
from rnnbench.judge.nightly.night import Trouble
from rnnbench.judge.nightly.plan import Plan
from rnnbench.judge.verdict.answer import Verdict

OVERTIME = 2.0
"""A command is stopped at this many times its budget: what follows a regression comes on top."""
ANEW = 100
"""Verdicts of the card that a night would renew; its share of the time ends it before."""
BUILD_SECONDS = 3600.0
"""Besides, for building both sides."""


@dataclass(frozen=True)
class Judged:
    """The outcome of judging head against the last clean commit."""

    verdict: Verdict | None = None
    path: str | None = None
    """Of the verdict's file, below the results directory."""
    troubles: tuple[Trouble, ...] = ()


def judge(engine: Engine, plan: Plan, base: str, head: str, seconds: float) -> Judged:
    """Run ``rnnbench verdict BASE HEAD``, and keep its file among the results."""
    out = engine.folder / "verdict.json"
    out.unlink(missing_ok=True)
    options = [*_options(engine, plan, seconds), "--no-save", "--json"]
    limit = seconds * OVERTIME + BUILD_SECONDS
    ended = engine.command("verdict", base, head, *options, limit=limit, stdout=out)
    try:
        verdict = Verdict.read(out)
    except (OSError, ValueError):
        return Judged(troubles=(accounts.part_failed("verdict", ended),))
    name = records.name(verdict.at, base[:8], head[:8])
    results, host = engine.project.results, engine.project.host
    try:
        file = records.write(results, records.VERDICTS, host, name, verdict.as_dict())
    except OSError as error:
        return Judged(verdict, None, (accounts.full_disk(error, "verdict"),))
    return Judged(verdict, str(file.relative_to(results)))


def calibrate(engine: Engine, plan: Plan, seconds: float) -> tuple[Trouble, ...]:
    """Run ``rnnbench calibrate`` for a share of the night: it refreshes this machine's card."""
    options = [*_options(engine, plan, seconds), "--share", str(ANEW)]
    ended = engine.command("calibrate", *options, limit=seconds * OVERTIME + BUILD_SECONDS)
    return (accounts.part_failed("calibrate", ended),) if ended.code else ()


def _options(engine: Engine, plan: Plan, seconds: float) -> list[str]:
    """Return the options of both commands, which count their budget in minutes."""
    options = ["--config", str(engine.project.config), "--budget", f"{seconds / 60:.2f}"]
    options += ["--threshold", f"{100 * plan.threshold:g}%"]
    options += [f"--bench={pattern}" for pattern in plan.bench]
    return [*options, "--environment", "existing"] if engine.existing else options
