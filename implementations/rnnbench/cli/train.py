"""``rnnbench train``: one network trained on several backends, held against the oracle's run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench import interface
from rnnbench.cli.exits import leave
from rnnbench.cli.options import listed, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import threads as pools
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED, TEXT, USAGE
from rnnbench.training.settings import ADDING, DRAWS, OPTIMISERS, READINGS, TASKS, Settings

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.training.band import Band
    from rnnbench.training.sidebyside import Outcome
    from rnnbench.training.tasks import Task

DEFAULTS = Settings()
ALL = "all"
TARGETS = {ADDING: 0.02}
TARGET = 0.95
NETWORK, LEARNING, ADDING_ONLY = "Network", "Learning", "Only for the adding problem"


def _option(panel: str, help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel)


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names)}."


def train(
    backend: Annotated[
        str, typer.Option(help="Names by commas, or all that can train: all side by side.")
    ] = "numba",
    task: Annotated[str, typer.Option(help=_one_of(TASKS))] = DEFAULTS.task,
    cell: Annotated[str, _option(NETWORK, "rnn_tanh, rnn_relu, gru, lstm.")] = DEFAULTS.cell,
    hidden_size: Annotated[int, _option(NETWORK, "H.")] = DEFAULTS.hidden_size,
    layers: Annotated[int, _option(NETWORK, "L.")] = DEFAULTS.layers,
    directions: Annotated[int, _option(NETWORK, "1 or 2.")] = DEFAULTS.directions,
    dropout: Annotated[
        float, _option(NETWORK, "Between layers and before the head.")
    ] = DEFAULTS.dropout,
    reading: Annotated[
        str, _option(NETWORK, f"What is taken of a sequence: {_one_of(READINGS)}")
    ] = DEFAULTS.reading,
    chrono: Annotated[
        int,
        _option(
            NETWORK,
            "Longest lag that gated cells begin with a memory for; 0: torch's biases.",
        ),
    ] = DEFAULTS.chrono,
    optimiser: Annotated[str, _option(LEARNING, _one_of([*OPTIMISERS]))] = DEFAULTS.optimiser,
    lr: Annotated[float, _option(LEARNING, "Learning rate.")] = DEFAULTS.lr,
    clip: Annotated[
        float, _option(LEARNING, "Largest norm of the gradient; 0: no clipping.")
    ] = DEFAULTS.clip,
    epochs: Annotated[int, _option(LEARNING, "Passes over the training part.")] = DEFAULTS.epochs,
    batch: Annotated[int, _option(LEARNING, "B.")] = DEFAULTS.batch,
    seed: Annotated[int, _option(LEARNING, "Of all that is random.")] = DEFAULTS.seed,
    T: Annotated[int, _option(ADDING_ONLY, "Length, 2 to 1000.", "--T")] = DEFAULTS.T,
    size: Annotated[int, _option(ADDING_ONLY, "Sequences to train on.")] = DEFAULTS.size,
    target: Annotated[
        float | None,
        typer.Option(
            help=f"Time to this test accuracy ({TARGET}), or error ({TARGETS[ADDING]}: adding)."
        ),
    ] = None,
    band: Annotated[
        bool, typer.Option(help="Train on the oracle too, and hold every curve against it.")
    ] = True,
    draws: Annotated[
        int, typer.Option(help="Runs of either dtype that measure the band.", min=1)
    ] = DRAWS,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Ask the test sequences one by one, too: padding shows."),
    ] = False,
    threads: Annotated[int, typer.Option(help="For all backends.")] = 1,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder to keep the runs in after every epoch, and to resume from."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep the curves here: asv's results (.asv/results), for the report."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Train a classifier on Japanese Vowels (or the adding problem) and say whether it is right.

    Every backend begins with the same weights and sees the same batches. Its loss and gradient norm
    in every step are held against a run of the float64 oracle, within a band that grows as rounding
    does; the band is measured by runs with rounding-size disturbances (module
    rnnbench.training.band). Times are of training alone, after one step that compiles. With
    --checkpoint a run that was killed goes on with the very same curve.
    """
    try:
        settings = Settings(
            task, cell, hidden_size, layers, directions, dropout, optimiser, lr, clip, epochs,
            batch, seed, T, size, reading, chrono,
        )  # fmt: skip
        asked = listed(backend)
        if not asked:
            raise InputError(f"backend must be names, like numba,native, or all; got {backend!r}")
        thread_counts(str(threads))
        writable(save)
        writable(checkpoint)
        if alone and task == ADDING:
            raise InputError("alone is for classification; the adding problem has no classes")
        _pin(threads)
        names = _trainable(settings) if asked == [ALL] else asked
        for name in names:
            interface.get_backend(name)
    except InputError as error:
        leave(USAGE, str(error))
    from rnnbench.training import saving, tasks

    aim = TARGETS.get(task, TARGET) if target is None else target
    try:
        data = tasks.load(settings)
        outcomes, width = _trained(
            settings, names, data, checkpoint, draws if band else 0, alone=alone
        )
    except (InputError, tasks.MissingDataError) as error:
        leave(USAGE, str(error))
    record = saving.record(settings, data, outcomes, width, aim, threads)
    kept = saving.append(record, save) if save else None
    if as_json:
        typer.echo(json.dumps(record, indent=1, allow_nan=False))
    else:
        _print(settings, data, outcomes, width, aim, kept)
    raise typer.Exit(_exit_code(outcomes))


