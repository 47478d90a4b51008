"""``rnnbench check``: parity of the backends over a grid of cases."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from rnnbench import interface
from rnnbench.cli import exits, output
from rnnbench.cli.options import Json, panel
from rnnbench.cli.progress import progress
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED
from rnnbench.spec import CELLS, DTYPES, PHASES, Case, Spec

if TYPE_CHECKING:
    from rnnbench.parity.check import Parity, Row

SHOWN = 40
"""Failures that the text lists."""
Groups = dict[tuple[str, str, str], list["Row"]]
"""Backend, cell and dtype → their rows."""
_option = panel("Grid: repeat an option for several values")


@exits.command()
def check(
    backend: Annotated[
        list[str] | None,
        typer.Argument(
            help="Backends to check. If none, all registered ones but onnxruntime and jax, which "
            "are checked when they are named: JAX compiles anew for every shape."
        ),
    ] = None,
    cell: Annotated[list[str], _option(f"Cell: {', '.join(CELLS)}.")] = list(CELLS),  # noqa: B006
    T: Annotated[list[int], _option("Sequence length.", "--T")] = [1, 2, 17, 128],  # noqa: B006
    layers: Annotated[list[int], _option("Layers.")] = [1, 3],  # noqa: B006
    directions: Annotated[list[int], _option("1 or 2.")] = [1, 2],  # noqa: B006
    bias: Annotated[list[str], _option("yes or no.")] = ["yes", "no"],  # noqa: B006
    batch: Annotated[list[int], _option("Batch size.")] = [1, 5],  # noqa: B006
    dtype: Annotated[list[str], _option(f"{', '.join(DTYPES)}.")] = ["float32", "float64"],  # noqa: B006
    phase: Annotated[list[str], _option("inference or training.")] = list(PHASES),  # noqa: B006
    input_size: Annotated[int, _option("Input size I.")] = 7,
    hidden_size: Annotated[int, _option("Hidden size H.")] = 16,
    as_json: Json = False,
) -> int:
    """Check outputs, states and every gradient of the backends against the float64 oracle.

    Every combination of the grid is a case. An error is given in eps, the unit roundoff of the
    dtype, next to its budget; the budget is derived in the module rnnbench.parity.budget.
    """
    from rnnbench.parity import check

    started = time.monotonic()
    names = backend or [n for n in interface.backends() if n not in interface.PEERS]
    for name in names:
        interface.get_backend(name)
    if not set(bias) <= {"yes", "no"}:
        raise InputError(f"--bias must be 'yes' or 'no'; got {bias!r}")
    cases = [
        Case(Spec(c, input_size, hidden_size, L, D, b == "yes", d), t, n, p)
        for c, t, L, D, b, n, d, p in itertools.product(
            cell, T, layers, directions, bias, batch, dtype, phase
        )
    ]
    result = check.Parity()
    groups: Groups = {}
    with progress("checking", len(cases) * len(names)) as advance:
        for case, name in itertools.product(cases, names):
            rows = check.check(name, [case]).rows
            result.rows += rows
            groups.setdefault((name, case.spec.cell, case.spec.dtype), []).extend(rows)
            advance()
    seconds = time.monotonic() - started
    record = {"cases": len(cases), "seconds": round(seconds, 3)} | _as_dict(result, groups)
    title = f"Parity over {len(cases)} cases, {seconds:.0f} s"
    output.show(record, _parts(result, _table(title, groups)), as_json=as_json)
    return _exit_code(result)


def _exit_code(result: Parity) -> int:
    statuses = {row.status for row in result.failures}
    if statuses == {"raised"}:
        return BROKEN
    if statuses:
        return FAILED
    return NOTHING_MEASURED if _unmeasured(result) else GOOD


def _unmeasured(result: Parity) -> list[str]:
    """Return the backends without any gated quantity: nothing says that they are right."""
    gated = {row.candidate for row in _gated(result.rows)}
    return sorted({row.candidate for row in result.rows} - gated)


def _gated(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.failed or row.status == "ok"]


def _worst(rows: list[Row]) -> Row | None:
    return max(_gated(rows), key=lambda row: row.share, default=None)


def _parts(result: Parity, table: Table) -> Iterator[output.Part]:
    """Yield the table, the failures and the verdict."""
    yield table
    worst = _worst(result.rows)
    if worst is not None and not worst.failed:
        yield f"nearest to its budget: {worst.candidate}, {worst.quantity} of {worst.case}"
    for row in result.failures[:SHOWN]:
        figures = "" if math.isnan(row.error) else f"{row.error:.3g} eps, budget {row.budget:.3g}"
        yield (
            f"{row.status}: {row.candidate} {row.quantity} {figures} {row.detail} of {row.case}",
            "red",
        )
    if len(result.failures) > SHOWN:
        yield f"… and {len(result.failures) - SHOWN} more; --json has all of them"
    yield from (f"unsupported: {reason}" for reason in _reasons(result))
    unmeasured = _unmeasured(result)
    if unmeasured:
        yield f"NOTHING MEASURED of {', '.join(unmeasured)}", output.BAD
    if result.failures:
        yield "FAILED"
    elif not unmeasured:
        yield "PASSED"


def _table(title: str, groups: Groups) -> Table:
    """Return one line per backend, cell and dtype; it fits 80 columns."""
    table = output.table(
        title, "backend", "cell", "dtype", "verdict", "gated", "worst", "of budget", left=4
    )
    table.add_column("quantity", overflow="fold")
    for (name, cell, dtype), rows in groups.items():
        worst = _worst(rows)
        gated = len(_gated(rows))
        failed = sum(row.failed for row in rows)
        figures = ["", "", ""]
        if worst is not None:
            share = "∞" if math.isinf(worst.share) else f"{worst.share:.0%}"
            figures = [f"{worst.error:.2f} eps", share, worst.quantity]
        verdict = Text("ok", output.GOOD)
        if failed or not gated:
            verdict = Text(f"FAIL {failed}" if failed else "NOTHING", output.BAD)
        table.add_row(name, cell, dtype, verdict, str(gated), *figures)
    return table


def _reasons(result: Parity) -> list[str]:
    return sorted({row.detail for row in result.rows if row.status == "unsupported"})


def _as_dict(result: Parity, groups: Groups) -> dict[str, Any]:
    """Return verdict, worst quantity per backend, cell and dtype, and every failure in full."""
    return {
        "passed": result.passed and not _unmeasured(result),
        "measured": result.measured,
        "unmeasured": _unmeasured(result),
        "groups": [
            {
                "backend": name,
                "cell": cell,
                "dtype": dtype,
                "quantities": len(rows),
                "failed": sum(row.failed for row in rows),
                "chaotic": sum(row.status == "chaotic" for row in rows),
                "unsupported": sum(row.status == "unsupported" for row in rows),
                "worst": (worst := _worst(rows)) and _row(worst),
            }
            for (name, cell, dtype), rows in groups.items()
        ],
        "failures": [_row(row) for row in result.failures],
        "unsupported": _reasons(result),
    }


def _row(row: Row) -> dict[str, Any]:
    """Return a row for JSON, which has no NaN: a number that does not exist is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(row).items()
    }
