"""``rnnbench search``: search hyperparameters of a training by grid, at random or by TPE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from rnnbench import interface
from rnnbench.cli import exits, options, output
from rnnbench.cli.options import listed, panel, writable
from rnnbench.cli.progress import progress
from rnnbench.errors import InputError
from rnnbench.exit_codes import GOOD, NOTHING_MEASURED
from rnnbench.search.plan import STRATEGIES, Plan, Space
from rnnbench.training.settings import VOWELS, Settings

PLAN, SPACE = Plan(), Space()
SETTINGS = PLAN.base
SHOWN = 10
"""Trials that the table lists."""
Number = TypeVar("Number", int, float)
_searched = panel("Searched: values by commas")


def _text(values: tuple[Any, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


@exits.command()
def search(
    strategy: Annotated[str, typer.Option(help=f"{', '.join(STRATEGIES)}.")] = PLAN.strategy,
    trials: Annotated[int, typer.Option(help="How many; a grid has all its points.")] = PLAN.trials,
    storage: Annotated[
        str, typer.Option(help="Any storage URL of Optuna's: share it to share the work.")
    ] = "sqlite:///rnnbench-search.db",
    study: Annotated[
        str | None, typer.Option(help="Name in the storage; task-cell-strategy by default.")
    ] = None,
    lr: Annotated[str, _searched("Learning rate.")] = _text(SPACE.lr),
    hidden_size: Annotated[str, _searched("Hidden size H.")] = _text(SPACE.hidden_size),
    layers: Annotated[str, _searched("Layers L.")] = _text(SPACE.layers),
    dropout: Annotated[str, _searched("Dropout.")] = _text(SPACE.dropout),
    task: options.Task = SETTINGS.task,
    cell: options.Cell = SETTINGS.cell,
    directions: options.Directions = SETTINGS.directions,
    optimiser: options.Optimiser = SETTINGS.optimiser,
    clip: options.Clip = SETTINGS.clip,
    epochs: options.Epochs = SETTINGS.epochs,
    batch: options.Batch = SETTINGS.batch,
    T: options.Steps = SETTINGS.T,
    size: options.Size = SETTINGS.size,
    backend: Annotated[str, typer.Option(help="The backend that trains.")] = PLAN.backend,
    seed: Annotated[int, typer.Option(help="Seed of the search and all trainings.")] = PLAN.seed,
    grace: Annotated[
        float, typer.Option(help="Seconds without a sign after which a worker is dead.", min=2)
    ] = 20.0,
    save: options.Save = None,
    as_json: options.Json = False,
) -> int:
    """Search learning rate, hidden size, layers and dropout; resumable, by any number of workers.

    The grid takes the values given; random and TPE choose among the sizes and between the smallest
    and the largest learning rate (logarithmic) and dropout. A trial is scored on a fifth of the
    training part that it does not learn from; the best then learns from all of it and is scored on
    the test part, once. Run the same command again to go on after a kill, or elsewhere at the
    same time to share the work: no trial is lost, and none has two results.
    """
    plan = Plan(
        strategy,
        trials,
        seed,
        backend,
        Settings(
            task, cell, directions=directions, optimiser=optimiser, clip=clip, epochs=epochs,
            batch=batch, T=T, size=size, seed=seed,
        ),
        Space(
            _numbers("lr", lr, float),
            _numbers("hidden_size", hidden_size, int),
            _numbers("layers", layers, int),
            _numbers("dropout", dropout, float),
        ),
    )  # fmt: skip
    interface.require(backend, plan.base.spec(1), interface.Conditions(packed=True))
    writable(save)
    if find_spec("optuna") is None:
        raise InputError("search needs optuna: pip install 'rnnbench[search]'")
    from rnnbench.files import records
    from rnnbench.search import results, worker
    from rnnbench.training import tasks

    data = tasks.load(plan.base)
    opened = worker.open_study(plan, storage, study or f"{task}-{cell}-{strategy}")
    with progress("searching", plan.trials) as advance:
        worker.Worker(plan, opened, data, grace).work(advance)
    found = results.best(opened)
    test = None if found is None else results.tested(plan, found.params, data)
    record = results.record(plan, opened, test)
    kept = records.append(save, results.FOLDER, record) if save else None
    output.show(record, _parts(record, kept), as_json=as_json)
    return NOTHING_MEASURED if found is None else GOOD


def _numbers(name: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Return the numbers between commas; raises InputError for anything else."""
    try:
        return tuple(kind(part) for part in listed(text))
    except ValueError:
        raise InputError(
            f"{name} must be numbers, like {_text(getattr(SPACE, name))}; got {text!r}"
        ) from None


def _parts(record: dict[str, Any], kept: Path | None) -> Iterator[output.Part]:
    """Yield the table, the trials that diverged, and the score of the best."""
    yield _table(record)
    more = len(record["trials"]) - SHOWN
    if more > 0:
        yield f"… and {more} more; --json has all of them"
    for row in record["trials"]:
        if row["diverged"]:
            yield f"slot {row['slot']}: {row['diverged']}", output.BAD
    if record["test"] is not None:
        yield (
            f"slot {record['best']}, trained on the whole training part: {record['test']:.4g} on "
            "the test part"
        )
    if kept is not None:
        yield f"kept in {kept}"


def _table(record: dict[str, Any]) -> Table:
    """Return the best trials, the best first."""
    higher = record["plan"]["base"]["task"] == VOWELS
    scored = [row for row in record["trials"] if row["value"] is not None]
    scored.sort(key=lambda row: -row["value"] if higher else row["value"])
    score = f"{'accuracy' if higher else 'error'}, held out"
    title = f"{record['study']}: {len(record['trials'])} trials"
    columns = ("slot", score, "lr", "H", "L", "dropout", "seconds")
    table = output.table(title, *columns, left=0)
    for row in scored[:SHOWN]:
        table.add_row(
            str(row["slot"]), f"{row['value']:.4g}", f"{row['lr']:.3g}", str(row["hidden_size"]),
            str(row["layers"]), f"{row['dropout']:.2f}", f"{row['seconds']:.2f}",
        )  # fmt: skip
    return table
