"""``rnnbench calibrate``: the error rates of verdicts on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnbench.cli.exits import leave
from rnnbench.cli.progress import showing
from rnnbench.cli.verdict import option, percent
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, NOTHING_MEASURED, USAGE
from rnnbench.judge.verdict import text

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.judge.calibration.calibrate import Calibrated, Stand
    from rnnbench.judge.calibration.card import Card

TRIALS = "Trials"
ASV = "Building"


def calibrate(
    commit: Annotated[
        str, typer.Argument(help="Compared with itself, and with slowed copies of itself.")
    ] = "HEAD",
    verdicts: Annotated[int, option("A/A verdicts that make a card.", TRIALS)] = 40,
    planted_verdicts: Annotated[
        int, option("Verdicts with slowed cases that make a card.", TRIALS)
    ] = 10,
    budget: Annotated[
        float | None, option("Minutes; no verdict is begun that would not end in them.", TRIALS)
    ] = None,
    share: Annotated[
        int, option("Verdicts to measure anew where none is missing; the oldest give way.", TRIALS)
    ] = 0,
    each: Annotated[float, option("Seconds for one verdict.", TRIALS)] = 60.0,
    threshold: Annotated[
        str, option("Relative change that each is to find or to exclude.", TRIALS)
    ] = ("5%"),
    bench: Annotated[
        list[str] | None, option("Cases whose name has this regex, if they are timed.", TRIALS)
    ] = None,
    instructions: Annotated[
        bool,
        typer.Option(
            "--instructions",
            help="Measure the spread of instruction counts as well, unless a card of these "
            "versions has it: a quarter of an hour.",
            rich_help_panel=TRIALS,
        ),
    ] = False,
    config: Annotated[Path, option("asv's configuration.", ASV)] = Path("asv.conf.json"),
    environment: Annotated[
        str | None, option("asv's, e.g. existing: this Python's dependencies.", ASV)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Measure how often verdicts are wrong on this machine.

    A/A verdicts compare two copies of one commit: every change they find is a false alarm. Planted
    verdicts compare it with a copy in which half of the cases are slowed by 2, 5, 10 or 20 %, in
    time that is really spent. Each verdict is kept as it ends (trials/ in asv's results_dir), and
    the card is written anew (card/): a run that was killed goes on where it was. Verdicts of the
    last 30 days count, on this machine, with these settings and versions. Beside it stands asv's
    own rule on the same pairs.

    Exit codes: 0 there is a card; 2 wrong usage; 4 nothing was measured; 5 the commit can't be
    built, or nothing runs.
    """
    from rnnbench.judge import commits
    from rnnbench.judge.calibration import calibrate as calibration
    from rnnbench.judge.project import Project
    from rnnbench.judge.verdict.building import BuildError, install
    from rnnbench.judge.verdict.choice import chooser
    from rnnbench.judge.verdict.decision import Rule
    from rnnbench.judge.verdict.process import WorkerError

    try:
        plan = calibration.Plan(
            verdicts,
            planted_verdicts,
            share,
            float("inf") if budget is None else 60 * budget,
            each,
            rule=Rule(percent(threshold)),
            instructions=instructions,
        )
        project = Project(config)
        choose = calibration.chosen(project.suite)
        if bench:
            choose = calibration.timed(chooser(bench, (), project.suite))
        side = install(project, commits.commit(project.folder, commit, "commit"), environment)
        with showing() as show:

            def on_progress(now: calibration.Stand) -> None:
                show(_line(now), now.done, now.due, topic=f"{now.done}")

            found = calibration.calibrate(
                side, project.suite, project.results, choose, plan, on_progress=on_progress
            )
    except InputError as error:
        leave(USAGE, text.plain(str(error)))
    except (BuildError, WorkerError) as error:
        leave(BROKEN, text.plain(str(error)))
    if found.card is None:
        leave(NOTHING_MEASURED, "no verdict fits the budget, so there is no card")
    if as_json:
        typer.echo(json.dumps(found.card.as_dict(), indent=1))
    else:
        _print(found.card, found)


def _line(now: Stand) -> str:
    """Return which verdict it is at, and how long the rest takes at most."""
    left = f", about {(now.due - now.done) * now.seconds / 60:.0f} min left"
    return f"verdict {now.done + 1} of {now.due}, {now.doing}{left if now.seconds else ''}"


def _print(card: Card, run: Calibrated) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(_table(card))
    for sentence in _sentences(card, run):
        console.print(sentence, markup=False, highlight=False)


def _table(card: Card) -> Table:
    """Return a line for no change and for each planted size; fits 80 columns."""
    from rich import box
    from rich.table import Table

    title = f"Error rates on {card.machine['host']}, {card.at[:10]}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("planted", no_wrap=True)
    for heading in ("cases", "found", "if detectable", "open", "denied", "covered", "asv"):
        table.add_column(heading, justify="right", no_wrap=True)
    other = card.other or {"false_alarms": "", "planted": []}
    theirs = {row["size"]: f"{row['found'] / row['cases']:.0%}" for row in other["planted"]}
    total = card.aa_verdicts * card.aa_cases
    table.add_row(
        "nothing", str(total), f"{card.false_alarms} false", "", str(card.aa_inconclusive), "", "",
        f"{other['false_alarms']} false",
    )  # fmt: skip
    for row in card.planted:
        table.add_row(
            f"{row.size:+.0%}",
            str(row.cases),
            _share(row.found, row.cases),
            f"{_share(row.found_of_detectable, row.detectable)} of {row.detectable}",
            str(row.inconclusive),
            str(row.denied),
            _share(row.covered, row.cases),
            theirs.get(row.size, ""),
        )
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _sentences(card: Card, run: Calibrated) -> list[str]:
    from statistics import median

    least = f"{median(card.detectable.values()):.1%}" if card.detectable else "unknown"
    lines = [
        f"{card.aa_verdicts} A/A verdicts over {card.aa_cases} cases: {card.false_alarms} false "
        f"alarms, in {card.alarmed_verdicts} of the verdicts",
        f"{card.spared_alarms} false alarms among the {card.spared} cases that planted verdicts "
        "left as they were",
        f"minimum detectable effect: {least} in the median case",
        "found: called a regression. if detectable: of the cases whose verdict said that it would "
        "show that size. open: inconclusive. denied: called no change, that size excluded. "
        "covered: the interval holds the planted size.",
    ]
    for row in (card.other, *card.other["factors"]) if card.other else ():
        found = ", ".join(
            f"{one['size']:+.0%} {_share(one['found'], one['cases'])}" for one in row["planted"]
        )
        lines.append(
            f"{row['name']}, same pairs: {row['false_alarms']} false alarms in "
            f"{row['alarmed_verdicts']} verdicts; found {found or 'nothing to find'}"
        )
    if card.instructions:
        known = card.instructions
        spread = known.get("spread")
        lines.append(
            f"instruction counts: spread {spread:.2%} over ten runs"
            if spread is not None
            else f"instruction counts: {known.get('reason')}"
        )
    if not run.plants:
        lines.append("no slowdown was planted: the suite names none (rnnbench.judge.suite)")
    lines.append(
        f"{run.measured} verdicts in {run.seconds:.0f} s"
        + (f"; {run.missing} are missing for a whole card" if run.missing else "")
    )
    return lines
