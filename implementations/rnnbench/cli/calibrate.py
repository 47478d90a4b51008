"""``rnnbench calibrate``: the error rates of verdicts on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rnnbench.cli import exits, options, output
from rnnbench.cli.progress import showing
from rnnbench.exit_codes import GOOD, NOTHING_MEASURED

if TYPE_CHECKING:
    from rnnbench.judge.calibration.calibrate import Calibrated, Stand
    from rnnbench.judge.calibration.card import Card

trials = options.panel("Trials")
CODES = (
    "Exit codes: 0 there is a card; 2 wrong usage; 4 nothing was measured; 5 the commit can't be "
    "built, or nothing runs."
)


@exits.command(CODES)
def calibrate(
    commit: Annotated[
        str, typer.Argument(help="Compared with itself, and with slowed copies of itself.")
    ] = "HEAD",
    verdicts: Annotated[int, trials("A/A verdicts that make a card.")] = 40,
    planted_verdicts: Annotated[int, trials("Verdicts with slowed cases that make a card.")] = 10,
    budget: Annotated[
        float | None, trials("Minutes; no verdict is begun that would not end in them.")
    ] = None,
    share: Annotated[
        int, trials("Verdicts to measure anew where none is missing; the oldest give way.")
    ] = 0,
    each: Annotated[float, trials("Seconds for one verdict.")] = 60.0,
    threshold: options.Threshold = "5%",
    bench: options.Bench = None,
    instructions: Annotated[
        bool,
        trials(
            "Measure the spread of instruction counts as well, unless a card of these versions "
            "has it: a quarter of an hour.",
            "--instructions",
        ),
    ] = False,
    config: options.Config = Path("asv.conf.json"),
    environment: options.Environment = None,
    as_json: options.Json = False,
) -> int:
    """Measure how often verdicts are wrong on this machine.

    A/A verdicts compare two copies of one commit: every change they find is a false alarm. Planted
    verdicts compare it with a copy in which half of the cases are slowed by 2, 5, 10 or 20 %, in
    time that is really spent. Each verdict is kept as it ends (trials/ in asv's results_dir), and
    the card is written anew (card/): a run that was killed goes on where it was. Verdicts of the
    last 30 days count, on this machine, with these settings and versions. Beside it stands asv's
    own rule on the same pairs.

    """
    from rnnbench.judge import commits
    from rnnbench.judge.calibration import calibrate as calibration
    from rnnbench.judge.project import Project
    from rnnbench.judge.verdict.building import install
    from rnnbench.judge.verdict.choice import chooser
    from rnnbench.judge.verdict.decision import Rule

    plan = calibration.Plan(
        verdicts,
        planted_verdicts,
        share,
        float("inf") if budget is None else 60 * budget,
        each,
        rule=Rule(options.percent(threshold)),
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
    if found.card is None:
        exits.leave(NOTHING_MEASURED, "no verdict fits the budget, so there is no card")
    parts: list[output.Part] = [_table(found.card), *_sentences(found.card, found)]
    output.show(found.card.as_dict(), parts, as_json=as_json)
    return GOOD


def _line(now: Stand) -> str:
    """Return which verdict it is at, and how long the rest takes at most."""
    left = f", about {(now.due - now.done) * now.seconds / 60:.0f} min left"
    return f"verdict {now.done + 1} of {now.due}, {now.doing}{left if now.seconds else ''}"


def _table(card: Card) -> Table:
    """Return a line for no change and for each planted size; fits 80 columns."""
    title = f"Error rates on {card.machine['host']}, {card.at[:10]}"
    figures = ("cases", "found", "if detectable", "open", "denied", "covered", "asv")
    table = output.table(title, "planted", *figures)
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
