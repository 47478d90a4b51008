"""The page "Training": the same curve on every backend, how fast, and what mistakes cost.

Its figures come from ``rnnbench train --save`` and ``rnnbench search --save``;
``python -m reports.jobs.training_runs`` makes all that it has a place for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from markupsafe import Markup

from reports.charts import training
from reports.data.report import Report
from reports.data.trainings import BASELINE, Machine, Search, Trained, Training
from reports.pages.template import fill
from rnnbench.judge.site.html import dots, figures, text
from rnnbench.judge.site.html.figures import NOTHING, Figure
from rnnbench.judge.site.html.page import Frame
from rnnbench.training.settings import ADDING, RIGHT, VOWELS

COMMAND = "python -m reports.jobs.training_runs"
BAND = "the band"
GOOD, BAD = ("ok", "not judged"), ("left the band", "diverged", "broke")
Values = Sequence[float | None]


@dataclass
class Panel:
    """Charts side by side, what their marks mean, and the same figures as a table."""

    title: str
    charts: list[Markup]
    series: dict[str, int]
    corner: str
    heads: list[str]
    lines: list[tuple[str, list[Figure]]]
    note: str = ""
    sentences: list[str] = field(default_factory=list)


def render(report: Report, frame: Frame) -> str:
    """Return the whole page as text."""
    return fill(
        "training.html.j2",
        frame,
        sections=[_section(f"m{number}", one) for number, one in enumerate(report.trained)],
        problems=report.trained_problems,
        command=COMMAND,
    )


def _section(anchor: str, machine: Machine) -> dict[str, Any]:
    """Return all of one machine; what is empty was not run."""
    own = machine.trainings
    right = [one for one in own if one.settings["reading"] == RIGHT]
    parts = [
        (
            "Every backend against the oracle",
            "Each backend begins with the same weights and sees the same batches. Errors are "
            "distances from a run of the float64 oracle, in units of float32’s roundoff; the "
            "dashed limit is the band that rounding explains, measured by runs with rounding-size "
            "disturbances. Times are of training alone, alternated in one process.",
            [_backends(one) for one in right if one.band],
        ),
        (
            "Clipping",
            "The norm of the whole gradient in each step, before it is clipped.",
            _clipping(right),
        ),
        (
            "Planted mistakes",
            "The same network with a wrong reading of its states. Answered alike: the share of the "
            "test sequences that get the same answer in a batch with the others and in one of "
            "their own, where nothing is padded.",
            _planted(own),
        ),
        (
            "Long lags",
            "The adding problem: two numbers out of T, one in either half, are to be summed. Who "
            "looks at neither has an error of 0.167.",
            _lags(right),
        ),
        (
            "Search",
            "Every trial is scored on a fifth of the training part that it does not learn from; "
            "the best then learns from all of it and is looked at on the test part, once.",
            [_search(one) for one in machine.searches],
        ),
    ]
    newest = max(own, key=lambda one: one.at, default=None)
    facts = (
        [("processor", newest.machine.get("cpu", "?")), ("measured", newest.at[:10])]
        if newest
        else []
    )
    facts += list(newest.versions.items()) if newest else []
    return {"anchor": anchor, "host": machine.host, "facts": facts, "parts": parts}


def _name(one: Training) -> str:
    s = one.settings
    data = {VOWELS: "Japanese Vowels", ADDING: f"adding problem, T={s['T']}"}[s["task"]]
    nets = f"{text.plural(s['layers'], 'layer')}, {text.plural(s['directions'], 'direction')}"
    clip = f"clip {s['clip']:g}" if s["clip"] else "no clipping"
    return (
        f"{data}: {s['cell']}, H={s['hidden_size']}, {nets}, {s['optimiser']} {s['lr']:g}, {clip}"
    )


def _score(value: float, one: Training) -> str:
    if math.isnan(value):
        return text.NONE
    return f"{100 * value:.1f} %" if one.unit == "accuracy" else text.number(value)


def _series(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _lines(series: dict[str, int], curves: Iterable[tuple[str, Values]]) -> list[training.Line]:
    return [training.Line(name, values, series[name]) for name, values in curves]


def _backends(one: Training) -> Panel:
    assert one.band is not None
    series, widths, title = _series(run.backend for run in one.runs), one.band["widths"], _name(one)
    same, apart = [], []
    for name, curve, width in (
        ("loss", "losses", "loss"),
        ("gradient norm", "norms", "gradient norm"),
    ):
        own = _lines(series, [(run.backend, run.curve[curve]) for run in one.runs])
        errors = _lines(series, [(run.backend, run.errors[curve]) for run in one.runs])
        limit = training.Line(BAND, widths[width], None)
        said, up = "All backends, one curve.", f"error of the {name}, eps"
        same.append(training.plot(f"{_capital(name)}: {title}", said, own, "step", name))
        said, shown = "Each backend and its band.", [*errors, limit]
        apart.append(training.plot(f"Error of the {name}: {title}", said, shown, "step", up))
    native = next((run for run in one.runs if run.backend == BASELINE), None)
    target = f"To {_score(one.target, one)}"
    heads = ["Verdict", "Of the band", "Test", target, "native / own", "An epoch", "First step"]
    lines = [(run.backend, _figures(run, one, native)) for run in one.runs]
    oracle = one.band["curve"]["scores"]
    low, high = one.band["scores"]
    last = _score(oracle[-1], one) if oracle else text.NONE
    sentences = [
        f"The oracle’s run ends at {last}; with roundings alone runs end at {_score(low, one)} to "
        f"{_score(high, one)}."
    ]
    sentences += [f"{run.backend}: {run.detail}" for run in one.runs if run.detail]
    charts = [*same, *apart]
    return Panel(title, charts, series, "Backend", heads, lines, sentences=sentences)


def _figures(run: Trained, one: Training, native: Trained | None) -> list[Figure]:
    mark = "✔" if run.status in GOOD else "✖" if run.status in BAD else "–"
    look = "good" if run.status in GOOD else "bad" if run.status in BAD else "muted"
    steps = f"{run.gated} steps" if run.gated else ""
    share = Figure(f"{100 * run.share:.0f} %", steps, run.share)
    return [
        Figure(f"{mark} {run.status}", look=look),
        NOTHING if math.isnan(run.share) else share,
        NOTHING if math.isnan(run.score) else Figure(_score(run.score, one), sort=run.score),
        _to_target(run),
        _ratio(run, native),
        figures.quantity(run.epoch_seconds, "seconds"),
        figures.quantity(run.warm_up or math.nan, "seconds"),
    ]


def _to_target(run: Trained) -> Figure:
    if run.seconds_to_target is None:
        return Figure("never", look="muted")
    epochs = text.plural(run.epochs_to_target or 0, "epoch")
    return figures.quantity(run.seconds_to_target, "seconds", epochs)


def _ratio(run: Trained, native: Trained | None) -> Figure:
    """Return native's time to the target over the own."""
    if native is None or not native.seconds_to_target or not run.seconds_to_target:
        return NOTHING
    return figures.times(native.seconds_to_target / run.seconds_to_target)