train.__doc__ = f"{train.__doc__}\n    {TEXT}"


def _pin(threads: int) -> None:
    """Equal threads for all; cores and pools can be set only before torch is imported."""
    if "torch" not in sys.modules:
        os.environ.update(dict.fromkeys(pools.VARIABLES, str(threads)))
        pools.confine(threads)
    pools.pin(threads)


def _trainable(settings: Settings) -> list[str]:
    """The registered backends that have gradients."""
    spec, conditions = settings.spec(1), interface.Conditions(packed=True)
    return [
        name
        for name in interface.backends()
        if interface.get_backend(name).supports(spec, conditions) is None
    ]


def _trained(
    settings: Settings,
    names: Sequence[str],
    data: Task,
    checkpoints: Path | None,
    draws: int,
    *,
    alone: bool,
) -> tuple[list[Outcome], Band | None]:
    from rnnbench.training import band, sidebyside

    trainings = len(names) + (2 * draws + 1 if draws else 0)
    with progress("training, epochs", trainings * settings.epochs) as advance:
        outcomes = sidebyside.train(settings, names, data, checkpoints, advance, alone=alone)
        if not draws:
            return outcomes, None
        width = band.measure(settings, data, draws, advance)
    sidebyside.judge(outcomes, width)
    return outcomes, width


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    found = {outcome.status for outcome in outcomes}
    if found & {"left the band", "diverged"}:
        return FAILED
    if "broke" in found:
        return BROKEN
    return NOTHING_MEASURED if "unsupported" in found else GOOD


def _print(
    settings: Settings,
    data: Task,
    outcomes: Sequence[Outcome],
    width: Band | None,
    target: float,
    kept: Path | None,
) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(_table(settings, data, outcomes, target))
    for outcome in outcomes:
        if outcome.detail:
            console.print(Text(f"{outcome.backend}: {outcome.detail}", "bold red"))
        if outcome.alone is not None:
            console.print(
                f"{outcome.backend}: {outcome.alone:.1%} of the test sequences are answered alike "
                "with the others and alone"
            )
        if outcome.resumed:
            console.print(f"{outcome.backend}: resumed after epoch {outcome.resumed}")
    if width is None:
        console.print("not held against the oracle (--no-band)")
    elif width.curve.divergence is not None:
        console.print(Text(f"the oracle's own run: {width.curve.divergence}", "bold red"))
    else:
        last = width.curve.scores[-1]
        low, high = width.scores
        console.print(
            f"oracle: {_score(last, data.kind)}; with roundings alone {_score(low, data.kind)} to "
            f"{_score(high, data.kind)}"
        )
    if kept is not None:
        console.print(Text(f"kept in {kept}"), soft_wrap=True)


def _table(settings: Settings, data: Task, outcomes: Sequence[Outcome], target: float) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = (
        f"{settings.task}: {settings.cell}, H={settings.hidden_size}, L={settings.layers}, "
        f"D={settings.directions}, {settings.optimiser} lr={settings.lr:g}, "
        f"{settings.epochs} epochs"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("backend", no_wrap=True)
    table.add_column("verdict")
    heads = (
        "of band",
        "steps",
        "test",
        f"to {_score(target, data.kind)}",
        "an epoch",
        "first step",
    )
    for heading in heads:
        table.add_column(heading, justify="right")
    for outcome in outcomes:
        curve, verdict = outcome.curve, outcome.verdict
        good = outcome.status in ("ok", "not judged")
        to_target = curve.seconds_to(target, data.kind)
        table.add_row(
            outcome.backend,
            Text(outcome.status, "green" if good else "bold red"),
            f"{verdict.share:.0%}" if verdict and verdict.worst else "",
            str(verdict.gated) if verdict else "",
            _score(curve.scores[-1], data.kind) if curve.scores else "",
            "never" if to_target is None else f"{to_target:.2f} s",
            f"{1000 * curve.seconds[-1] / len(curve.seconds):.0f} ms" if curve.seconds else "",
            f"{outcome.warm_up:.2f} s" if outcome.warm_up else "",
        )
    return table


def _score(value: float, kind: str) -> str:
    """``97.6 %`` of accuracy, ``0.0123`` of mean squared error."""
    return f"{value:.1%}" if kind == "classification" else f"{value:.3g}"
