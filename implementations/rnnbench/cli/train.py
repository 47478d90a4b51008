"""``rnnbench train``: train one network on several backends, and compare with the oracle's run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rnnbench import interface
from rnnbench.cli import exits, options, output
from rnnbench.cli.options import learning, listed, network, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import threads as pools
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED
from rnnbench.training.settings import ADDING, DRAWS, READINGS, Settings

if TYPE_CHECKING:
    from rnnbench.training.band import Band
    from rnnbench.training.sidebyside import Outcome
    from rnnbench.training.tasks import Task

DEFAULTS = Settings()
ALL = "all"
TARGETS = {ADDING: 0.02}
TARGET = 0.95


@exits.command()
def train(
    backend: Annotated[
        str, typer.Option(help="Names by commas, or all that can train: all side by side.")
    ] = "numba",
    task: options.Task = DEFAULTS.task,
    cell: options.Cell = DEFAULTS.cell,
    hidden_size: Annotated[int, network("Hidden size H.")] = DEFAULTS.hidden_size,
    layers: Annotated[int, network("Layers L.")] = DEFAULTS.layers,
    directions: options.Directions = DEFAULTS.directions,
    dropout: Annotated[float, network("Between layers and before the head.")] = DEFAULTS.dropout,
    reading: Annotated[
        str, network(f"The states that the head reads: {', '.join(READINGS)}.")
    ] = DEFAULTS.reading,
    chrono: Annotated[
        int, network("Longest lag in the initial memory of gated cells; 0: torch's biases.")
    ] = DEFAULTS.chrono,
    optimiser: options.Optimiser = DEFAULTS.optimiser,
    lr: Annotated[float, learning("Learning rate.")] = DEFAULTS.lr,
    clip: options.Clip = DEFAULTS.clip,
    epochs: options.Epochs = DEFAULTS.epochs,
    batch: options.Batch = DEFAULTS.batch,
    seed: Annotated[int, learning("Seed of all that is random.")] = DEFAULTS.seed,
    T: options.Steps = DEFAULTS.T,
    size: options.Size = DEFAULTS.size,
    target: Annotated[
        float | None,
        typer.Option(
            help=f"Time to this test accuracy ({TARGET}), or error ({TARGETS[ADDING]}: adding)."
        ),
    ] = None,
    band: Annotated[
        bool, typer.Option(help="Train on the oracle too, and compare every curve with it.")
    ] = True,
    draws: Annotated[
        int, typer.Option(help="Runs of either dtype that measure the band.", min=1)
    ] = DRAWS,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Ask the test sequences one by one, too: padding shows."),
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads for all backends.")] = 1,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder to keep the runs in after every epoch, and to resume from."),
    ] = None,
    save: options.Save = None,
    as_json: options.Json = False,
) -> int:
    """Train a classifier on Japanese Vowels (or the adding problem) and say whether it is right.

    Every backend begins with the same weights and sees the same batches. Its loss and gradient norm
    in every step are compared with a run of the float64 oracle, within a band that grows as
    rounding does; the band is measured by runs with disturbances of the size of a rounding (module
    rnnbench.training.band). Times are of training alone, after one step that compiles. With
    --checkpoint a run that was killed goes on with the same curve.
    """
    settings = Settings(
        task, cell, hidden_size, layers, directions, dropout, optimiser, lr, clip, epochs, batch,
        seed, T, size, reading, chrono,
    )  # fmt: skip
    asked = listed(backend)
    if not asked:
        raise InputError(f"backend must be names, like numba,native, or all; got {backend!r}")
    thread_counts(str(threads))
    writable(save)
    writable(checkpoint, "checkpoint")
    if alone and task == ADDING:
        raise InputError("alone is for classification; the adding problem has no classes")
    _pin(threads)
    names = _trainable(settings) if asked == [ALL] else asked
    for name in names:
        interface.get_backend(name)
    from rnnbench.files import records
    from rnnbench.training import sidebyside, tasks

    data = tasks.load(settings)
    outcomes, width = _trained(settings, names, data, checkpoint, draws if band else 0, alone=alone)
    aim = TARGETS.get(task, TARGET) if target is None else target
    record = sidebyside.record(settings, data, outcomes, width, aim, threads)
    kept = records.append(save, sidebyside.FOLDER, record) if save else None
    table = _table(settings, data, outcomes, aim)
    output.show(record, _parts(table, data, outcomes, width, kept), as_json=as_json)
    return _exit_code(outcomes)


def _pin(threads: int) -> None:
    """Set equal threads for all; cores and pools can be set only before torch is imported."""
    if "torch" not in sys.modules:
        os.environ.update(dict.fromkeys(pools.VARIABLES, str(threads)))
        pools.confine(threads)
    pools.pin(threads)


def _trainable(settings: Settings) -> list[str]:
    """Return the registered backends that have gradients."""
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


def _parts(
    table: Table, data: Task, outcomes: Sequence[Outcome], width: Band | None, kept: Path | None
) -> Iterator[output.Part]:
    """Yield the table, accounts of the backends, and the oracle's own result."""
    yield table
    for outcome in outcomes:
        if outcome.detail:
            yield f"{outcome.backend}: {outcome.detail}", output.BAD
        if outcome.alone is not None:
            yield (
                f"{outcome.backend}: {outcome.alone:.1%} of the test sequences have the same "
                "answer with the others and alone"
            )
        if outcome.resumed:
            yield f"{outcome.backend}: resumed after epoch {outcome.resumed}"
    if width is None:
        yield "not compared with the oracle (--no-band)"
    elif width.curve.divergence is not None:
        yield f"the oracle's own run: {width.curve.divergence}", output.BAD
    else:
        last, low, high = (
            _score(value, data.kind) for value in (width.curve.scores[-1], *width.scores)
        )
        yield f"oracle: {last}; with roundings alone {low} to {high}"
    if kept is not None:
        yield f"kept in {kept}"


def _table(settings: Settings, data: Task, outcomes: Sequence[Outcome], target: float) -> Table:
    """Return a row for each backend."""
    title = (
        f"{settings.task}: {settings.cell}, H={settings.hidden_size}, L={settings.layers}, "
        f"D={settings.directions}, {settings.optimiser} lr={settings.lr:g}, "
        f"{settings.epochs} epochs"
    )
    figures = ("steps", "test", f"to {_score(target, data.kind)}", "an epoch", "first step")
    table = output.table(title, "backend", "verdict", "of band", *figures, left=2)
    for outcome in outcomes:
        curve, verdict = outcome.curve, outcome.verdict
        good = outcome.status in ("ok", "not judged")
        to_target = curve.seconds_to(target, data.kind)
        table.add_row(
            outcome.backend,
            Text(outcome.status, output.GOOD if good else output.BAD),
            f"{verdict.share:.0%}" if verdict and verdict.worst else "",
            str(verdict.gated) if verdict else "",
            _score(curve.scores[-1], data.kind) if curve.scores else "",
            "never" if to_target is None else f"{to_target:.2f} s",
            f"{1000 * curve.seconds[-1] / len(curve.seconds):.0f} ms" if curve.seconds else "",
            f"{outcome.warm_up:.2f} s" if outcome.warm_up else "",
        )
    return table


def _score(value: float, kind: str) -> str:
    """Return an accuracy as ``97.6%``, a mean squared error as ``0.0123``."""
    return f"{value:.1%}" if kind == "classification" else f"{value:.3g}"
