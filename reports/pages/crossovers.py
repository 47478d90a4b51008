"""The page "Crossovers": which backend is fastest where, how surely, and what moved.

Of the medians of one commit: the fastest is a *tie* with every backend whose 99 % interval of the
ratio to it holds 1 (`ratios`), and with one whose noise is not known. A *boundary* lies between two
neighbouring cases whose winners have none in common; it moved where a case's winners have none in
common with those at the last clean commit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import pandas as pd

from reports.data import ratios
from reports.data.report import Report
from reports.data.rows import groups, series_of
from reports.pages.template import fill
from reports.sections.speed import PHASES
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.page import Frame

WHERE = ["kind", "cell", "layers", "directions"]
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Winner:
    """The fastest in one case. ``tied``: backends that may be as fast; ``lead`` over the next."""

    backend: str
    tied: tuple[str, ...]
    lead: float
    runner_up: str
    seconds: float

    @property
    def names(self) -> set[str]:
        return {self.backend, *self.tied}


@dataclass
class Grid:
    """One cell and phase: a line per T, a column per shape."""

    title: str
    shapes: list[str]
    lines: list[tuple[str, list[Winner | None]]]
    boundaries: list[str]


def render(report: Report, bases: Mapping[str, str], frame: Frame) -> str:
    """Return the whole page; ``bases``: machine → its last clean commit."""
    sections: list[dict[str, Any]] = []
    rows = report.rows
    for (machine, environment), own in groups(report.newest, "machine", "environment"):
        base = bases.get(machine, "")
        before = rows[
            (rows["machine"] == machine)
            & (rows["environment"] == environment)
            & (rows["commit"] == base)
        ]
        about = {"machine": machine, "environment": environment, "base": base}
        sections.append({"anchor": f"x{len(sections)}"} | about | _section(own, before))
    return fill("crossovers.html.j2", frame, sections=sections)


def winners(rows: pd.DataFrame) -> dict[Place, Winner]:
    """Return (phase, cell, layers, directions, T, shape) → the fastest of two or more timed."""
    timed = rows[(rows["group"] == "speed") & (rows["value"] > 0) & rows["backend"].notna()]
    timed = timed.assign(error=ratios.log_error(timed["ci_a"], timed["ci_b"]))
    timed = timed.sort_values("value", kind="stable")
    keys = [*WHERE, "T", "shape"]
    columns = [timed[name].fillna("").tolist() for name in keys]
    places: dict[Place, dict[str, tuple[float, float]]] = {}
    figures = zip(timed["backend"], timed["value"], timed["error"], strict=True)
    for place, (backend, value, error) in zip(zip(*columns, strict=True), figures, strict=True):
        places.setdefault(place, {}).setdefault(backend, (value, error))
    return {
        place: _winner(places[place])
        for place, _ in groups(rows, *keys)
        if len(places.get(place, ())) > 1
    }


def _winner(timed: Mapping[str, tuple[float, float]]) -> Winner:
    """Return the fastest; ``timed``: backend → seconds and relative standard error, in order."""
    (first, (least, error)), *others = timed.items()
    tied = []
    for backend, (value, other) in others:
        margin = ratios.Z99 * math.hypot(error, other)
        if not math.log(value / least) > margin:  # an unknown margin proves nothing
            tied.append(backend)
    runner_up, (second, _) = others[0]
    return Winner(first, tuple(tied), second / least, runner_up, least)


def moved(now: Mapping[Place, Winner], before: Mapping[Place, Winner]) -> list[str]:
    """Return a sentence for each case that another backend wins than before, beyond doubt."""
    return [
        f"{described(place)}: {_names(before[place])} → {_names(winner)}"
        for place, winner in now.items()
        if place in before and not winner.names & before[place].names
    ]


def described(place: Place) -> str:
    """Return ``gru, inference, T=128, medium``."""
    kind, cell, layers, directions, T, shape = place
    nets = [text.plural(layers, "layer")] if isinstance(layers, int) and layers > 1 else []
    nets += ["both directions"] * (directions == 2)
    return ", ".join([cell, kind, *nets, f"T={T}", _shape(shape)])


def _names(winner: Winner) -> str:
    return " or ".join([winner.backend, *winner.tied])


def _section(rows: pd.DataFrame, before: pd.DataFrame) -> dict[str, Any]:
    """Return one machine and environment; ``compared``: cases measured at the base, too."""
    now, then = winners(rows), winners(before)
    phases: dict[str, list[Grid]] = {}
    for where in dict.fromkeys(place[:4] for place in now):
        phases.setdefault(where[0], []).append(_grid(where, now))
    return {
        "commit": str(rows["commit"].iloc[0]),
        "series": series_of(rows),
        "phases": sorted(phases.items(), key=lambda phase: (phase[0] not in PHASES, phase[0])),
        "moved": moved(now, then),
        "compared": len(set(now) & set(then)),
    }


def _grid(where: Place, now: Mapping[Place, Winner]) -> Grid:
    own = {place[4:]: winner for place, winner in now.items() if place[:4] == where}
    steps = sorted({T for T, _ in own}, key=lambda T: (not isinstance(T, int), T))
    shapes = sorted({shape for _, shape in own}, key=_size)
    _, cell, layers, directions = where
    title = f"{cell}, {layers or '?'} layer{'s' * (layers != 1)}, {directions or '?'} direction"
    title += "s" * (directions != 1)
    lines = [(f"T={T}", [own.get((T, shape)) for shape in shapes]) for T in steps]
    boundaries = [
        _boundary(f"T={a}", f"T={b}", _shape(shape), own.get((a, shape)), own.get((b, shape)))
        for shape, (a, b) in product(shapes, pairwise(steps))
    ]
    boundaries += [
        _boundary(_shape(a), _shape(b), f"T={T}", own.get((T, a)), own.get((T, b)))
        for T, (a, b) in product(steps, pairwise(shapes))
    ]
    return Grid(
        title, [_shape(shape) for shape in shapes], lines, [one for one in boundaries if one]
    )


def _boundary(first: str, last: str, at: str, a: Winner | None, b: Winner | None) -> str:
    """Return a sentence where winners differ beyond doubt, else empty text."""
    if a is None or b is None or a.names & b.names:
        return ""
    return f"{at}: {_names(a)} at {first}, {_names(b)} at {last}"


def _sizes() -> Mapping[str, Any]:
    """Return the suite's shapes by name."""
    try:
        from benchmarks.cases import SHAPES  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return {}
    return SHAPES  # type: ignore[no-any-return,unused-ignore]


def _shape(name: str) -> str:
    """Return ``medium (B=16, H=128)``."""
    size = _sizes().get(name)
    return f"{name} (B={size.B}, H={size.H})" if size else str(name)


def _size(name: str) -> tuple[int, str]:
    size = _sizes().get(name)
    return (size.B * size.H * size.H if size else 0, str(name))
