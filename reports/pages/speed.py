"""The page "Speed": our kernels against torch.nn and the fastest peer, and against the processor.

Its figures come from ``rnnbench compare --save`` (`comparisons`), the cold starts from asv's
results. What was not measured is replaced by the command that measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.charts import roofline
from reports.data import ratios
from reports.data.comparisons import BASELINE, OURS, SHOWN_AS, Compared, Machine, Ratio, Result
from reports.data.report import Report
from reports.data.rows import groups, series_of
from reports.pages.template import fill
from reports.sections import costs, losing
from reports.sections.speed import PHASES, absent_figure, ratio_figure
from rnnbench.judge.site.data.results import Status
from rnnbench.judge.site.html import dots, figures, text
from rnnbench.judge.site.html.figures import NOTHING, Figure
from rnnbench.judge.site.html.page import Frame
from rnnbench.spec import CELLS

COMPARE = "rnnbench compare --table --save .asv/results"
ROOFLINE = "rnnbench roofline --save .asv/results"
STATUS = {
    "unsupported": Status.UNSUPPORTED,
    "wrong": Status.PARITY,
    "broke": Status.ERROR,
}
RIVALS = {f"over {SHOWN_AS[BASELINE]}": 0, "over the fastest peer": 1}
"""The two lanes of each row, and the series that they are drawn as."""
TABLE_LANES = 3
"""As high as a row of the table beside the chart."""
ENDS = (f"◂ {OURS} slower", f"{OURS} faster ▸")


@dataclass
class Panel:
    """One cell in one phase: chart, and table with the case's sizes first."""

    name: str
    chart: Markup
    sizes: list[str]
    lines: list[tuple[list[int], list[Figure]]]


@dataclass
class Setting:
    """Cases that differ in cell, phase and sizes only."""

    title: str
    panels: list[tuple[str, list[Panel]]]


@dataclass
class Roofs:
    """The plot of one number of threads and dtype, its cases, and the roofs themselves."""

    title: str
    steady: bool
    chart: Markup
    series: dict[str, int]
    roofs: list[tuple[str, list[Figure]]]
    lines: list[tuple[list[str], list[Figure]]]


def render(report: Report, frame: Frame) -> str:
    """Return the whole page as text; machines in the order of their names."""
    cold = _cold(report.newest)
    sections = [
        _section(f"m{number}", report.compared.get(host, Machine(host)), cold.get(host, []))
        for number, host in enumerate(sorted({*report.compared, *cold}))
    ]
    return fill(
        "speed.html.j2",
        frame,
        sections=sections,
        problems=report.compared_problems,
        ours=OURS,
        rivals=RIVALS,
        compare=COMPARE,
        roofline=ROOFLINE,
    )


