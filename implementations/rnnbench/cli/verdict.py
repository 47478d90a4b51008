"""``rnnbench verdict``: is HEAD slower than BASE?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench.cli.exits import leave
from rnnbench.cli.progress import showing
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, TEXT, USAGE
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Verdict

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.judge.verdict.pairs import Stand

WIDTH = 150
"""Columns of a table that goes to a file."""
COLOURS = {
    Status.REGRESSION: "bold red",
    Status.BROKEN: "bold red",
    Status.IMPROVEMENT: "green",
    Status.INCONCLUSIVE: "yellow",
}
ASV = "Building"
ASK = "What is asked"


def percent(given: str) -> float:
    """Return the share that a threshold like ``5%`` or ``5`` names; raises InputError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%?\s*", given)
    if not found:
        raise InputError(f"threshold must be a percentage, like 5%; got {given!r}")
    return float(found.group(1)) / 100


def option(help_text: str, panel: str | None = None, **more: Any) -> Any:
    """Return an option of a command, in a panel of its help."""
    return typer.Option(help=help_text, rich_help_panel=panel, **more)


def verdict(
    base: Annotated[str, typer.Argument(help="The commit to compare with.")],
    head: Annotated[
        str, typer.Argument(help="The commit to judge; . is the working tree's tracked files.")
    ] = "HEAD",
    threshold: Annotated[str, option("Relative change to find or to exclude.", ASK)] = "5%",
    alpha: Annotated[float, option("False discovery rate over the cases.", ASK)] = 0.01,
    budget: Annotated[float, option("Minutes for the rounds.", ASK)] = 10.0,
    bench: Annotated[
        list[str] | None,
        option("Cases whose name has this regex; '.' is all.", ASK),
    ] = None,
    case: Annotated[list[str] | None, option("A case by its whole name.", ASK)] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Narrow a regression down to one commit.")
    ] = False,
    config: Annotated[Path, option("asv's configuration.", ASV)] = Path("asv.conf.json"),
    environment: Annotated[
        str | None,
        option(
            "asv's, e.g. existing: this Python's dependencies, no network needed. By default "
            "the first of the configuration.",
            ASV,
        ),
    ] = None,
    base_requirement: Annotated[
        list[str] | None,
        option("name==version that base is built with.", ASV),
    ] = None,
    base_python: Annotated[
        str | None,
        option("Python with base's dependencies, in an existing environment.", ASV),
    ] = None,
    save: Annotated[
        Path | None, option("Keep the verdict here; by default in asv's results_dir.")
    ] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Keep it nowhere.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list the cases without a change.")
    ] = False,
    report: Annotated[str | None, option("Address that the markdown links to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the body of an issue or comment.")
    ] = False,
) -> None:
    """Build both commits, run them alternately, and say which cases changed and by how much.

    Base and head run in fresh processes, one right after the other. A case is a regression if its
    change is significant over all cases and its interval lies beyond 1 %; it is no change only if
    the interval lies within ± the threshold; until it is either, rounds are added, within the
    budget. Errors against the oracle are judged by their growth, peak memory at twice the
    threshold, import and compile seconds at four times. The
    benchmarks are the working tree's, in RNNBENCH_PROFILE. The rule is in the module
    rnnbench.judge.verdict.decision, the choice of cases in rnnbench.judge.verdict.choice.
    """
    from rnnbench.files import records
    from rnnbench.judge.verdict import run
    from rnnbench.judge.verdict.building import BuildError
    from rnnbench.judge.verdict.process import WorkerError

    if as_json and as_markdown:
        leave(USAGE, "--json and --markdown exclude each other")
    try:
        with showing() as show:

            def on_progress(doing: str, now: Stand | None) -> None:
                total, done = (None, 0.0) if now is None else (now.budget, now.seconds)
                show(_line(doing, now), done, total)

            found = run.run(
                run.Request(
                    base=base,
                    head=head,
                    config=config,
                    environment=environment,
                    threshold=percent(threshold),
                    alpha=alpha,
                    budget=60 * budget,
                    bench=tuple(bench or ()),
                    cases=tuple(case or ()),
                    bisect=bisect,
                    base_requirements=tuple(base_requirement or ()),
                    base_python=base_python,
                ),
                on_progress,
            )
    except InputError as error:
        leave(USAGE, text.plain(str(error)))
    except (BuildError, WorkerError) as error:
        leave(BROKEN, text.plain(str(error)))
    answer = found.verdict
    if not no_save:
        try:
            records.write(
                save or found.results,
                records.VERDICTS,
                answer.machine["host"],
                records.name(answer.at, answer.base.hash[:8], answer.head.hash[:8]),
                answer.as_dict(),
            )
        except OSError as error:
            typer.echo(f"rnnbench: the verdict could not be kept: {error}", err=True)
    if as_json:
        typer.echo(json.dumps(answer.as_dict(), indent=1))
    elif as_markdown:
        typer.echo(text.markdown(answer, report), nl=False)
    else:
        _print(answer, everything=everything)
    raise typer.Exit(answer.exit_code)


