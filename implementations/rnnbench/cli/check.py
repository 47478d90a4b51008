"""``rnnbench check``: parity of the backends over a grid of cases."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench import interface
from rnnbench.cli.exits import leave
from rnnbench.cli.progress import progress
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED, TEXT, USAGE
from rnnbench.spec import CELLS, PHASES, Case, Spec

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.parity.check import Parity, Row

GRID = "Grid: repeat an option for several values"
SHOWN = 40


def _option(help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=GRID)


def check(
    backend: Annotated[
        list[str] | None,
        typer.Argument(
            help="Backends to check. If none, all registered ones but onnxruntime and jax, which "
            "are checked when they are named: JAX compiles anew for every shape."
        ),
    ] = None,
    cell: Annotated[list[str], _option("Cell.")] = list(CELLS),  # noqa: B006
    T: Annotated[list[int], _option("Sequence length.", "--T")] = [1, 2, 17, 128],  # noqa: B006
    layers: Annotated[list[int], _option("Layers.")] = [1, 3],  # noqa: B006
    directions: Annotated[list[int], _option("1 or 2.")] = [1, 2],  # noqa: B006
    bias: Annotated[list[str], _option("yes or no.")] = ["yes", "no"],  # noqa: B006
    batch: Annotated[list[int], _option("Batch size.")] = [1, 5],  # noqa: B006
    dtype: Annotated[list[str], _option("float32, float64, …")] = ["float32", "float64"],  # noqa: B006
    phase: Annotated[list[str], _option("inference or training.")] = list(PHASES),  # noqa: B006
    input_size: Annotated[int, _option("Input size I.")] = 7,
    hidden_size: Annotated[int, _option("Hidden size H.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check outputs, states and every gradient of the backends against the float64 oracle.

    Every combination of the grid is a case. An error is given in eps, the unit roundoff of the
    dtype, next to its budget; the budget is derived in the module rnnbench.parity.budget.
    """
    from rnnbench.parity import check

    started = time.monotonic()
    try:
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
    except InputError as error:
        leave(USAGE, str(error))

    result = check.Parity()
    with progress("checking", len(cases) * len(names)) as advance:
        for case in cases:
            for name in names:
                result.rows += check.check(name, [case]).rows
                advance()
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(json.dumps(_as_dict(result, len(cases), seconds), indent=1))
    else:
        _print(result, len(cases), seconds)
    raise typer.Exit(_exit_code(result))


check.__doc__ = f"{check.__doc__}\n    {TEXT}"


def _exit_code(result: Parity) -> int:
    statuses = {row.status for row in result.failures}
    if statuses == {"raised"}:
        return BROKEN
    if statuses:
        return FAILED
    return NOTHING_MEASURED if _unmeasured(result) else GOOD


def _unmeasured(result: Parity) -> list[str]:
    """Backends of which not one quantity was gated: nothing says that they are right."""
    gated = {row.candidate for row in result.rows if row.failed or row.status == "ok"}
    return sorted({row.candidate for row in result.rows} - gated)


def _groups(result: Parity) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by backend, cell and dtype."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in result.rows:
        cell, dtype = row.case.split("-")[0], _dtype(row.case)
        groups.setdefault((row.candidate, cell, dtype), []).append(row)
    return groups


def _dtype(case: str) -> str:
    return next(part for part in case.split("-") if part.startswith(("float", "bfloat")))


def _worst(rows: list[Row]) -> Row | None:
    gated = [row for row in rows if row.failed or row.status == "ok"]
    return max(gated, key=lambda row: row.share, default=None)


def _print(result: Parity, cases: int, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    console.print(_table(result, cases, seconds))
    worst = _worst(result.rows)
    if worst is not None and not worst.failed:
        console.print(f"nearest to its budget: {worst.candidate}, {worst.quantity} of {worst.case}")
    for row in result.failures[:SHOWN]:
        figures = "" if math.isnan(row.error) else f"{row.error:.3g} eps, budget {row.budget:.3g}"
        line = f"{row.status}: {row.candidate} {row.quantity} {figures} {row.detail} of {row.case}"
        console.print(Text(line, "red"))
    if len(result.failures) > SHOWN:
        console.print(f"… and {len(result.failures) - SHOWN} more; --json has all of them")
    for reason in _reasons(result):
        console.print(f"unsupported: {reason}")
    unmeasured = _unmeasured(result)
    if unmeasured:
        console.print(Text(f"NOTHING MEASURED of {', '.join(unmeasured)}", "bold red"))
    if result.failures:
        console.print("FAILED")
    elif not unmeasured:
        console.print("PASSED")


def _table(result: Parity, cases: int, seconds: float) -> Table:
    """One line per backend, cell and dtype; fits 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"Parity over {cases} cases, {seconds:.0f} s"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("backend", "cell", "dtype", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("gated", "worst", "of budget"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("quantity", overflow="fold")
    for (name, cell, dtype), rows in _groups(result).items():
        worst = _worst(rows)
        gated = sum(row.failed or row.status == "ok" for row in rows)
        failed = sum(row.failed for row in rows)
        figures = ["", "", ""]
        if worst is not None:
            share = "∞" if math.isinf(worst.share) else f"{worst.share:.0%}"
            figures = [f"{worst.error:.2f} eps", share, worst.quantity]
        verdict = Text("ok", "green")
        if failed or not gated:
            verdict = Text(f"FAIL {failed}" if failed else "NOTHING", "bold red")
        table.add_row(name, cell, dtype, verdict, str(gated), *figures)
    return table


def _reasons(result: Parity) -> list[str]:
    return sorted({row.detail for row in result.rows if row.status == "unsupported"})


def _as_dict(result: Parity, cases: int, seconds: float) -> dict[str, Any]:
    """Verdict, the worst quantity per backend, cell and dtype, and every failure in full."""
    groups = []
    for (name, cell, dtype), rows in _groups(result).items():
        worst = _worst(rows)
        groups.append(
            {
                "backend": name,
                "cell": cell,
                "dtype": dtype,
                "quantities": len(rows),
                "failed": sum(row.failed for row in rows),
                "chaotic": sum(row.status == "chaotic" for row in rows),
                "unsupported": sum(row.status == "unsupported" for row in rows),
                "worst": worst and _row(worst),
            }
        )
    return {
        "passed": result.passed and not _unmeasured(result),
        "measured": result.measured,
        "unmeasured": _unmeasured(result),
        "cases": cases,
        "seconds": round(seconds, 3),
        "groups": groups,
        "failures": [_row(row) for row in result.failures],
        "unsupported": _reasons(result),
    }


def _row(row: Row) -> dict[str, Any]:
    """A row for JSON, which has no NaN: a number that does not exist is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(row).items()
    }
