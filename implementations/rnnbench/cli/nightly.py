"""``rnnbench nightly``: what a cron job runs each night, and CI."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench.cli import exits, options, output
from rnnbench.cli.progress import showing
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, NOTHING_MEASURED
from rnnbench.judge.nightly.units import Shard

if TYPE_CHECKING:
    from rnnbench.judge.nightly.plan import Step
    from rnnbench.judge.nightly.run import Result

option = options.panel(None)
share = options.panel("Shares of the budget: what one leaves goes to measuring")
UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


class Environment(StrEnum):
    """The environment in which commits are measured."""

    ASV = "asv"
    EXISTING = "existing"


@exits.command()
def nightly(
    budget: Annotated[
        str, option("Time of the night: 45m, 4h, or seconds. Publishing comes after.")
    ] = "4h",
    profile: Annotated[
        str,
        option("How much the suite holds: smoke, quick, nightly, full.", envvar="RNNBENCH_PROFILE"),
    ] = "nightly",
    bench: Annotated[
        list[str] | None,
        option("Only cases that match (asv's --bench; may be given again)."),
    ] = None,
    shard: Annotated[
        str,
        option(
            "i/n: measure the i-th of n parts of the cases, for a fleet of machines, whose "
            "host names must differ. The first one judges head."
        ),
    ] = "1/1",
    environment: Annotated[
        Environment,
        option(
            "asv: each commit in an environment that asv builds. existing: HEAD only, in the "
            "one that this runs in, which needs no network."
        ),
    ] = Environment.ASV,
    base: Annotated[
        str | None,
        option("Judge head against this commit, not against the last clean one."),
    ] = None,
    commits: Annotated[int, option("Measure at most this many commits, the newest.", min=1)] = 20,
    unit: Annotated[int, option("Cases in a unit; a kill costs units of two minutes.", min=1)] = 16,
    verdict_share: Annotated[float, share("For the verdict; 0: none.", min=0, max=1)] = 0.4,
    threshold: Annotated[
        float,
        option("Change in percent that the verdict is to find or to exclude."),
    ] = 5.0,
    calibrate_share: Annotated[float, share("For the error-rate card.", min=0, max=1)] = 0.1,
    publish: Annotated[
        str | None,
        option(
            "Command that publishes in the place of `asv publish`, given --config FILE; "
            "python and rnnbench are those that this runs in."
        ),
    ] = None,
    wait: Annotated[
        str, option("How long to wait for another run on this machine: 90, 30m, 2h.")
    ] = "0",
    markdown: Annotated[
        Path | None, option("Write the summary there as Markdown, for an issue.")
    ] = None,
    report: options.Link = None,
    as_json: options.Json = False,
) -> int:
    """Measure what is new within a time budget, judge head, publish, and sum it up.

    A night judges HEAD against the last clean commit, refreshes the error-rate card, measures the
    commits since then in small units (what went unmeasured for longest comes first, and what does
    not fit is left to the next night), and publishes the report. Run it from the checkout's root;
    results go to asv's results directory, whose files are safe to commit to a branch.

    It may be killed at any moment: the next night goes on. Two runs on one machine exclude each
    other. What fails costs its unit only, and is told in the summary.

    A night is clean (exit code 0) if the verdict found no regression and could exclude one, and
    nothing broke at head or was lost. The first night has nothing to judge against: if nothing
    breaks its head is the first clean commit. So is a night with nothing new and nothing left to
    measure. Where the records of earlier nights are lost, and no clean one is left, nights stay
    inconclusive until --base names a good commit.
    """
    from rnnbench.judge import lock
    from rnnbench.judge.engine import Engine
    from rnnbench.judge.nightly import summary
    from rnnbench.judge.nightly.plan import Plan
    from rnnbench.judge.nightly.run import night
    from rnnbench.judge.project import Project
    from rnnbench.judge.verdict.choice import compiled
    from rnnbench.judge.verdict.decision import Rule

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.environ["RNNBENCH_PROFILE"] = profile
    try:
        plan = Plan(
            seconds_of("budget", budget), Shard.parse(shard), tuple(bench or ()), commits, unit,
            verdict_share, calibrate_share, base, threshold / 100,
        )  # fmt: skip
        if plan.verdict_share:
            Rule(plan.threshold)
        for pattern in plan.bench:
            compiled(pattern)
        waiting = seconds_of("wait", wait)
        project = Project(Path("asv.conf.json"))
        log = project.folder / ".asv" / "nightly" / "night.log"
        existing = environment is Environment.EXISTING
        engine = Engine(project, log, existing=existing, publisher=publish)
        with lock.held(project.folder / lock.PLACE, waiting) as engine.lock, showing() as show:

            def on_progress(step: Step) -> None:
                show(_words(step), step.done, step.total or None, topic=step.what)

            result = night(engine, plan, on_progress)
    except InputError:
        raise
    except lock.BusyError as error:
        exits.leave(NOTHING_MEASURED, f"{error}; --wait waits for it")
    except OSError as error:
        exits.leave(BROKEN, f"the night could not be kept: {error}")
    except Exception:  # noqa: BLE001 (code 1, Python's for a traceback, would say: a regression)
        traceback.print_exc()
        exits.leave(BROKEN, "the night ended with an error of its own; the next goes on from here")
    if markdown is not None:
        try:
            markdown.write_text(summary.markdown(result, report), encoding="utf-8")
        except OSError as error:
            typer.echo(f"rnnbench: markdown was not written: {error}", err=True)
    shown: dict[str, Any] = result.night.as_dict() | {"page": str(result.page)}
    shown["verdict"] = result.verdict and result.verdict.as_dict()
    output.show(shown, _parts(result, log), as_json=as_json)
    return result.night.exit_code


def seconds_of(name: str, text: str) -> float:
    """Return ``90``, ``45m`` or ``4h`` as seconds; raises InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in UNITS:
        raise InputError(f"{name} must be a time like 90, 45m or 4h; got {text!r}")
    return float(match[1]) * UNITS[match[2]]


def _words(step: Step) -> str:
    from rnnbench.judge.nightly.summary import minutes

    counted = f" {step.done} of {step.total} units" if step.total else ""
    if step.seconds_left is not None and step.seconds_left < 0:
        return f"{step.what}{counted}, {minutes(-step.seconds_left)} over its estimate"
    if step.seconds_left is not None:
        return f"{step.what}{counted}, about {minutes(step.seconds_left)} left"
    return f"{step.what}{counted}" + (", no estimate yet" if step.total else "")


def _parts(result: Result, log: Path) -> Iterator[output.Part]:
    """Yield the night's outcome, its figures, what went wrong, and where to read more."""
    from rnnbench.judge.nightly import summary

    yield summary.headline(result), "bold"
    yield from (f"  {name:<9} {sentence}" for name, sentence in summary.facts(result))
    for trouble in result.night.troubles:
        yield f"  {trouble.what}: {trouble.unit}: {trouble.account}", "yellow"
    yield f"  report    {result.page}\n  log       {log}"