def _section(anchor: str, machine: Machine, cold: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all that the template shows of one machine; what is empty was not measured."""
    compared = sorted(machine.compared, key=_rank)
    return {
        "anchor": anchor,
        "host": machine.host,
        "facts": _facts(compared) if compared else [],
        "losses": losing.losses(compared) if compared else [],
        "settings": _settings(machine, compared),
        "roofs": _roofs(machine, compared),
        "no_roofs": _without_roof(machine, compared),
        "every": _every(compared) if compared else None,
        "cold": cold,
    }


def _rank(one: Compared) -> tuple[Any, ...]:
    case, spec = one.case, one.case.spec
    phase = PHASES.index(case.phase)
    return (
        one.threads, spec.dtype, spec.layers, spec.directions, phase,
        CELLS.index(spec.cell), case.B, spec.hidden_size, spec.input_size, case.T,
    )  # fmt: skip


def _facts(compared: Sequence[Compared]) -> list[tuple[str, str]]:
    """Return the processor, when it was measured, against whom, and the newest versions."""
    newest = max(compared, key=lambda one: one.at)
    first = min(one.at for one in compared)
    when = first[:10] if first[:10] == newest.at[:10] else f"{first[:10]} to {newest.at[:10]}"
    timed = {name for one in compared for name, result in one.results.items() if result.timed}
    known = [("processor", newest.machine.get("cpu", "?")), ("measured", when)]
    for heading, there in (("fastest peer of", True), ("peers not timed", False)):
        names = [words for name, words in SHOWN_AS.items() if (name in timed) == there]
        known += [(heading, ", ".join(names))] if names else []
    return [*known, *newest.versions.items()]


def _settings(machine: Machine, compared: Sequence[Compared]) -> list[Setting]:
    grouped: dict[tuple[Any, ...], list[Compared]] = {}
    for one in compared:
        spec = one.case.spec
        key = (one.threads, spec.layers, spec.directions, spec.dtype)
        grouped.setdefault(key, []).append(one)
    axis = dots.ratio_axis(
        [ratio.value for one in compared if one.ours for ratio in one.ours.over.values()], ENDS
    )
    found = []
    for (threads, layers, directions, dtype), group in grouped.items():
        nets = f"{text.plural(layers, 'layer')}, {text.plural(directions, 'direction')}"
        title = f"{text.plural(threads, 'thread')}, {dtype}, {nets}"
        panels: dict[str, list[Panel]] = {}
        cells: dict[tuple[str, str], list[Compared]] = {}
        for one in group:
            cells.setdefault((one.case.phase, one.case.spec.cell), []).append(one)
        for (phase, cell), of_cell in cells.items():
            panel = _panel(f"{cell}, {phase}", machine, of_cell, axis, title)
            panels.setdefault(phase, []).append(panel)
        found.append(Setting(title, list(panels.items())))
    return found


def _panel(
    name: str, machine: Machine, compared: Sequence[Compared], axis: dots.Axis, setting: str
) -> Panel:
    rows, lines = [], []
    several = len({one.case.T for one in compared}) > 1
    square = all(one.case.spec.input_size == one.case.spec.hidden_size for one in compared)
    for one in compared:
        case = one.case
        label = f"B{case.B} H{case.spec.hidden_size}" + f" T{case.T}" * several
        rows.append(dots.Row(label, _lanes(one)))
        inputs = [] if square else [case.spec.input_size]
        sizes = [case.B, *inputs, case.spec.hidden_size, case.T]
        lines.append((sizes, _figures(machine, one)))
    known = [ratio.value for one in compared if (ratio := _over(one, BASELINE))]
    span = f" {text.ratio(min(known))} to {text.ratio(max(known))} torch.nn." if known else ""
    description = f"{text.plural(len(compared), 'case')}.{span}"
    title = f"{name}, {setting}: times as fast as torch.nn and as the fastest peer"
    chart = dots.dot_plot(title, description, rows, axis, lanes=TABLE_LANES)
    return Panel(name, chart, ["B", *(["I"] * (not square)), "H", "T"], lines)


def _over(one: Compared, rival: str | None) -> Ratio | None:
    return one.ours.over.get(rival or "") if one.ours else None


def _lanes(one: Compared) -> list[list[dots.Mark | dots.Note]]:
    if one.ours is None or not one.ours.timed:
        words = _absent(one.ours).text
        bad = one.ours is not None and one.ours.status != "unsupported"
        return [[dots.Note(f"{OURS}: {words}", bad)], []]
    lanes: list[list[dots.Mark | dots.Note]] = []
    for rival, series in zip((BASELINE, one.peer), RIVALS.values(), strict=True):
        ratio = _over(one, rival)
        if ratio is None or rival is None:
            lanes.append([])
            continue
        bounds = text.interval(ratio.low, ratio.high)
        words = f"over {SHOWN_AS.get(rival, rival)}: {text.ratio(ratio.value)} {bounds}"
        lanes.append([dots.Mark(series, ratio.value, words, ratio.low, ratio.high)])
    return lanes


def _figures(machine: Machine, one: Compared) -> list[Figure]:
    """Return time, over torch.nn, over the fastest peer, share of the roofline."""
    ours = one.ours
    if ours is None or not ours.timed:
        return [_absent(ours), *[NOTHING] * 3]
    speed = f"{text.number(ours.gflops)} GFLOP/s"
    time = Figure(text.quantity(ours.seconds, "seconds"), speed, ours.seconds)
    peer = SHOWN_AS.get(one.peer or "", one.peer or "")
    return [time, _ratio(one, BASELINE), _ratio(one, one.peer, peer), _share(machine, one)]


def _ratio(one: Compared, rival: str | None, note: str = "") -> Figure:
    ratio = _over(one, rival)
    return _compared(ratio, note) if ratio else NOTHING


def _compared(ratio: Ratio, note: str = "") -> Figure:
    line = {"ratio": ratio.value, "ratio_a": ratio.low, "ratio_b": ratio.high}
    return ratio_figure(line | {"verdict": ratio.verdict}, note)


def _share(machine: Machine, one: Compared) -> Figure:
    most = machine.attainable(one)
    if most is None or one.ours is None:
        return NOTHING
    share = 100 * one.ours.gflops / most.gflops
    return Figure(f"{share:.0f} %", _limit(most.bound, most.level), share)


def _limit(bound: str, level: str) -> str:
    """Return ``reads from L2``, or ``multiply-adds``."""
    return f"reads from {level}" if bound == "reads" else bound


def _absent(result: Result | None) -> Figure:
    """Return words where a backend has no time."""
    status = Status.MISSING if result is None else STATUS.get(result.status, Status.ERROR)
    return absent_figure(status, None)


def _roofs(machine: Machine, compared: Sequence[Compared]) -> list[Roofs]:
    """Return a plot for each number of threads and dtype that has both cases and a roof."""
    grouped: dict[tuple[int, str], list[Compared]] = {}
    for one in compared:
        if one.ours is not None and one.ours.timed and machine.attainable(one):
            grouped.setdefault((one.threads, one.case.spec.dtype), []).append(one)
    return [_plot(machine, group) for group in grouped.values()]


def _plot(machine: Machine, group: Sequence[Compared]) -> Roofs:
    roof, dtype = machine.roof(group[0]), group[0].case.spec.dtype
    assert roof is not None
    cells = [cell for cell in CELLS if cell in {one.case.spec.cell for one in group}]
    series = {cell: number + 1 for number, cell in enumerate(cells)}
    points, lines = [], []
    for one in group:
        most, ours, case = machine.attainable(one), one.ours, one.case
        assert most is not None
        assert ours is not None
        share = f"{100 * ours.gflops / most.gflops:.0f} %"
        where = f"{case.spec.cell} {case.phase}, {losing.described(case)}"
        words = f"{where}: {text.number(ours.gflops)} GFLOP/s, {share} of the roofline"
        hollow = case.phase == "training"
        points.append(
            roofline.Point(series[case.spec.cell], most.intensity, ours.gflops, words, hollow)
        )
        labels = [case.spec.cell, case.phase, losing.described(case)]
        numbers = [figures.number(n) for n in (most.intensity, ours.gflops, most.gflops)]
        bound = Figure(_limit(most.bound, most.level))
        lines.append((labels, [*numbers, _share(machine, one), bound]))
    peak = roof.peak_gflops[dtype]
    bandwidths = {one.name: one.best for one in roof.read_gbytes}
    title = f"{text.plural(roof.threads, 'thread')}, {dtype}"
    description = (
        f"{text.plural(len(points), 'case')} below {text.number(peak.best)} GFLOP/s and "
        + ", ".join(f"{name} {text.number(best)} GB/s" for name, best in bandwidths.items())
    )
    chart = roofline.plot(f"Roofline, {title}", f"{description}.", peak.best, bandwidths, points)
    rates = [("multiply-adds, GFLOP/s", peak)]
    rates += [(f"reads from {one.name}, GB/s", one) for one in roof.read_gbytes]
    measured = [
        (name, [figures.number(rate.best), figures.number(rate.median)]) for name, rate in rates
    ]
    return Roofs(title, roof.steady, chart, series, measured, lines)


def _without_roof(machine: Machine, compared: Sequence[Compared]) -> list[str]:
    """Return why cases are on no plot, in sentences."""
    if not compared:
        return ["There are no cases to be put on a roofline."]
    if machine.roofline is None:
        return [f"{machine.no_roofline[:1].upper()}{machine.no_roofline[1:]}."]
    found = []
    for one in compared:
        roof, dtype = machine.roof(one), one.case.spec.dtype
        if machine.roofline.machine != one.machine:
            found.append("The roofline stored for this host is of another processor.")
        elif roof is None:
            threads = text.plural(one.threads, "thread")
            found.append(f"The stored roofline has nothing for {threads} (its option --threads).")
        elif dtype not in roof.peak_gflops:
            found.append(f"The roofline knows no peak of {dtype}.")
    return list(dict.fromkeys(found))


def _every(compared: Sequence[Compared]) -> dict[str, Any]:
    """Return every backend's ratio to torch.nn in every case: a column each."""
    names = list(dict.fromkeys(name for one in compared for name in one.results))
    lines = []
    for one in compared:
        labels = [str(one.threads), one.case.phase, one.case.spec.cell, losing.described(one.case)]
        lines.append((labels, [_of_backend(one.results.get(name)) for name in names]))
    return {"backends": names, "lines": lines}


def _of_backend(result: Result | None) -> Figure:
    if result is None or not result.timed:
        return _absent(result)
    time = text.quantity(result.seconds, "seconds")
    if result.backend == BASELINE or BASELINE not in result.over:
        return Figure(time, sort=result.seconds)
    return _compared(result.over[BASELINE], time)


def _cold(newest: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return machine → one-off costs of its newest commit, by environment."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (machine, environment), rows in groups(newest, "machine", "environment"):
        series = series_of(rows)
        made = costs.cold(rows, ratios.to_baseline(rows), series)
        if made:
            one = {"environment": environment, "costs": made, "series": series}
            found.setdefault(machine, []).append(one)
    return found
