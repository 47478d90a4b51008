"""A diagnosis as text: verdict, place, cause, what each step contributes, layer × time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from rnnbench.diagnosis.findings import OBSERVED, Contribution, Findings, Place
from rnnbench.diagnosis.script import words

SHOWN = 8
DRAWN = 40
"""Time steps that fit a line of the drawing."""


def account(d: Findings) -> str:
    """The whole account, a paragraph each."""
    parts = [*(words.before(d) if d.script else []), verdict(d)]
    if d.first_divergence is not None:
        parts += [_departure(d), _cause(d)]
        if d.contributions:
            parts.append(_contributions(d))
        if _is_drawn(d):
            parts.append(_drawing(d))
        if d.script is None:
            parts.append(_quantities(d))
    if d.script is not None:
        parts += words.after(d)
    said = [f"layout: {d.layout}"] * bool(d.layout) + d.notes
    if said:
        parts.append("\n".join(f"note: {one}" for one in said))
    return "\n\n".join(parts)


def _is_drawn(d: Findings) -> bool:
    """Return whether a drawing shows the place: of a dense sequence none shows what lengths do."""
    place = d.first_divergence
    return place is not None and place.layer is not None and not _only(d) and bool(d.maps())


def _only(d: Findings) -> bool:
    """Return whether sequences of one length are right and others are not."""
    heat, wrong = d.heat, [q for q in d.quantities if q.failed]
    if heat is None or any(share > 1 for row in (*heat.forward, *heat.backward) for share in row):
        return False
    return bool(wrong) and all("-packed" in q.case for q in wrong)


def known_by(d: Findings) -> str:
    """Return what a cause is known by."""
    if d.cause in OBSERVED:
        return "as its run shows; no planted mistake can give these numbers"
    return "which gives the same numbers to rounding"


def verdict(d: Findings) -> str:
    """One line: right, or where it departs, or what it raised."""
    if d.script is not None:
        return words.verdict(d)
    if d.status == "raised":
        return f"{d.candidate}: nothing could be compared: {d.raised}."
    if d.status == "right":
        worst = max(d.quantities, key=lambda q: q.error / q.budget)
        names = f", with gates under exchanged names (what it calls {d.exchanged})"
        graded = any(q.quantity.startswith("grad_") for q in d.quantities)
        passes = "" if graded else " in its forward pass, the only one that was compared"
        return (
            f"{d.candidate} is right{passes}{names if d.exchanged else ''}: {len(d.quantities)} "
            f"quantities agree with the oracle; the furthest, {worst.quantity}, is "
            f"{figure(worst.error)} eps off of {figure(worst.budget)} that rounding explains."
        )
    if d.unsteady:
        return f"{d.candidate} cannot be compared: {d.unsteady}."
    wrong = sum(q.failed for q in d.quantities)
    return (
        f"{d.candidate} departs from the oracle in {wrong} of {len(d.quantities)} quantities "
        f"({d.spec.name if d.spec else ''})."
    )


def _departure(d: Findings) -> str:
    assert d.first_divergence is not None
    lines = [f"First departure: {where(d)}."]
    lines += [f"  {more}" for more in details(d)]
    return "\n".join(lines)


def where(d: Findings) -> str:
    """Quantity, layer, direction, step, gate; by how much."""
    place = d.first_divergence
    assert place is not None
    said = [place.quantity]
    if place.layer is not None:
        half = f", {('forward', 'reverse')[place.direction or 0]} half of its input"
        name = f"layer {place.layer + 1}" + half
        own = d.row_name(place.layer, place.direction or 0)
        said.append(name if place.reads_below else own)
    if place.time_step is not None:
        said.append(f"t = {place.time_step} (step {place.time_step + 1} of {d.T})")
    if place.gate is not None:
        said.append(f"gate {place.gate}")
    return f"{', '.join(said)}: {_by_how_much(d, place)}"


def _by_how_much(d: Findings, place: Place) -> str:
    if math.isfinite(place.error):
        return f"{figure(place.error)} eps, where rounding explains {figure(place.budget)}"
    found = next((q for q in d.quantities if q.quantity == place.quantity and q.failed), None)
    if found is None or not found.detail:
        return "no number that could be compared"
    return f"{found.status}: {found.detail}"


def details(d: Findings) -> list[str]:
    """Return what else is known of the place, a sentence each."""
    place = d.first_divergence
    assert place is not None
    said = []
    if place.reads_below:
        said.append(
            f"Layer {(place.layer or 0) + 1} is right on the other half of its input, and layer "
            f"{place.layer} itself is right: the layer reads this half from the wrong place."
        )
    if place.steps == 1 and not d.guessed:
        said.append("A sequence of one step shows it: no history is needed.")
    elif place.steps is not None and place.steps > 1:
        lag = f", a lag of {place.steps - 1}" if place.backward else ""
        said.append(f"Sequences shorter than {place.steps} steps do not show it{lag}.")
    if _only(d):
        said.append("Only a batch of sequences of different lengths shows it.")
    if d.raised and not any(q.status == "raised" for q in d.quantities):
        said.append(f"In one problem {d.raised}.")
    return said


def _cause(d: Findings) -> str:
    if d.cause is None and d.no_numbers:
        return f"Cause: none is sought, as there are no numbers to explain: {d.no_numbers}."
    if d.cause is None:
        return (
            "Cause: none of the known mistakes, nor a pair of them, gives these numbers; the place "
            "is all that is known."
        )
    lines = [f"Cause: {d.cause}, {known_by(d)}."]
    for known in d.explanations:
        lines += [
            f"  {known.sentence}",
            f"    wrong  {known.wrong}",
            f"    right  {known.right}",
            f"    seen   {known.where}",
        ]
    if d.same_numbers:
        lines.append(f"  The same numbers here: {', '.join(d.same_numbers)}.")
    return "\n".join(lines)


def _contributions(d: Findings) -> str:
    weight = d.contributions_of.removeprefix("grad_")
    by = (
        "" if d.contributions_exact else " (by cut runs, in name only: see rnnbench.diagnosis.cuts)"
    )
    head = ["step", "theirs", "right", "error", "budget", ""]
    rows = [
        [f"{c.time_step + 1} (t={c.time_step})", *shown(c), figure(c.error), figure(c.budget),
         "departs" if c.departs else "ok"]
        for c in d.contributions
    ]  # fmt: skip
    norms = "" if d.contributions[0].their_numbers else "; norms"
    title = f"What each step adds to the gradient of {weight}{by}, error in eps{norms}:"
    return "\n".join([title, *table([head, *rows])])


def shown(c: Contribution) -> tuple[str, str]:
    """Both contributions: number by number if few, else their norms."""
    if not c.their_numbers:
        return f"{c.theirs:.4g}", f"{c.right:.4g}"
    return numbers(c.their_numbers), numbers(c.right_numbers)


def numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _drawing(d: Findings) -> str:
    """Draw layer × time: · within its budget, # departs, X the first place."""
    lines = ["Layer × time (· right, # departs, X first):"]
    for backward, rows in d.maps().items():
        steps = " ".join(str(t % 10) for t in range(min(d.T, DRAWN)))
        lines.append(f"  {'gradients' if backward else 'forward':<18} t = {steps}")
        for name, cells in rows:
            marks = ("X" if first else "#" if share > 1 else "·" for _, share, first in cells)
            lines.append(f"    {name:<16}     " + " ".join(islice(marks, DRAWN)))
    return "\n".join(lines)


def _quantities(d: Findings) -> str:
    wrong = sorted(
        (q for q in d.quantities if q.failed),
        key=lambda q: q.error if math.isfinite(q.error) else math.inf,
        reverse=True,
    )
    rows = [["quantity", "error", "budget", "worst in"]]
    rows += [[q.quantity, *amounts(q.status, q.error, q.budget), q.case] for q in wrong[:SHOWN]]
    lines = ["Quantities that depart, error in eps:", *table(rows)]
    if len(wrong) > SHOWN:
        lines.append(f"  … and {len(wrong) - SHOWN} more")
    return "\n".join(lines)


def amounts(status: str, error: float, budget: float) -> tuple[str, str]:
    """Error and budget as text; the status where there is no number."""
    if math.isfinite(error):
        return figure(error), figure(budget)
    return status, figure(budget)


def figure(value: float) -> str:
    """Three digits: ``0.123``, ``4``, ``1.29e+07``."""
    return "∞" if math.isinf(value) else "none" if math.isnan(value) else f"{value:.3g}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, indented."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