def _clipping(own: Sequence[Training]) -> list[Panel]:
    """Compare calls that differ in clip alone, where one of them does not clip."""
    panels = []
    for group in _grouped(own, "clip"):
        if len(group) < 2 or all(one.settings["clip"] for one in group):
            continue
        runs = [
            (f"clip {one.settings['clip']:g}" if one.settings["clip"] else "no clipping", one, run)
            for one in sorted(group, key=lambda one: one.settings["clip"])
            for run in one.runs
        ]
        series = _series(name for name, *_ in runs)
        norms = _lines(series, [(name, run.curve["norms"]) for name, _, run in runs])
        title = _name(group[0]).rsplit(", ", 1)[0]
        said, up = "With and without clipping.", "norm of the gradient"
        chart = training.plot(f"Gradient norm: {title}", said, norms, "step", up)
        lines = [
            (
                name,
                [
                    figures.number(median(run.curve["norms"] or [math.nan])),
                    figures.number(max(run.curve["norms"], default=math.nan)),
                    Figure(_score(run.score, one), look="" if run.status in GOOD else "bad"),
                    Figure(run.status, look="good" if run.status in GOOD else "bad"),
                ],
            )
            for name, one, run in runs
        ]
        heads = ["Median norm", "Largest norm", "Last test score", "Status"]
        sentences = [f"{name}: {run.detail}" for name, _, run in runs if run.detail]
        panels.append(Panel(title, [chart], series, "", heads, lines, sentences=sentences))
    return panels


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _whole(value: int) -> Figure:
    return Figure(text.count(value), sort=value)


def _grouped(own: Sequence[Training], *names: str) -> list[list[Training]]:
    """Group calls whose settings are the same but for ``names``."""
    found: dict[tuple[tuple[str, object], ...], list[Training]] = {}
    for one in own:
        found.setdefault(one.without(*names), []).append(one)
    return list(found.values())


def _planted(own: Sequence[Training]) -> list[Panel]:
    """Compare readings, by means over the seeds that all of them have."""
    panels = []
    for group in _grouped(own, "reading", "seed"):
        readings: dict[str, dict[int, Training]] = {}
        for one in group:
            readings.setdefault(one.settings["reading"], {})[one.settings["seed"]] = one
        if RIGHT not in readings or len(readings) < 2:
            continue
        seeds = sorted(set.intersection(*(set(of_seed) for of_seed in readings.values())))
        if not seeds:
            continue
        ordered = sorted(readings, key=lambda reading: reading != RIGHT)
        scores = {name: [readings[name][seed].runs[0].score for seed in seeds] for name in ordered}
        alike = {name: [readings[name][seed].runs[0].alone for seed in seeds] for name in ordered}
        lines = [(name, _cost(scores[name], scores[RIGHT], alike[name])) for name in ordered]
        series, title = _series(ordered), _name(group[0])
        shown = {name: readings[name][seeds[0]].runs[0].curve["scores"] for name in ordered}
        wrong = _lines(series, [(name, [1 - s for s in own]) for name, own in shown.items()])
        up = "share of the test part wrong"
        chart = training.plot(f"Errors: {title}", "By reading.", wrong, "epoch", up)
        note = f"Means over {text.plural(len(seeds), 'seed')}; the chart shows seed {seeds[0]}."
        heads = ["Test accuracy", "Cost", "Answered alike"]
        panels.append(Panel(title, [chart], series, "Reading", heads, lines, note))
    return panels


