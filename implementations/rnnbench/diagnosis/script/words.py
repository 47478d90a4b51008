"""The part of an account that only a script has: trouble, what was compared, terms, advice."""

from __future__ import annotations

from collections.abc import Sequence

from rnnbench.diagnosis.findings import Compared, Findings, Script

WIDE = 4
"""Numbers of each that stand side by side."""


def before(d: Findings) -> list[str]:
    """Return the paragraphs that come first: what was mended, and what went wrong."""
    assert d.script is not None
    parts = []
    if d.script.mended:
        parts.append("Mended first: " + "; ".join(d.script.mended) + ".")
    if d.script.trouble:
        said = [f"{one[0].upper()}{one[1:]}." for one in d.script.trouble]
        parts.append("\n".join(said))
    return parts


def verdict(d: Findings) -> str:
    """Return the one line of a script: nothing to compare, right, or what departs."""
    s = d.script
    assert s is not None
    wrong = [c for c in s.compared if c.failed]
    if wrong:
        names = ", ".join(dict.fromkeys(f"{c.name} (line {c.line})" for c in wrong[:3]))
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return f"{d.candidate} departs from {s.network} in {names}{more}."
    if d.status == "nothing":
        ended = f"; {s.ended}" if s.ended else ""
        return f"{d.candidate}: nothing could be compared: {d.raised}{ended}."
    if s.compared:
        names = ", ".join(dict.fromkeys(c.name for c in s.compared))
        return f"{d.candidate} is right: it agrees with {s.network} to rounding, in {names}."
    if d.status == "raised":
        return f"{d.candidate} stops before anything of its own could be compared."
    return (
        f"{d.candidate} is right as far as there is something to compare: {s.network} agrees with "
        "the float64 oracle, and nothing of the script's own is held against it."
    )


def after(d: Findings) -> list[str]:
    """Return the paragraphs that come last: both numbers, the terms, advice, how it ended."""
    s = d.script
    assert s is not None
    parts = []
    if s.terms:
        parts.append(_terms(d, s))
    if s.compared:
        parts.append(_compared(s.compared))
    if (said := notes(s)) and d.status != "nothing":
        parts.append("\n".join(f"note: {one}" for one in said))
    return parts


def notes(s: Script) -> list[str]:
    """Return advice, and how the script ended where that was no trouble."""
    return [*s.advice, *([s.ended] if s.ended and not s.trouble else [])]


def sentence(d: Findings) -> str:
    """Return which term is the first that is no step's contribution, and what it should be."""
    assert d.script is not None
    wrong = [term for term in d.script.terms if term.departs]
    if not wrong:
        return "Each term is what its step adds: what is wrong is done to the sum."
    of = next((c for c in d.script.compared if c.name == d.script.terms_of), None)
    weight = of.quantity.removeprefix("grad_") if of else "the weight"
    term = max(wrong, key=lambda term: -1 if term.time_step is None else term.time_step)
    head = f"{term.name} (line {term.line}) is no step's contribution to the gradient of {weight}"
    if term.time_step is None:
        return f"{head}: {_few(term.theirs)}."
    others = ", and the steps before it follow" if len(wrong) > 1 else ""
    return (
        f"{head}: it is {_few(term.theirs)}, and step {term.time_step + 1} adds "
        f"{_few(term.right)}{others}."
    )


def terms(s: Script) -> list[tuple[str, ...]]:
    """Return a row of texts for each term: name, line, step, both numbers, verdict."""
    return [
        (
            term.name, str(term.line),
            "?" if term.time_step is None else f"{term.time_step + 1} (t={term.time_step})",
            _few(term.theirs), _few(term.right), "departs" if term.departs else "ok",
        )
        for term in s.terms
    ]  # fmt: skip


def row(c: Compared) -> tuple[str, ...]:
    """Return a row of texts for a comparison: name, line, part, error, both numbers, verdict."""
    return (
        c.name, str(c.line), f"{c.quantity} {c.part}".strip(), f"{c.error:.3g} of {c.budget:.3g}",
        _few(c.theirs), _few(c.right), "departs" if c.failed else "ok",
    )  # fmt: skip


def _terms(d: Findings, s: Script) -> str:
    head = ["term", "line", "step", "theirs", "right", ""]
    title = f"What is added up to {s.terms_of}:"
    return "\n".join([title, *_table([head, *terms(s)]), sentence(d)])


def _compared(compared: Sequence[Compared]) -> str:
    head = ["theirs", "line", "held against", "error, eps", "theirs is", "right is", ""]
    why = dict.fromkeys(f"  {c.name}: {c.how}" for c in compared)
    return "\n".join(["Compared:", *_table([head, *map(row, compared)]), "Known by:", *why])


def _few(values: Sequence[float]) -> str:
    """Return the first numbers; … where there are more."""
    shown = [
        f"{value:.4f}" if 1e-4 <= abs(value) < 1e5 or not value else f"{value:.3e}"
        for value in values[:WIDE]
    ]
    return " ".join([*shown, *["…"] * (len(values) > WIDE)]) or "?"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
