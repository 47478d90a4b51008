"""``rnnbench compare``: backends against each other, and against torch.nn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench import interface
from rnnbench.cli.exits import leave
from rnnbench.cli.options import listed, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import plan as plans
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED, TEXT, USAGE
from rnnbench.spec import PHASES, Case

if TYPE_CHECKING:
    from rich.table import Table

    from rnnbench.comparison.compare import Line
    from rnnbench.roofline.store import Roof

WIDTH = 165
"""Columns of a table that goes to a file."""
GRID = "Cases: values separated by commas, every combination is one"
PRESET = {"cells": "rnn_tanh,gru,lstm", "shapes": "1x64,16x128"}
TABLE = {"cells": ",".join(plans.TABLE_CELLS), "shapes": ",".join(plans.TABLE_SHAPES)}


def _case(help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=GRID)


def compare(
    backends: Annotated[
        str | None, typer.Option(help="Names, by commas; all by default. native is always in.")
    ] = None,
    cells: Annotated[str | None, _case(f"Cells; {PRESET['cells']} by default.")] = None,
    shapes: Annotated[
        str | None, _case(f"BxH with I = H, or BxIxH; {PRESET['shapes']} by default.")
    ] = None,
    phases: Annotated[str, _case("inference, training.")] = ",".join(PHASES),
    dtypes: Annotated[str, _case("float32, float64, …")] = "float32",
    steps: Annotated[int, _case("Sequence length T.", "--steps", "--T")] = 128,
    layers: Annotated[int, _case("Layers.")] = 1,
    directions: Annotated[int, _case("1 or 2.")] = 1,
    threads: Annotated[str, typer.Option(help="Threads for all, e.g. 1,2.")] = "1",
    seconds: Annotated[
        float, typer.Option(help="For the rounds of one case, all backends together.")
    ] = 3.0,
    table: Annotated[
        bool, typer.Option("--table", help="The cells and shapes of the published table.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep the figures here: asv's results (.asv/results), for the report."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Time the backends against each other, alternated in one process on equal threads.

    Each backend's parity with the oracle is checked first, for the very case; who fails gets no
    time. A ratio says how many times as fast as torch.nn (native) a backend is: the ratio of the
    medians, ± half the width of its 95 % interval. GFLOP/s count the products only; what share
    they are of the roofline needs one, which ``rnnbench roofline`` measures. training is forward
    and all gradients. How it is measured is in the module rnnbench.comparison.
    """
    chosen = TABLE if table else PRESET
    try:
        asked = listed(backends or "")
        if backends is not None and not asked:
            raise InputError(f"backends must be names, like numba,jax; got {backends!r}")
        names = plans.with_baseline(asked or interface.backends())
        cases = plans.grid(
            listed(cells or chosen["cells"]),
            [plans.Shape.parse(text) for text in listed(shapes or chosen["shapes"])],
            listed(phases),
            listed(dtypes),
            steps=steps,
            layers=layers,
            directions=directions,
        )
        todo = [plans.Plan(cases, names, count, seconds) for count in thread_counts(threads)]
        writable(save)
    except InputError as error:
        leave(USAGE, str(error))

    lines, facts, broken = _measured(todo, save)
    roofs, missing = _roofs(lines)
    if as_json:
        typer.echo(json.dumps(_as_dict(lines, facts, broken, roofs), indent=1))
    else:
        _print(lines, names, broken, asked, roofs)
        for sentence in missing:
            typer.echo(sentence)
    raise typer.Exit(_exit_code(lines, broken, asked))


compare.__doc__ = f"{compare.__doc__}\n    {TEXT}"


def _measured(
    todo: Sequence[plans.Plan], save: Path | None
) -> tuple[list[list[Line]], list[dict[str, Any]], list[str]]:
    """Lines of every case, facts of every process, and why a process ended early.

    Each case is saved as soon as it is there.
    """
    from rnnbench.comparison.compare import Line
    from rnnbench.comparison.worker import WorkerError, messages

    lines: list[list[Line]] = []
    facts: list[dict[str, Any]] = []
    broken: list[str] = []
    with progress("comparing", sum(len(p.cases) * (len(p.backends) + 1) for p in todo)) as advance:
        for plan in todo:
            try:
                for message in messages(plan):
                    if "progress" in message:
                        advance()
                    lines += [[Line.from_dict(line) for line in message.get("lines", ())]]
                    if lines[-1] and save:
                        broken += _saved(lines[-1], save)
                    facts += [message["facts"]] if "facts" in message else []
            except WorkerError as error:
                broken.append(str(error))
    return [case for case in lines if case], facts, broken