verdict.__doc__ = f"{verdict.__doc__}\n    {TEXT}"


def _line(doing: str, now: Stand | None) -> str:
    if now is None:
        return doing
    return (
        f"{doing}: round {now.rounds + 1}, {now.undecided} of {now.cases} cases undecided, "
        f"at most {now.budget:.0f} s"
    )


def _print(answer: Verdict, *, everything: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(width=WIDTH, soft_wrap=True)
    shown = [case for case in answer.cases if case.status is not Status.NO_CHANGE or everything]
    if any(case.base is not None for case in shown):
        console.print(_table(answer, shown))
    for reason, cases in text.accounts(answer.cases):
        style = COLOURS.get(cases[0].status, "")
        console.print(Text(text.plain(text.account(reason, cases)), style))
    for sentence in _facts(answer):
        console.print(Text(text.plain(sentence)))
    console.print(Text(text.plain(text.headline(answer)), "bold"))


def _table(answer: Verdict, cases: list[CaseAnswer]) -> Table:
    """Return a line per measured case, the worst first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{answer.base.hash[:8]} → {answer.head.hash[:8]}: {text.counts(answer)}",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    table.add_column("case", overflow="fold")
    for heading in ("base", "head", "change", "interval", "detectable", "rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    order = list(Status)
    for case in sorted(cases, key=lambda case: order.index(case.status)):
        if case.base is None:
            continue
        table.add_row(
            Text(f"{text.MARKS[case.status]} {case.status.value}", COLOURS.get(case.status, "")),
            Text(text.plain(case.name)),
            text.amount(case.base, case.quantity),
            text.amount(case.head, case.quantity),
            text.effect(case),
            text.interval(case),
            text.detectable(case),
            f"{case.rounds}" + (f" −{case.quarantined}" if case.quarantined else ""),
        )
    return table


def _facts(answer: Verdict) -> list[str]:
    """Return the other facts, a sentence each."""
    facts = []
    if answer.of(Status.NO_CHANGE):
        facts.append(f"no change: {text.unchanged(answer)}")
    facts += [f"{name}: {says}" for name, says in text.channel_labels(answer)]
    changed = text.differences(answer.base, answer.head)
    facts.append("environment: " + (", ".join(changed) or "the same versions on both sides"))
    if answer.of(Status.REGRESSION):
        facts.append(_since(answer))
        facts += [f"{part}: {one['says']}" for part, one in (answer.attribution or {}).items()]
    facts.append(f"{answer.rounds} rounds in {answer.seconds:.0f} s")
    return facts


def _since(answer: Verdict) -> str:
    if len(answer.commits) == 1:
        return f"since {answer.commits[0]}"
    return f"since one of {len(answer.commits)} commits; --bisect finds which"
