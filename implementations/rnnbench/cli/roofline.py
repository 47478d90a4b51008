"""``rnnbench roofline``: measure the limits of this processor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rnnbench.cli import exits, output
from rnnbench.cli.options import Json, Save, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import threads as pools
from rnnbench.exit_codes import BROKEN, GOOD

if TYPE_CHECKING:
    from rnnbench.roofline.store import Rate, Roof, Roofline

BUSY = (
    "rnnbench: the machine was busy: on {threads} thread(s) a median is below {share:.0%} of its "
    "best, which may be too low as well; measure again when nothing else runs"
)


@exits.command()
def roofline(
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, e.g. 1,2; by default 1 and all cores.")
    ] = None,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Measure this machine's roofline: multiply-adds per second, and bytes read from each cache.

    It takes about ten seconds for each number of threads. The result is kept in the user's data
    folder, where it replaces an older one; ``rnnbench compare`` compares its figures with it. The
    best of the rounds is the roof; a median far below it says that the machine was busy. How it is
    measured is in the module rnnbench.roofline.
    """
    counts = thread_counts(threads or ",".join(map(str, sorted({1, pools.cores()}))))
    writable(save)
    from rnnbench.roofline import measure, store

    counts = sorted(set(counts))
    with progress("measuring", len(counts) * measure.STEPS) as advance:
        found = measure.measure(counts, advance)
    try:
        kept = [store.save(found, place) for place in (store.default_folder(), save) if place]
    except OSError as error:
        exits.leave(BROKEN, f"the roofline cannot be kept: {error}")
    for roof in found.roofs:
        if not roof.steady:
            typer.echo(BUSY.format(threads=roof.threads, share=store.STEADY), err=True)
    output.show(found.as_dict(), _parts(found, kept), as_json=as_json)
    return GOOD


def _parts(found: Roofline, kept: list[Path]) -> Iterator[output.Part]:
    yield from (_table(found, roof) for roof in found.roofs)
    yield from (f"kept in {path}" for path in kept)


def _table(found: Roofline, roof: Roof) -> Table:
    plural = "s" if roof.threads > 1 else ""
    title = f"{found.machine['cpu']}, {found.vectors}, {roof.threads} thread{plural}"
    table = output.table(title, "", "best", "median", "unit", "read by a thread", "fits")
    for dtype, rate in roof.peak_gflops.items():
        table.add_row(f"multiply-adds, {dtype}", *_numbers(rate), "GFLOP/s", "", "")
    for one in roof.read_gbytes:
        sizes = (_size(one.read), _size(one.capacity) if one.capacity else "")
        table.add_row(f"reads from {one.name}", *_numbers(one), "GB/s", *sizes)
    return table


def _numbers(rate: Rate) -> tuple[str, str]:
    return f"{rate.best:.1f}", f"{rate.median:.1f}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