def _saved(case: list[Line], save: Path) -> list[str]:
    """Keep one case; why it could not be kept, as what was measured is shown all the same."""
    from rnnbench.comparison import saving

    try:
        saving.append(case, save)
    except (OSError, ValueError) as error:
        return [f"{case[0].case.name} could not be saved in {save}: {error}"]
    return []


def _roofs(lines: list[list[Line]]) -> tuple[Roofs, list[str]]:
    """This machine's roof for each number of threads, and a sentence for each that is missing."""
    from rnnbench.roofline import store

    counts = sorted({case[0].threads for case in lines})
    if not counts:
        return {}, []
    try:
        stored = store.stored()
    except store.NoRooflineError as error:
        return {}, [f"of the roofline: {error}"]
    roofs = {count: stored.of(count) for count in counts}
    missing = [
        f"of the roofline: none is stored for {count} threads: `{store.COMMAND} --threads "
        f"{','.join(map(str, sorted({*counts, *(roof.threads for roof in stored.roofs)})))}` "
        "measures it"
        for count, roof in roofs.items()
        if roof is None
    ]
    return {count: roof for count, roof in roofs.items() if roof}, missing


def _untimed(lines: list[list[Line]], names: Sequence[str]) -> list[str]:
    """Those of ``names`` that got no time in any case."""
    timed = {line.backend for case in lines for line in case if line.timed}
    return [name for name in names if name not in timed]


def _exit_code(lines: list[list[Line]], broken: list[str], asked: Sequence[str]) -> int:
    """By the worst that happened; a backend asked for by name has to have been timed."""
    statuses = {line.status for case in lines for line in case}
    if "wrong" in statuses:
        return FAILED
    if broken or "broke" in statuses:
        return BROKEN
    nothing = "ok" not in statuses or _untimed(lines, asked)
    return NOTHING_MEASURED if nothing else GOOD


def _figures(case: list[Line], roofs: Roofs) -> dict[str, Any]:
    """What is derived from a case's lines: ratios to native and to the fastest reference, and what
    the roofline of the machine allows.
    """
    from rnnbench.comparison import compare as comparison
    from rnnbench.roofline.model import attainable

    native = comparison.line_of(case, plans.BASELINE)
    reference = comparison.fastest(case, references=True)
    roof = roofs.get(case[0].threads)
    return {
        "attainable": attainable(case[0].case, roof) if roof else None,
        "reference": reference,
        "own": comparison.fastest(case, references=False),
        "to_native": {line.backend: line.over(native) for line in case},
        "to_reference": {line.backend: line.over(reference) for line in case},
    }


def _as_dict(
    lines: list[list[Line]], facts: list[dict[str, Any]], broken: list[str], roofs: Roofs
) -> dict[str, Any]:
    """Every line, with its ratios as [value, low, high].

    of_roofline is the share of attainable["gflops"]; both null where no roofline is stored.
    """
    rows = []
    for case in lines:
        figures = _figures(case, roofs)
        most = figures["attainable"]
        rows += [
            line.as_dict()
            | {
                "name": line.case.name,
                "ratio_to_native": figures["to_native"][line.backend],
                "fastest_reference": figures["reference"] and figures["reference"].backend,
                "ratio_to_fastest_reference": figures["to_reference"][line.backend],
                "attainable": most and most._asdict(),
                "of_roofline": line.gflops / most.gflops if most and line.timed else None,
            }
            for line in case
        ]
    return {"lines": rows, "processes": facts, "broken": broken}


def _ratio(found: Any) -> str:
    """``1.53 ±2 %``: half the width of the interval, relative, the wider side of it."""
    half = max(found.high / found.value - 1, 1 - found.low / found.value)
    return f"{found.value:.2f} ±{math.ceil(100 * half):.0f}%"


def _cell(line: Line | None, found: Any) -> str:
    """A backend's cell in the table: its ratio, or why it has none."""
    if line is None:
        return ""
    if not line.timed:
        return {"unsupported": "–", "wrong": "WRONG", "broke": "BROKE"}[line.status]
    return _ratio(found) if found else _time(line.median)


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


