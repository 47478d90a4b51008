"""Learning curves: loss over steps and over seconds.

A curve has thousands of losses, each of one batch. Shown is their mean over stretches that double
in length, …, (E/4, E/2], (E/2, E], (E, 2E], …, so that beginning and end are seen on one axis, a
logarithmic one. E is where the first mode's training ended: up to there all are compared over the
same stretches, beyond it those that went on. Of a stretch within which a mode ended nothing is
shown. The table has the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reports.charts import curve as chart
from reports.data.curves import COMMAND, Curve
from rnnbench.judge.site.html import figures, text
from rnnbench.judge.site.html.figures import NOTHING, Panel

STRETCHES = 10
"""Up to E, at most; the first of them begins with the training."""


@dataclass
class Learning:
    """The curves of one machine; without panels nothing was trained there."""

    about: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    command: str = COMMAND


def learning(curves: Sequence[Curve]) -> Learning:
    """Return the panels of one machine's curves, cell by cell."""
    found = Learning()
    for cell in dict.fromkeys(curve.cell for curve in curves):
        own = [curve for curve in curves if curve.cell == cell]
        found.about.append(_about(own))
        found.panels.append(_panel(f"Loss over steps: {cell}", own, 0, "steps"))
        found.panels.append(_panel(f"Loss over seconds: {cell}", own, 1, "seconds"))
    return found


def _about(curves: Sequence[Curve]) -> str:
    """Say what was trained, on what and when; where the modes differ in it, of each."""
    said: dict[str, list[str]] = {}
    for c in curves:
        n = c.network
        sentence = (
            f"{c.cell} of {n['hidden']} units, {n['streams']} streams, {n['steps']} steps a batch, "
            f"one step of Adam (rate {n['learning_rate']:g}, norm of the gradient at most "
            f"{n['clip']:g}) a batch; {text.plural(c.threads, 'thread')} of {c.machine['cpu']}, "
            f"torch {c.versions['torch']}, {c.at[:10]}"
        )
        given = ", ".join(f"{name}={value}" for name, value in c.options.items())
        said.setdefault(sentence, []).append(c.mode + (f" ({given})" if given else ""))
    return "; ".join(f"{', '.join(modes)}: {sentence}" for sentence, modes in said.items()) + "."


def _panel(title: str, curves: list[Curve], column: int, unit: str) -> Panel:
    """Return the mean loss of each curve over each stretch of a column: 0 steps, 1 seconds."""
    ends = _ends([curve.points[-1][column] for curve in curves])
    means = {curve.mode: _means(curve, column, ends) for curve in curves}
    used = [n for n in range(len(ends)) if any(n in found for found in means.values())]
    words = {n: _words(ends[n], unit) for n in used}
    table = [
        (
            f"to {words[n]}",
            [figures.number(found[n]) if n in found else NOTHING for found in means.values()],
        )
        for n in used
    ]
    lines = {
        mode: [
            chart.Point(ends[n], loss, f"{mode} to {words[n]}: {text.number(loss)}")
            for n, loss in found.items()
        ]
        for mode, found in means.items()
    }
    said = "A line for each mode, a mark where a stretch ends: the mean loss over it."
    ticks = [(ends[n], words[n]) for n in used]
    picture = chart.plot(title, said, lines, ticks, (unit, "nats per character"))
    series = {mode: number for number, mode in enumerate(means)}
    return Panel(title, picture, series, unit.capitalize(), list(means), table)


def _words(end: float, unit: str) -> str:
    return f"{math.floor(end)}" if unit == "steps" else text.quantity(end, "seconds")


def _ends(lasts: Sequence[float]) -> list[float]:
    """Return the ends of stretches: up to the first mode's end, then as far as any mode went."""
    common, longest = float(min(lasts)), max(lasts)
    ends = [common / 2.0**power for power in reversed(range(STRETCHES))]
    while 2 * ends[-1] <= longest:
        ends.append(2 * ends[-1])
    return ends


def _means(curve: Curve, column: int, ends: Sequence[float]) -> dict[int, float]:
    """Return means by the number of the stretch; none where no step ended, or training did."""
    losses: dict[int, list[float]] = {}
    for point in curve.points:
        number = next((n for n, end in enumerate(ends) if point[column] <= end), None)
        if number is not None and curve.points[-1][column] >= ends[number]:
            losses.setdefault(number, []).append(point[2])
    return {number: sum(own) / len(own) for number, own in losses.items()}
