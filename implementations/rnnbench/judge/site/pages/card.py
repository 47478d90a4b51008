"""The page "Error rates": what each machine's verdicts are worth, measured on it."""

from __future__ import annotations

from typing import Any

from rnnbench.judge.calibration.card import Card, Planted
from rnnbench.judge.site.data.judged import Host, Judged
from rnnbench.judge.site.html import dots, text
from rnnbench.judge.site.html.figures import NOTHING, Figure
from rnnbench.judge.site.html.page import Frame, page

STEPS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""Minimum detectable effects that the chart counts cases up to."""


def render(judged: Judged, frame: Frame) -> str:
    """Return the whole page as text."""
    sections = [_section(f"c{n}", host) for n, host in enumerate(judged.hosts.values())]
    return page("card.html.j2", frame, sections=sections)


def _section(anchor: str, host: Host) -> dict[str, Any]:
    """Return one machine's newest card, and those before it, as the template shows them."""
    card = host.card
    if card is None:
        return {"anchor": anchor, "name": host.name, "card": None}
    other = card.other or {}
    ordered = sorted(card.detectable.items(), key=lambda pair: -pair[1])
    return {
        "anchor": anchor,
        "name": host.name,
        "card": card,
        "at": text.iso_moment(card.at),
        "alarms": _alarms(card),
        "sizes": [_size(planted, other) for planted in card.planted],
        "other": str(other.get("name", "")),
        "detectable": [(name, Figure(f"{value:.1%}", "", value)) for name, value in ordered],
        "chart": _chart([value for _, value in ordered]),
        "instructions": _instructions(card),
        "earlier": [_earlier(one.value) for one in host.cards[1:]],
    }


def _alarms(card: Card) -> list[tuple[str, str]]:
    verdicts = text.plural(card.aa_verdicts, "verdict")
    known = [
        ("false alarms", f"{card.false_alarms} in {verdicts} of {card.aa_cases} cases each"),
        ("verdicts with a false alarm", f"{card.alarmed_verdicts} of {card.aa_verdicts}"),
        ("inconclusive", f"{card.aa_inconclusive} of {card.aa_verdicts * card.aa_cases} cases"),
    ]
    if card.spared:
        beside = f"{card.spared_alarms} among {text.plural(card.spared, 'case')}"
        known.append(("false alarms beside planted slowdowns", beside))
    other = card.other or {}
    if "false_alarms" in other:
        alarmed = other.get("alarmed_verdicts", "?")
        said = f"{other['false_alarms']} false alarms, in {alarmed} of {verdicts}"
        known.append((f"{other.get('name', 'the other rule')} on the same pairs", said))
    return known


def _size(planted: Planted, other: Any) -> dict[str, Any]:
    """Return what verdicts made of a planted slowdown, and what the other rule did."""
    figures = [
        _share(planted.found, planted.cases),
        _share(planted.found_of_detectable, planted.detectable),
        _share(planted.inconclusive, planted.cases),
        _share(planted.denied, planted.cases, bad=True),
        _share(planted.covered, planted.cases),
    ]
    found = next((one for one in other.get("planted", []) if one.get("size") == planted.size), None)
    theirs = _share(found["found"], found["cases"]) if found else NOTHING
    return {"size": f"+{planted.size:.0%}", "figures": figures, "other": theirs}


def _share(count: int, of: int, bad: bool = False) -> Figure:
    """Return ``148 of 150`` under its share."""
    if not of:
        return Figure(text.NONE, "no such case", look="muted")
    look = "bad" if bad and count else ""
    return Figure(
        f"{'✖ ' if look else ''}{100 * count / of:.3g} %", f"{count} of {of}", count / of, look
    )


def _chart(effects: list[float]) -> Any:
    """Return a row for each step of minimum detectable effects, with the number of cases."""
    steps = [next((step for step in STEPS if value <= step), 1.0) for value in effects]
    rows = []
    for step in sorted(set(steps)):
        label = f"≤ {step:.0%}" if step < 1 else "above 20 %"
        count = steps.count(step)
        words = f"{label}: {text.plural(count, 'case')}"
        rows.append(dots.Row(label, [[dots.Mark(2, count, words)]]))
    axis = dots.number_axis([*(float(steps.count(step)) for step in steps), 1.0])
    title = "Cases by the least slowdown that would be seen"
    said = "; ".join(f"{one.words}" for row in rows for lane in row.lanes for one in lane)
    return dots.dot_plot(title, said, rows, axis) if rows else None


def _instructions(card: Card) -> str:
    channel = card.instructions
    if channel is None:
        return "Instructions were not counted."
    if not channel.get("available"):
        return f"No instruction counts: {channel.get('reason') or 'no reason given'}."
    spread = channel.get("spread")
    if not isinstance(spread, int | float):
        return "Instructions are counted; their spread is not recorded."
    return f"Instruction counts spread by {100 * spread:.2g} % over ten runs."


def _earlier(card: Card) -> tuple[str, str, str]:
    alarms = f"{card.false_alarms} in {card.aa_verdicts} × {card.aa_cases}"
    recalls = [
        f"+{one.size:.0%}: {100 * one.found / one.cases:.3g} %" for one in card.planted if one.cases
    ]
    return text.iso_moment(card.at), alarms, ", ".join(recalls)
