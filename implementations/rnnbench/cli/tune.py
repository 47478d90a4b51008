"""``rnnbench tune``: measure the table that ``backend="auto"`` goes by."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench.cli import exits, output
from rnnbench.cli.options import Json, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import threads as pools
from rnnbench.errors import BrokenError
from rnnbench.exit_codes import GOOD
from rnnbench.files import atomic

if TYPE_CHECKING:
    from rnnbench.nn.auto import Point

SECONDS = 0.1
"""Time of each point of the grid, both backends together."""


@exits.command()
def tune(
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, e.g. 1,2; by default 1 and all cores.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the table there instead of into the package.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure which of torch's kernels and numba's is faster, on a machine with nothing else to do.

    The table has all cells, phases, dtypes, dense and packed, some batch and hidden sizes; modules
    with backend="auto" go by it. It takes some five minutes for each number of threads, and is
    written once all of it is measured.
    """
    from rnnbench.nn import auto

    counts = sorted(set(thread_counts(threads or f"1,{pools.cores()}")))
    target = table or auto.TABLE
    writable(target.parent, "the folder of table")
    points: list[dict[str, Any]] = []
    with progress("measuring", len(counts) * len(list(_grid()))) as advance:
        for count in counts:
            for point in _in_a_process(count):
                points.append(point)
                advance()
    about = {
        "machine": platform.platform(),
        "cores": pools.cores(),
        "T": auto.STEPS,
        **{name: version(name) for name in ("torch", "numba")},
    }
    lines = ",\n".join(map(json.dumps, points))
    atomic.write(target, f'{{"about": {json.dumps(about)},\n"points": [\n{lines}\n]}}\n')
    faster = sum(point["low"] >= 1 for point in points)
    said = f"numba is faster in {faster} of {len(points)} cases; kept in {target}"
    output.show({"about": about, "points": points}, [said], as_json=as_json)
    return GOOD


def _grid() -> Iterator[tuple[Any, ...]]:
    from rnnbench.nn import auto
    from rnnbench.spec import CELLS, PHASES

    return product(CELLS, PHASES, auto.DTYPES, (False, True), auto.BATCHES, auto.HIDDEN)


def _in_a_process(count: int) -> Iterator[dict[str, Any]]:
    """Yield `measure`'s points from a process whose runtimes are set before they start."""
    with subprocess.Popen(  # noqa: S603 (this very module)
        [sys.executable, "-m", "rnnbench.cli.tune", str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env=pools.environment(count),
    ) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise BrokenError(f"measuring with {count} threads ended with {process.returncode}")


def measure(count: int) -> Iterator[dict[str, Any]]:
    """Yield every point with that many threads, which this process must have been given."""
    import torch

    from rnnbench.comparison.statistics import ratio
    from rnnbench.comparison.timing import alternate
    from rnnbench.nn.auto import Point

    torch.set_num_threads(count)
    for parts in _grid():
        point = Point(count, *parts)
        calls = _calls(point)
        for call in calls.values():
            call()
        found = alternate(calls, SECONDS)
        value, low, high = ratio(found["native"].seconds, found["numba"].seconds)
        rounded = {"ratio": round(value, 3), "low": round(low, 3), "high": round(high, 3)}
        yield {"point": point, **rounded}


def _calls(point: Point) -> dict[str, Callable[[], Any]]:
    """Return the point's case on both backends."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    from rnnbench.nn.auto import STEPS
    from rnnbench.nn.modules import of_spec
    from rnnbench.spec import Spec

    spec = Spec(point.cell, point.H, point.H, dtype=point.dtype)
    training = point.phase == "training"
    lengths = torch.linspace(STEPS, STEPS // 2, point.B).long()
    x = torch.randn(STEPS, point.B, point.H, dtype=getattr(torch, point.dtype))

    def call(backend: str) -> Callable[[], Any]:
        torch.manual_seed(0)
        module = of_spec(spec, backend)
        own = x.clone().requires_grad_(training)
        given = pack_padded_sequence(own, lengths) if point.packed else own

        def forward() -> Any:
            y = module(given)[0]
            return y.data if point.packed else y

        upstream = torch.ones_like(forward().detach())

        def infer() -> Any:
            with torch.inference_mode():
                return forward()

        def train() -> Any:
            sources = [own, *module.parameters()]
            return torch.autograd.grad(forward(), sources, upstream, retain_graph=point.packed)

        return train if training else infer

    return {backend: call(backend) for backend in ("native", "numba")}


if __name__ == "__main__":
    pools.confine(int(sys.argv[1]))
    for row in measure(int(sys.argv[1])):
        print(json.dumps(row), flush=True)  # noqa: T201
