"""``rnnbench compare``: time the backends against each other, and against torch.nn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from rnnbench import interface
from rnnbench.cli import exits, output
from rnnbench.cli.options import Json, Save, listed, panel, thread_counts, writable
from rnnbench.cli.progress import progress
from rnnbench.comparison import plan as plans
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED
from rnnbench.spec import CELLS, DTYPES, PHASES, Case

if TYPE_CHECKING:
    from rnnbench.comparison.compare import Line
    from rnnbench.comparison.statistics import Ratio
    from rnnbench.roofline.model import Attainable
    from rnnbench.roofline.store import Roof

WIDTH = 165
"""Columns of a table that goes to a file."""
PRESET = {"cells": "rnn_tanh,gru,lstm", "shapes": "1x64,16x128"}
TABLE = {"cells": ",".join(plans.TABLE_CELLS), "shapes": ",".join(plans.TABLE_SHAPES)}
UNTIMED = {"unsupported": "–", "wrong": "WRONG", "broke": "BROKE"}
"""Status → what the table has in the place of a time."""
STYLES = {"wrong": output.BAD, "broke": output.BAD, "unsupported": ""}
"""Statuses in the order in which their reasons are listed, and how these look."""
Lines = list["Line"]
"""Of one case."""
Roofs = dict[int, "Roof"]
"""By the number of threads."""
_case = panel("Cases: values separated by commas, every combination is one")


@exits.command()
def compare(
    backends: Annotated[
        str | None, typer.Option(help="Names, by commas; all by default. native is always in.")
    ] = None,
    cells: Annotated[
        str | None, _case(f"{', '.join(CELLS)}; {PRESET['cells']} by default.")
    ] = None,
    shapes: Annotated[
        str | None, _case(f"BxH with I = H, or BxIxH; {PRESET['shapes']} by default.")
    ] = None,
    phases: Annotated[str, _case(f"{', '.join(PHASES)}.")] = ",".join(PHASES),
    dtypes: Annotated[str, _case(f"{', '.join(DTYPES)}.")] = "float32",
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
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Time the backends against each other, alternated in one process on equal threads.

    Each backend's parity with the oracle is checked first, for the same case; a backend that fails
    gets no time. A ratio says how many times as fast as torch.nn (native) a backend is: the ratio
    of the medians, ± half the width of its 95 % interval. GFLOP/s count the matrix products only.
    Their share of the roofline needs one that ``rnnbench roofline`` has measured. training is
    forward and all gradients. How it is measured is in the module rnnbench.comparison.
    """
    chosen = TABLE if table else PRESET
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
    measured, facts, broken = _measured(todo, save)
    roofs, missing = _roofs(measured)
    record = {
        "lines": [one for case in measured for one in _as_dicts(case, roofs)],
        "processes": facts,
        "broken": broken,
    }
    parts = _parts(measured, names, roofs, broken, asked, missing)
    output.show(record, parts, as_json=as_json, width=WIDTH)
    return _exit_code(measured, broken, asked)


def _measured(
    todo: Sequence[plans.Plan], save: Path | None
) -> tuple[list[Lines], list[dict[str, Any]], list[str]]:
    """Return the lines of every case, facts of every process, and why a process ended early.

    Each case is saved as soon as it is measured.
    """
    from rnnbench.comparison.compare import Line
    from rnnbench.comparison.worker import WorkerError, messages

    measured: list[Lines] = []
    facts: list[dict[str, Any]] = []
    broken: list[str] = []
    with progress("comparing", sum(len(p.cases) * (len(p.backends) + 1) for p in todo)) as advance:
        for plan in todo:
            try:
                for message in messages(plan):
                    if "progress" in message:
                        advance()
                    elif "facts" in message:
                        facts.append(message["facts"])
                    else:
                        measured.append([Line.from_dict(line) for line in message["lines"]])
                        broken += _save(measured[-1], save) if save else []
            except WorkerError as error:
                broken.append(str(error))
    return measured, facts, broken


def _save(case: Lines, folder: Path) -> list[str]:
    """Keep one case; returns why it was not kept, as what was measured is shown all the same."""
    from rnnbench.comparison import saving

    try:
        saving.append(case, folder)
    except (OSError, ValueError) as error:
        return [f"{case[0].case.name} could not be saved in {folder}: {error}"]
    return []


def _roofs(measured: list[Lines]) -> tuple[Roofs, list[str]]:
    """Return this machine's roof for each number of threads, and why roofs are missing."""
    from rnnbench.roofline import store

    counts = sorted({case[0].threads for case in measured})
    if not counts:
        return {}, []
    try:
        stored = store.stored()
    except store.NoRooflineError as error:
        return {}, [f"of the roofline: {error}"]
    known = {roof.threads: roof for roof in stored.roofs}
    command = f"{store.COMMAND} --threads {','.join(map(str, sorted({*counts, *known})))}"
    return known, [
        f"of the roofline: none is stored for {count} threads: `{command}` measures it"
        for count in counts
        if count not in known
    ]


def _untimed(measured: list[Lines], names: Sequence[str]) -> list[str]:
    """Return those of ``names`` that got no time in any case."""
    timed = {line.backend for case in measured for line in case if line.timed}
    return [name for name in names if name not in timed]


