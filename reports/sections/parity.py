"""The parity matrix: backend × cell, each with its worst error against its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.sections.speed import WORDS
from rnnbench.judge.site.data.results import Status
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.figures import Figure

# Which benchmark checks which phase; in training that is the output and the gradients.
PHASES = {
    "inference": "inference",
    "forward": "inference",
    "training": "training",
    "gradient": "training",
}
NOT_GATED = {"chaotic"}


@dataclass(frozen=True)
class Worst:
    """The quantity of one case that is nearest to its budget, or furthest beyond."""

    backend: str
    cell: str
    phase: str
    dtype: str
    case: str
    passed: bool
    quantity: str
    error: float
    budget: float

    @property
    def used(self) -> float:
        """Share of the budget; infinite for an error that is not a number."""
        if math.isnan(self.error):
            return math.nan if self.passed else math.inf
        return self.error / self.budget if self.budget > 0 else math.nan


@dataclass
class Table:
    """One phase: the cells, and lines (backend, dtype, a figure per cell)."""

    phase: str
    cells: list[str]
    lines: list[tuple[str, str, list[Figure]]]


@dataclass
class Matrix:
    """A table per phase, and every case behind them."""

    tables: list[Table]
    cases: list[Worst]


def parities(rows: pd.DataFrame) -> list[Worst]:
    """Return each case whose parity any benchmark checked, once, the worst first."""
    found = [_worst(line) for line in _checkable(rows) if line["parity"] is not None]
    return sorted(_once(found), key=_rank, reverse=True)


def matrix(rows: pd.DataFrame, series: Mapping[str, int]) -> Matrix:
    """Return the tables of one machine and commit."""
    lines = _checkable(rows)
    cases = parities(rows)
    cells = list(dict.fromkeys(line["cell"] for line in lines))
    absent = {
        (line["backend"], PHASES[line["kind"]], line["cell"]): line["status"]
        for line in lines
        if line["parity"] is None and line["status"] in WORDS
    }
    keys = _keys(cases, [line["backend"] for line in lines], series)
    tables = []
    for phase in ("inference", "training"):
        own = [case for case in cases if case.phase == phase]
        table = [
            (name, dtype, [_figure((name, dtype, phase, cell), own, absent) for cell in cells])
            for name, dtype in keys
        ]
        tables += [Table(phase, cells, table)] if own else []
    return Matrix(tables, cases)


def _keys(
    cases: list[Worst], backends: list[str], series: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Return backend and dtype of each line; also of backends that were never checked."""
    keys = {(case.backend, case.dtype) for case in cases}
    keys |= {(name, "") for name in set(backends) - {name for name, _ in keys}}
    return sorted(keys, key=lambda key: (series[key[0]], key[1]))


def _checkable(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    known = rows[rows["backend"].notna() & rows["cell"].notna() & rows["kind"].isin(list(PHASES))]
    return known.to_dict("records")


def _once(cases: list[Worst]) -> list[Worst]:
    """Keep the worse of two: speed and parity benchmarks check the same case."""
    kept: dict[tuple[str, ...], Worst] = {}
    for case in cases:
        key = (case.backend, case.cell, case.phase, case.dtype, case.case)
        if key not in kept or _rank(case) > _rank(kept[key]):
            kept[key] = case
    return list(kept.values())


def _rank(case: Worst) -> float:
    """Rank failures first, then the nearest to the budget; an unknown share last."""
    used = -1.0 if math.isnan(case.used) else case.used
    return used if case.passed else 1e9 + min(used, 1e9)


def _worst(line: Mapping[Any, Any]) -> Worst:
    parity = line["parity"]
    quantities = parity.get("quantities")
    gated = [
        (name, _float(entry.get("error")), _float(entry.get("budget")))
        for name, entry in (quantities.items() if isinstance(quantities, dict) else ())
        if isinstance(entry, dict) and entry.get("status") not in NOT_GATED
    ]
    whole = (
        str(parity.get("worst_quantity") or ""),
        _float(parity.get("worst_error")),
        _float(parity.get("worst_budget")),
    )
    name, error, budget = max(gated, key=_share, default=whole)
    identity = line["identity"] or {}
    dtype = dict(line["params"]).get("dtype") or identity.get("dtype") or ""
    return Worst(
        backend=line["backend"],
        cell=line["cell"],
        phase=PHASES[line["kind"]],
        dtype=str(dtype),
        case=line["case"],
        passed=line["status"] != Status.PARITY,
        quantity=name,
        error=error,
        budget=budget,
    )


def _share(entry: tuple[str, float, float]) -> float:
    _, error, budget = entry
    if math.isnan(error):
        return math.inf
    return error / budget if budget > 0 else 0.0


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _figure(
    place: tuple[str, str, str, str],
    cases: list[Worst],
    absent: Mapping[tuple[str, str, str], Status],
) -> Figure:
    backend, _, phase, cell = place
    own = [case for case in cases if (case.backend, case.dtype, case.phase, case.cell) == place]
    if not own:
        status = absent.get((backend, phase, cell))
        return Figure(WORDS[status] if status else text.NONE, look="muted")
    worst = max(own, key=_rank)
    failed = sum(not case.passed for case in own)
    share = f"{text.number(worst.error)} of {text.number(worst.budget)} eps"
    note = f"{share}\n{worst.quantity}".rstrip()
    if failed:
        return Figure(f"✖ FAIL {failed} of {len(own)}", note, worst.used, "bad")
    used = f" · {text.number(worst.used * 100, 2)} %" if math.isfinite(worst.used) else ""
    return Figure(f"✔ {len(own)} ok{used}", note, worst.used, "good")
