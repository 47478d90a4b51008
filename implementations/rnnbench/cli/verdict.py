"""``rnnbench verdict``: is HEAD slower than BASE?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rnnbench.cli import exits, options, output
from rnnbench.cli.options import building, judging
from rnnbench.cli.progress import showing
from rnnbench.errors import InputError
from rnnbench.files.foreign import plain
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Verdict

if TYPE_CHECKING:
    from rnnbench.judge.verdict.pairs import Stand

WIDTH = 150
"""Columns of a table that goes to a file."""
COLOURS = {
    Status.REGRESSION: "bold red",
    Status.BROKEN: "bold red",
    Status.IMPROVEMENT: "green",
    Status.INCONCLUSIVE: "yellow",
}


@exits.command()
def verdict(
    base: Annotated[str, typer.Argument(help="The commit to compare with.")],
    head: Annotated[
        str, typer.Argument(help="The commit to judge; . is the working tree's tracked files.")
    ] = "HEAD",
    threshold: options.Threshold = "5%",
    alpha: Annotated[float, judging("False discovery rate over the cases.")] = 0.01,
    budget: Annotated[float, judging("Minutes for the rounds.")] = 10.0,
    bench: options.Bench = None,
    case: Annotated[list[str] | None, judging("A case by its whole name.")] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Narrow a regression down to one commit.")
    ] = False,
    config: options.Config = Path("asv.conf.json"),
    environment: options.Environment = None,
    base_requirement: Annotated[
        list[str] | None, building("name==version that base is built with.")
    ] = None,
    base_python: Annotated[
        str | None, building("Python with base's dependencies, in an existing environment.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep the verdict here; by default in asv's results_dir.")
    ] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Keep it nowhere.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list the cases without a change.")
    ] = False,
    report: options.Link = None,
    as_json: options.Json = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the body of an issue or comment.")
    ] = False,
) -> int:
    """Build both commits, run them alternately, and say which cases changed and by how much.

    Base and head run in fresh processes, one right after the other. A case is a regression if its
    change is significant over all cases and its interval lies beyond 1 %; it is no change only if
    the interval lies within ± the threshold; until it is either, rounds are added, within the
    budget. Calls that are slow now and then are found by the mean of all calls, which is judged
    beside the typical ones: called beyond the threshold, excluded to four times of it. Errors
    against the oracle are judged by their growth, peak memory at twice the threshold, import and
    compile seconds at four times.

    Without --bench and --case the cases are chosen so that any two values of two parameters come
    together, as many as the budget has room for; what was not looked at is told. The benchmarks
    are the working tree's, in RNNBENCH_PROFILE. The rule is in the module
    rnnbench.judge.verdict.decision, the choice of cases in rnnbench.judge.verdict.choice.
    """
    from rnnbench.files import records
    from rnnbench.judge.verdict import run

    if as_json and as_markdown:
        raise InputError("--json and --markdown exclude each other")
    with showing() as show:

        def on_progress(doing: str, now: Stand | None) -> None:
            total, done = (None, 0.0) if now is None else (now.budget, now.seconds)
            show(_line(doing, now), done, total)

        request = run.Request(
            base=base,
            head=head,
            config=config,
            environment=environment,
            threshold=options.percent(threshold),
            alpha=alpha,
            budget=60 * budget,
            bench=tuple(bench or ()),
            cases=tuple(case or ()),
            bisect=bisect,
            base_requirements=tuple(base_requirement or ()),
            base_python=base_python,
            turn=datetime.now(UTC).toordinal(),
        )
        found = run.run(request, on_progress)
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
    if as_markdown:
        typer.echo(text.markdown(answer, report), nl=False)
    else:
        parts = _parts(answer, everything=everything)
        output.show(answer.as_dict(), parts, as_json=as_json, width=WIDTH)
    return answer.exit_code


def _line(doing: str, now: Stand | None) -> str:
    if now is None:
        return doing
    return (
        f"{doing}: round {now.rounds + 1}, {now.undecided} of {now.cases} cases undecided, "
        f"at most {now.budget:.0f} s"
    )


def _parts(answer: Verdict, *, everything: bool) -> Iterator[output.Part]:
    """Yield the table of cases, the reasons of those that are not measured, and the facts."""
    shown = [case for case in answer.cases if case.status is not Status.NO_CHANGE or everything]
    if any(case.base is not None for case in shown):
        yield _table(answer, shown)
    for reason, cases in text.accounts(answer.cases):
        yield plain(text.account(reason, cases)), COLOURS.get(cases[0].status, "")
    yield from map(plain, _facts(answer))
    yield plain(text.headline(answer)), "bold"


def _table(answer: Verdict, cases: list[CaseAnswer]) -> Table:
    """Return a line per measured case, the worst first."""
    title = f"{answer.base.hash[:8]} → {answer.head.hash[:8]}: {text.counts(answer)}"
    figures = ("base", "head", "change", "interval", "detectable", "rounds")
    table = output.table(title, "", "case", *figures, left=2)
    order = list(Status)
    for case in sorted(cases, key=lambda case: order.index(case.status)):
        if case.base is None:
            continue
        table.add_row(
            Text(f"{text.MARKS[case.status]} {case.status.value}", COLOURS.get(case.status, "")),
            Text(plain(case.name)),
            text.amount(case.base, case.quantity, case.unit),
            text.amount(case.head, case.quantity, case.unit),
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
    if others := text.not_chosen(answer):
        facts.append(f"{others}; --bench looks at what it names")
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
