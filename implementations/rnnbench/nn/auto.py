"""What ``backend="auto"`` takes on a CPU: the faster of torch's kernels and ours, as measured.

`TABLE` holds how many times as fast as ``native`` the backend ``numba`` was at the points of a grid
of cells, phases, dtypes, packed or not, threads, B and H, with what it was measured on. A case
takes numba where the low end of the interval is at least 1 at all points around it: the grid's next
B and H below and above, or its last. It was measured with `STEPS` steps: numba packs the weights in
every call, which longer sequences repay better and shorter ones worse, so that these go to torch.
So does whatever else the grid does not hold: other devices and dtypes, projections, autocast,
forward-mode derivatives.

``python -m rnnbench.nn.auto`` measures the table anew, in some minutes, on a machine that should
have nothing else to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnbench.spec import CELLS, PHASES, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = Path(__file__).with_name("auto.json")
BATCHES = (1, 8, 64)
HIDDEN = (16, 64, 256, 512)
DTYPES = ("float32", "float64")
STEPS = 32
SECONDS = 0.1


class Point(NamedTuple):
    """One point of the grid."""

    threads: int
    cell: str
    phase: str
    dtype: str
    packed: bool
    B: int
    H: int


@cache
def _ratios() -> dict[Point, float]:
    """Point → low end of the interval of native's time over numba's."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["points"]
    return {Point(*row["point"]): row["low"] for row in rows}


def _around(grid: Sequence[int], n: int) -> set[int]:
    """The grid's next values below and above."""
    below, above = [g for g in grid if g <= n], [g for g in grid if g >= n]
    return {below[-1] if below else grid[0], above[0] if above else grid[-1]}


@cache
def numba_is_faster(spec: Spec, phase: str, packed: bool, T: int, B: int, threads: int) -> bool:
    """Whether it was measured to be, at all points of the grid around the case."""
    if spec.dtype not in DTYPES or spec.proj_size or B < 1 or T < STEPS:
        return False
    ratios = _ratios()
    measured = sorted({point.threads for point in ratios})
    count = max((n for n in measured if n <= threads), default=measured[0])
    points = [
        Point(count, spec.cell, phase, spec.dtype, packed, near_B, near_H)
        for near_B in _around(BATCHES, B)
        for near_H in _around(HIDDEN, spec.hidden_size)
    ]
    return all(ratios.get(point, 0.0) >= 1.0 for point in points)


def _calls(point: Point) -> dict[str, Callable[[], object]]:
    """The point's case on both backends."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    from rnnbench import nn

    kind, _, nonlinearity = point.cell.partition("_")
    options: dict[str, Any] = {"nonlinearity": nonlinearity} if nonlinearity else {}
    dtype, training = getattr(torch, point.dtype), point.phase == "training"
    lengths = torch.linspace(STEPS, STEPS // 2, point.B).long()
    x = torch.randn(STEPS, point.B, point.H, dtype=dtype)

    def call(backend: str) -> Callable[[], object]:
        torch.manual_seed(0)
        module = getattr(nn, kind.upper())(
            point.H, point.H, dtype=dtype, backend=backend, **options
        )
        own = x.clone().requires_grad_(training)
        given = pack_padded_sequence(own, lengths) if point.packed else own

        def forward() -> torch.Tensor:
            y = module(given)[0]
            return y.data if point.packed else y  # type: ignore[no-any-return]

        upstream = torch.ones_like(forward().detach())

        def infer() -> object:
            with torch.inference_mode():
                return forward()

        def train() -> object:
            sources = [own, *module.parameters()]
            return torch.autograd.grad(forward(), sources, upstream, retain_graph=point.packed)

        return train if training else infer

    return {backend: call(backend) for backend in ("native", "numba")}


def measure(threads: int) -> Iterator[dict[str, Any]]:
    """Every point with that many threads, which this process must have been given."""
    import torch

    from rnnbench.comparison.statistics import ratio
    from rnnbench.comparison.timing import alternate

    torch.set_num_threads(threads)
    for parts in product(CELLS, PHASES, DTYPES, (False, True), BATCHES, HIDDEN):
        point = Point(threads, *parts)
        calls = _calls(point)
        for call in calls.values():
            call()
        found = alternate(calls, SECONDS)
        value, low, high = ratio(found["native"].seconds, found["numba"].seconds)
        yield {
            "point": point,
            "ratio": round(value, 3),
            "low": round(low, 3),
            "high": round(high, 3),
        }


def _in_a_process(threads: int) -> Iterator[dict[str, Any]]:
    """`measure` with the runtimes' own knobs set before they start."""
    from rnnbench.comparison.threads import environment

    with subprocess.Popen(  # noqa: S603 (this very module)
        [sys.executable, "-m", "rnnbench.nn.auto", str(threads)], stdout=subprocess.PIPE, text=True,
        env=environment(threads),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise RuntimeError(f"measuring with {threads} threads ended with {process.returncode}")


def rebuild() -> None:
    """Measure with 1 thread and with all cores, and write the table once all of it is there."""
    import platform
    from importlib.metadata import version

    from rich.progress import track

    from rnnbench.comparison.threads import cores

    total = len(CELLS) * len(PHASES) * len(DTYPES) * 2 * len(BATCHES) * len(HIDDEN)
    points = []
    for threads in sorted({1, cores()}):
        title = f"{threads} thread" + "s" * (threads > 1)
        points += list(track(_in_a_process(threads), title, total))
    about = {
        "machine": platform.platform(),
        "cores": cores(),
        "T": STEPS,
        **{name: version(name) for name in ("torch", "numba")},
    }
    lines = ",\n".join(json.dumps(point) for point in points)
    new = TABLE.with_suffix(".new")
    new.write_text(
        f'{{"about": {json.dumps(about)},\n"points": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    os.replace(new, TABLE)


def main() -> None:
    """Rebuild the table; given threads, print their points."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m rnnbench.nn.auto",
        description="Measure anew which of native and numba is faster, on a machine with nothing "
        f"else to do, for some ten minutes, and write {TABLE.name}.",
    )
    parser.add_argument(
        "threads", nargs="?", type=int, help="print the points with so many threads, write nothing"
    )
    threads = parser.parse_args().threads
    if threads is None:
        rebuild()
        return
    if threads < 1:
        parser.error(f"threads must be 1 or more; got {threads}")
    from rnnbench.comparison.threads import confine

    confine(threads)
    for row in measure(threads):
        print(json.dumps(row), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