def _cost(
    own: Sequence[float], right: Sequence[float], alike: Sequence[float | None]
) -> list[Figure]:
    """Return accuracy, points lost to the right reading, and the share answered alike."""
    lost = 100 * (mean(right) - mean(own))
    known = [value for value in alike if value is not None]
    extremes = f"{100 * min(own):.1f}–{100 * max(own):.1f}" if len(own) > 1 else ""
    within = max(own) >= min(right)
    spread = ("within the seeds’ spread", "") if within else ("", "bad")
    cost = Figure(f"{lost:.1f} points", spread[0], lost, spread[1])
    return [
        Figure(f"{100 * mean(own):.1f} %", extremes, mean(own)),
        NOTHING if own is right else cost,
        Figure(f"{100 * mean(known):.1f} %", sort=mean(known)) if known else NOTHING,
    ]


def _lags(own: Sequence[Training]) -> list[Panel]:
    """Compare cells on the adding problem of one length."""
    panels = []
    for group in _grouped([one for one in own if one.settings["task"] == ADDING], "cell", "chrono"):
        if any(one.band for one in group):
            continue
        scores = [(one.settings["cell"], one.runs[0].curve["scores"]) for one in group]
        series = _series(cell for cell, _ in scores)
        s = group[0].settings
        title = f"T={s['T']}, {s['epochs']} epochs of {s['size']:,} sequences"
        begun = sorted(one.settings["cell"] for one in group if one.settings.get("chrono"))
        note = f"Chrono initialisation: {', '.join(begun)}." if begun else ""
        said, up, lines = "Test error by cell.", "mean squared error", _lines(series, scores)
        chart = training.plot(f"Adding problem: {title}", said, lines, "epoch", up)
        table = [
            (
                one.settings["cell"],
                [
                    figures.number(one.runs[0].score),
                    _to_target(one.runs[0]),
                    figures.number(median(one.runs[0].curve["norms"])),
                ],
            )
            for one in group
            if one.runs[0].curve["norms"]
        ]
        heads = ["Test error", f"To {text.number(group[0].target)}", "Median gradient norm"]
        panels.append(Panel(title, [chart], series, "Cell", heads, table, note))
    return panels


def _search(one: Search) -> Panel:
    higher = one.plan["base"]["task"] == VOWELS
    scored = [trial for trial in one.trials if trial["value"] is not None]
    scored.sort(key=lambda trial: (-trial["value"] if higher else trial["value"], trial["slot"]))
    worst = [1 - trial["value"] if higher else trial["value"] for trial in scored]
    marks = [
        dots.Mark(
            int(trial["layers"]),
            float(trial["lr"]),
            f"slot {trial['slot']}: {text.number(trial['value'])} at lr {trial['lr']:.3g}",
            hollow=trial["slot"] != one.best,
        )
        for trial in scored
    ]
    rows = [dots.Row(f"{error:.3f}", [[mark]]) for error, mark in zip(worst, marks, strict=True)]
    axis = dots.number_axis(trial["lr"] for trial in scored)
    what = "error, held out" if not higher else "share wrong, held out"
    chart = dots.dot_plot(
        f"{one.study}: {what}, over the learning rate", "The best filled.", rows[:12], axis
    )
    held_out = "Accuracy, held out" if higher else "Error, held out"
    heads = [held_out, "lr", "H", "L", "Dropout", "Time"]
    lines = [
        (
            f"slot {trial['slot']}",
            [
                Figure(
                    text.number(trial["value"], 4), look="good" if trial["slot"] == one.best else ""
                ),
                figures.number(trial["lr"]),
                _whole(trial["hidden_size"]),
                _whole(trial["layers"]),
                figures.number(trial["dropout"]),
                figures.quantity(trial["seconds"], "seconds"),
            ],
        )
        for trial in scored
    ]
    layers = sorted({int(trial["layers"]) for trial in scored})
    plan = one.plan
    sentences = []
    if one.test is not None:
        shown = (
            f"{100 * one.test:.1f} % of the test part"
            if higher
            else f"a test error of {text.number(one.test)}"
        )
        sentences.append(f"Slot {one.best}, trained on the whole training part: {shown}.")
    done = f"{len(one.trials)} of {plan['trials']} slots have their result"
    sentences.append(f"{done}; tries that came to nothing: {one.failed}.")
    sentences += [
        f"Slot {t['slot']} diverged: {t['diverged']}" for t in one.trials if t["diverged"]
    ]
    base = plan["base"]
    title = f"{one.study}: {plan['strategy']}, {base['cell']}, {base['epochs']} epochs a trial"
    series = {text.plural(number, "layer"): number for number in layers}
    return Panel(title, [chart] if rows else [], series, "", heads, lines, sentences=sentences)