Roofs = dict[int, "Roof"]
Column = tuple[str, Callable[[list["Line"], dict[str, Any]], str]]


def _columns(names: Sequence[str]) -> list[Column]:
    """Heading and text of each column, from a case's lines and its figures."""

    def backend(name: str) -> Column:
        def text(case: list[Line], figures: dict[str, Any]) -> str:
            line = next((line for line in case if line.backend == name), None)
            return _cell(line, figures["to_native"].get(name))

        return name, text

    def native(case: list[Line], figures: dict[str, Any]) -> str:
        return _cell(case[0], None)

    def over_peers(case: list[Line], figures: dict[str, Any]) -> str:
        own, reference = figures["own"], figures["reference"]
        if own is None or reference is None:
            return ""
        found = figures["to_reference"][own.backend]
        return f"{own.backend} {_ratio(found)} of {reference.backend}"

    def gflops(case: list[Line], figures: dict[str, Any]) -> str:
        timed = [line for line in (figures["own"], figures["reference"]) if line]
        if not timed:
            return ""
        best = max(timed, key=lambda line: line.gflops)
        return f"{best.backend} {best.gflops:.3g}"

    def of_roofline(case: list[Line], figures: dict[str, Any]) -> str:
        own, most = figures["own"], figures["attainable"]
        if own is None or most is None:
            return ""
        limit = "FMA" if most.bound == "multiply-adds" else most.level
        return f"{own.backend} {own.gflops / most.gflops:.0%} {limit}"

    return [
        (plans.BASELINE, native),
        *(backend(name) for name in names if name != plans.BASELINE),
        ("ours over the best peer", over_peers),
        ("best, GFLOP/s", gflops),
        ("ours, of roofline", of_roofline),
    ]


def _print(
    lines: list[list[Line]],
    names: Sequence[str],
    broken: list[str],
    asked: Sequence[str],
    roofs: Roofs,
) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    for count in sorted({case[0].threads for case in lines}):
        of_count = [case for case in lines if case[0].threads == count]
        console.print(_table(of_count, names, count, roofs))
    for status, look in (("wrong", "bold red"), ("broke", "bold red"), ("unsupported", "")):
        for reason in _reasons(lines, status):
            console.print(Text(f"{status}: {reason}", look))
    for sentence in broken:
        console.print(Text(sentence, "bold red"))
    untimed = _untimed(lines, asked or [plans.BASELINE])
    if untimed:
        console.print(Text(f"NOTHING MEASURED of {', '.join(untimed)}", "bold red"))


def _reasons(lines: list[list[Line]], status: str) -> list[str]:
    """Each reason once, with the number of cases."""
    found: dict[str, int] = {}
    for line in (line for case in lines for line in case if line.status == status):
        where = f" in {line.case.name}" if status != "unsupported" else ""
        reason = f"{line.backend}{where}: {line.detail}"
        found[reason] = found.get(reason, 0) + 1
    return [reason + (f" ({count} cases)" if count > 1 else "") for reason, count in found.items()]


def _table(lines: list[list[Line]], names: Sequence[str], count: int, roofs: Roofs) -> Table:
    from rich import box
    from rich.table import Table

    spec = lines[0][0].case.spec
    plural = "s" if count > 1 else ""
    title = (
        f"Times as fast as torch.nn: {count} thread{plural}, T={lines[0][0].case.T}, "
        f"{spec.layers} layer{'s' * (spec.layers > 1)}, "
        f"{'both directions' if spec.directions == 2 else 'one direction'}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    columns = _columns(names)
    table.add_column("case", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", overflow="fold")
    for case in lines:
        figures = _figures(case, roofs)
        table.add_row(_name(case[0].case), *(text(case, figures) for _, text in columns))
    return table


def _name(case: Case) -> str:
    """What differs between the cases of one table."""
    spec = case.spec
    inputs = "" if spec.input_size == spec.hidden_size else f"×{spec.input_size}"
    dtype = "" if spec.dtype == "float32" else f" {spec.dtype}"
    return f"{spec.cell} {case.phase} {case.B}{inputs}×{spec.hidden_size}{dtype}"
