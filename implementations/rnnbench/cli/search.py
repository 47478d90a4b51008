"""``rnnbench search``: hyperparameters of a training, by grid, at random or by TPE."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rnnbench import interface
from rnnbench.cli.exits import leave
from rnnbench.cli.options import listed, writable
from rnnbench.cli.progress import progress
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, GOOD, NOTHING_MEASURED, TEXT, USAGE
from rnnbench.search.plan import STRATEGIES, Plan, Space
from rnnbench.training.settings import OPTIMISERS, TASKS, Settings

if TYPE_CHECKING:
    from rich.table import Table

PLAN, SPACE = Plan(), Space()
SETTINGS = PLAN.base
SEARCHED, BASE = "Searched: values by commas", "The same in every trial"
SHOWN = 10
Number = TypeVar("Number", int, float)


def _option(panel: str, help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel)


def _text(values: tuple[Any, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def search(
    strategy: Annotated[str, typer.Option(help=f"{', '.join(STRATEGIES)}.")] = PLAN.strategy,
    trials: Annotated[int, typer.Option(help="How many; a grid has all its points.")] = PLAN.trials,
    storage: Annotated[
        str, typer.Option(help="Any storage URL of Optuna's: share it to share the work.")
    ] = "sqlite:///rnnbench-search.db",
    study: Annotated[
        str | None, typer.Option(help="Name in the storage; task-cell-strategy by default.")
    ] = None,
    lr: Annotated[str, _option(SEARCHED, "Learning rate.")] = _text(SPACE.lr),
    hidden_size: Annotated[str, _option(SEARCHED, "H.")] = _text(SPACE.hidden_size),
    layers: Annotated[str, _option(SEARCHED, "L.")] = _text(SPACE.layers),
    dropout: Annotated[str, _option(SEARCHED, "Dropout.")] = _text(SPACE.dropout),
    task: Annotated[str, _option(BASE, f"{', '.join(TASKS)}.")] = SETTINGS.task,
    cell: Annotated[str, _option(BASE, "rnn_tanh, rnn_relu, gru, lstm.")] = SETTINGS.cell,
    directions: Annotated[int, _option(BASE, "1 or 2.")] = SETTINGS.directions,
    optimiser: Annotated[str, _option(BASE, f"{', '.join(OPTIMISERS)}.")] = SETTINGS.optimiser,
    clip: Annotated[float, _option(BASE, "Largest norm of the gradient.")] = SETTINGS.clip,
    epochs: Annotated[int, _option(BASE, "Of each trial.")] = SETTINGS.epochs,
    batch: Annotated[int, _option(BASE, "B.")] = SETTINGS.batch,
    T: Annotated[int, _option(BASE, "Length, of the adding problem.", "--T")] = SETTINGS.T,
    size: Annotated[int, _option(BASE, "Sequences, of the adding problem.")] = SETTINGS.size,
    backend: Annotated[str, _option(BASE, "What trains.")] = PLAN.backend,
    seed: Annotated[int, typer.Option(help="Of the search and of every training.")] = PLAN.seed,
    grace: Annotated[
        float, typer.Option(help="Seconds without a sign after which a worker is dead.", min=2)
    ] = 20.0,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep the results here: asv's results (.asv/results), for the report."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Search learning rate, hidden size, layers and dropout; resumable, by any number of workers.

    The grid takes the very values; random and TPE choose among the sizes and between the smallest
    and the largest learning rate (logarithmic) and dropout. A trial is scored on a fifth of the
    training part that it does not learn from; the best then learns from all of it and is looked at
    on the test part, once. Run the same command again to go on after a kill, or elsewhere at the
    same time to share the work: no trial is lost, and none has two results.
    """
    try:
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
    except (InputError, NotImplementedError) as error:
        leave(USAGE, str(error))
    from rnnbench.search import results, worker
    from rnnbench.training import tasks

    name = study or f"{task}-{cell}-{strategy}"
    try:
        data = tasks.load(plan.base)
        opened = worker.open_study(plan, storage, name)
        with progress("searching", plan.trials) as advance:
            worker.Worker(plan, opened, data, grace).work(_upto(advance))
    except (InputError, tasks.MissingDataError) as error:
        leave(USAGE, str(error))
    except worker.SearchError as error:
        leave(BROKEN, str(error))
    found = results.best(opened)
    test = None if found is None else results.tested(plan, found.params, data)
    record = results.record(plan, opened, test)
    kept = results.append(record, save) if save else None
    if as_json:
        typer.echo(json.dumps(record, indent=1, allow_nan=False))
    else:
        _print(record, kept)
    raise typer.Exit(NOTHING_MEASURED if found is None else GOOD)


search.__doc__ = f"{search.__doc__}\n    {TEXT}"


def _numbers(name: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """What stands between commas; InputError for what is no such number."""
    try:
        return tuple(kind(part) for part in listed(text))
    except ValueError:
        raise InputError(
            f"{name} must be numbers, like {_text(getattr(SPACE, name))}; got {text!r}"
        ) from None


def _upto(advance: Callable[[], None]) -> Callable[[int], None]:
    """Progress is told how many are done, not that one more is."""
    shown = 0

    def upto(done: int) -> None:
        nonlocal shown
        for _ in range(done - shown):
            advance()
        shown = max(shown, done)

    return upto


def _print(record: dict[str, Any], kept: Path | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(_table(record))
    more = len(record["trials"]) - SHOWN
    if more > 0:
        console.print(f"… and {more} more; --json has all of them")
    for row in record["trials"]:
        if row["diverged"]:
            console.print(Text(f"slot {row['slot']}: {row['diverged']}", "bold red"))
    if record["test"] is not None:
        console.print(
            f"slot {record['best']}, trained on the whole training part: "
            f"{record['test']:.4g} on the test part"
        )
    if kept is not None:
        console.print(Text(f"kept in {kept}"), soft_wrap=True)


def _table(record: dict[str, Any]) -> Table:
    """The best trials first."""
    from rich import box
    from rich.table import Table

    higher = record["plan"]["base"]["task"] == "japanese_vowels"
    scored = [row for row in record["trials"] if row["value"] is not None]
    scored.sort(key=lambda row: -row["value"] if higher else row["value"])
    what = "accuracy" if higher else "error"
    title = f"{record['study']}: {len(record['trials'])} trials"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("slot", f"{what}, held out", "lr", "H", "L", "dropout", "seconds"):
        table.add_column(heading, justify="right")
    for row in scored[:SHOWN]:
        table.add_row(
            str(row["slot"]), f"{row['value']:.4g}", f"{row['lr']:.3g}", str(row["hidden_size"]),
            str(row["layers"]), f"{row['dropout']:.2f}", f"{row['seconds']:.2f}",
        )  # fmt: skip
    return table
