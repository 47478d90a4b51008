"""``rnnbench roofline``: what this processor can do at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnbench.cli.exits import leave
from rnnbench.cli.options import thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import threads as pools
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, TEXT, USAGE

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.roofline.store import Rate, Roof, Roofline


BUSY = (
    "rnnbench: the machine was busy: on {threads} thread(s) a median is below {share:.0%} of its "
    "best, which may be too low as well; measure again when nothing else runs"
)


def roofline(
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, e.g. 1,2; by default 1 and all cores.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep it here too: asv's results (.asv/results), for the report."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure this machine's roofline: multiply-adds per second, and bytes read from each cache.

    About ten seconds for each number of threads. The result is kept in the user's data, in the
    place of an older one, and is what ``rnnbench compare`` holds its figures against. The best of
    the rounds is the roof; a median far below it says that the machine was busy. How it is
    measured is in the module rnnbench.roofline.
    """
    try:
        counts = thread_counts(threads or ",".join(map(str, sorted({1, pools.cores()}))))
        writable(save)
    except InputError as error:
        leave(USAGE, str(error))
    from rnnbench.roofline import measure, store
    from rnnbench.roofline.caches import CachesError

    counts = sorted(set(counts))
    try:
        with progress("measuring", len(counts) * measure.STEPS) as advance:
            found = measure.measure(counts, advance)
    except CachesError as error:
        leave(BROKEN, str(error))
    try:
        kept = [store.save(found, place) for place in (store.default_folder(), save) if place]
    except OSError as error:
        leave(BROKEN, f"the roofline cannot be kept: {error}")
    for roof in found.roofs:
        if not roof.steady:
            typer.echo(BUSY.format(threads=roof.threads, share=store.STEADY), err=True)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print(found, kept)


roofline.__doc__ = f"{roofline.__doc__}\n    {TEXT}"


def _print(found: Roofline, kept: list[Path]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for roof in found.roofs:
        console.print(_table(found, roof))
    for path in kept:
        console.print(Text(f"kept in {path}"), soft_wrap=True)


def _table(found: Roofline, roof: Roof) -> Table:
    from rich import box
    from rich.table import Table

    plural = "s" if roof.threads > 1 else ""
    title = f"{found.machine['cpu']}, {found.vectors}, {roof.threads} thread{plural}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("")
    for heading in ("best", "median", "unit", "read by a thread", "fits"):
        table.add_column(heading, justify="right")
    for dtype, rate in roof.peak.items():
        table.add_row(f"multiply-adds, {dtype}", *_numbers(rate), "GFLOP/s", "", "")
    for one in roof.bandwidths:
        sizes = (_size(one.level.read), _size(one.level.capacity) if one.level.capacity else "")
        table.add_row(f"reads from {one.level.name}", *_numbers(one.rate), "GB/s", *sizes)
    return table


def _numbers(rate: Rate) -> tuple[str, str]:
    return f"{rate.best:.1f}", f"{rate.median:.1f}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