def _exit_code(measured: list[Lines], broken: list[str], asked: Sequence[str]) -> int:
    """Return the code of the worst result; a backend asked for by name has to have been timed."""
    statuses = {line.status for case in measured for line in case}
    if "wrong" in statuses:
        return FAILED
    if broken or "broke" in statuses:
        return BROKEN
    nothing = "ok" not in statuses or _untimed(measured, asked)
    return NOTHING_MEASURED if nothing else GOOD


def _attainable(case: Lines, roofs: Roofs) -> Attainable | None:
    from rnnbench.roofline.model import attainable

    roof = roofs.get(case[0].threads)
    return attainable(case[0].case, roof) if roof else None


def _as_dicts(case: Lines, roofs: Roofs) -> list[dict[str, Any]]:
    """Return every line with its ratios, and its share of what the roofline allows.

    attainable and of_roofline are null where no roofline is stored.
    """
    from rnnbench.comparison.compare import with_ratios

    most = _attainable(case, roofs)
    return [
        made
        | {
            "attainable": most and most._asdict(),
            "of_roofline": line.gflops / most.gflops if most and line.timed else None,
        }
        for line, made in zip(case, with_ratios(case), strict=True)
    ]


def _parts(
    measured: list[Lines],
    names: Sequence[str],
    roofs: Roofs,
    broken: list[str],
    asked: Sequence[str],
    missing: list[str],
) -> Iterator[output.Part]:
    """Yield a table for each number of threads, and what was not measured, with the reason."""
    for count in sorted({case[0].threads for case in measured}):
        yield _table([case for case in measured if case[0].threads == count], names, roofs)
    for status, style in STYLES.items():
        for reason in _reasons(measured, status):
            yield f"{status}: {reason}", style
    yield from ((sentence, output.BAD) for sentence in broken)
    untimed = _untimed(measured, asked or [plans.BASELINE])
    if untimed:
        yield f"NOTHING MEASURED of {', '.join(untimed)}", output.BAD
    yield from missing


def _reasons(measured: list[Lines], status: str) -> list[str]:
    """Return each reason once, with the number of cases."""
    found: Counter[str] = Counter()
    for line in (line for case in measured for line in case if line.status == status):
        where = f" in {line.case.name}" if status != "unsupported" else ""
        found[f"{line.backend}{where}: {line.detail}"] += 1
    return [reason + (f" ({count} cases)" if count > 1 else "") for reason, count in found.items()]


def _table(measured: list[Lines], names: Sequence[str], roofs: Roofs) -> Table:
    """Return the table for one number of threads, a row for each case."""
    case, count = measured[0][0].case, measured[0][0].threads
    title = (
        f"Times as fast as torch.nn: {count} thread{'s' * (count > 1)}, T={case.T}, "
        f"{case.spec.layers} layer{'s' * (case.spec.layers > 1)}, "
        f"{'both directions' if case.spec.directions == 2 else 'one direction'}"
    )
    derived = ("ours over the best peer", "best, GFLOP/s", "ours, of roofline")
    table = output.table(title, "case", *names, *derived)
    for lines in measured:
        table.add_row(*_row(lines, names, _attainable(lines, roofs)))
    return table


def _row(lines: Lines, names: Sequence[str], most: Attainable | None) -> Iterator[str]:
    """Yield the cells of a case: its name, each backend, and what is derived from them."""
    from rnnbench.comparison.compare import fastest, line_of

    native = line_of(lines, plans.BASELINE)
    own, reference = fastest(lines, references=False), fastest(lines, references=True)
    timed = [line for line in (own, reference) if line]
    best = max(timed, key=lambda line: line.gflops, default=None)
    yield _name(lines[0].case)
    yield from (_cell(line_of(lines, name), native) for name in names)
    over = own.over(reference) if own else None
    yield (
        f"{own.backend} {_ratio(over)} of {reference.backend}" if own and reference and over else ""
    )
    yield f"{best.backend} {best.gflops:.3g}" if best else ""
    if own and most:
        limit = "FMA" if most.bound == "multiply-adds" else most.level
        yield f"{own.backend} {own.gflops / most.gflops:.0%} {limit}"


def _cell(line: Line | None, native: Line | None) -> str:
    """Return a backend's ratio, torch.nn's time, or why there is none."""
    if line is None:
        return ""
    if not line.timed:
        return UNTIMED[line.status]
    found = line.over(native)
    if found is None or line is native:
        return f"{1e3 * line.median:.3g} ms"
    return _ratio(found)


def _ratio(found: Ratio) -> str:
    """Return ``1.53 ±2%``: half the width of the interval, relative, the wider side of it."""
    half = max(found.high / found.value - 1, 1 - found.low / found.value)
    return f"{found.value:.2f} ±{math.ceil(100 * half):.0f}%"


def _name(case: Case) -> str:
    """Return what differs between the cases of one table."""
    spec = case.spec
    inputs = "" if spec.input_size == spec.hidden_size else f"×{spec.input_size}"
    dtype = "" if spec.dtype == "float32" else f" {spec.dtype}"
    return f"{spec.cell} {case.phase} {case.B}{inputs}×{spec.hidden_size}{dtype}"
