"""The page "Error rates": what each machine's verdicts are worth, measured on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rnnbench.judge.site.html import dots, page, text
from rnnbench.judge.site.data.judged import Host, Judged
from reports.sections.speed import Figure
from rnnbench.judge.calibration.card import Card, Planted

ASV = "asv"


@dataclass
class Size:
    """A planted slowdown: what verdicts made of it, and what the other rule did."""

    size: str
    figures: list[Figure]
    other: Figure


@dataclass
class Section:
    """One machine's newest card, and those before it."""

    anchor: str
    name: str
    card: Card | None
    at: str = ""
    alarms: list[tuple[str, str]] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    other: str = ""
    detectable: list[tuple[str, Figure]] = field(default_factory=list)
    chart: Any = None
    instructions: str = ""
    earlier: list[tuple[str, str, str]] = field(default_factory=list)


def render(judged: Judged, project: str) -> str:
    """The whole page as text."""
    sections = [_section(f"c{n}", host) for n, host in enumerate(judged.hosts.values())]
    return page.page("card.html.j2", project=project, foot=judged.foot, sections=sections)


def _section(anchor: str, host: Host) -> Section:
    card = host.card
    if card is None:
        return Section(anchor, host.name, None)
    other = card.other or {}
    ordered = sorted(card.detectable.items(), key=lambda pair: -pair[1])
    return Section(
        anchor,
        host.name,
        card,
        text.iso_moment(card.at),
        _alarms(card),
        [_size(planted, other) for planted in card.planted],
        str(other.get("name", "")),
        [(name, Figure(f"{value:.1%}", "", value)) for name, value in ordered],
        _chart(ordered),
        _instructions(card),
        [_earlier(one.value) for one in host.cards[1:]],
    )


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


def _size(planted: Planted, other: Any) -> Size:
    figures = [
        _share(planted.found, planted.cases),
        _share(planted.found_of_detectable, planted.detectable),
        _share(planted.inconclusive, planted.cases),
        _share(planted.denied, planted.cases, bad=True),
        _share(planted.covered, planted.cases),
    ]
    found = next((one for one in other.get("planted", []) if one.get("size") == planted.size), None)
    theirs = _share(found["found"], found["cases"]) if found else Figure(text.NONE, look="muted")
    return Size(f"+{planted.size:.0%}", figures, theirs)


def _share(count: int, of: int, bad: bool = False) -> Figure:
    """``148 of 150`` under its share."""
    if not of:
        return Figure(text.NONE, "no such case", look="muted")
    look = "bad" if bad and count else ""
    return Figure(
        f"{'✖ ' if look else ''}{100 * count / of:.3g} %", f"{count} of {of}", count / of, look
    )


def _chart(ordered: list[tuple[str, float]]) -> Any:
    """How many cases have which minimum detectable effect, as a row of marks."""
    if not ordered:
        return None
    counts: dict[float, int] = {}
    for _, value in ordered:
        step = next((size for size in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2) if value <= size), 1.0)
        counts[step] = counts.get(step, 0) + 1
    rows, described = [], []
    for step, count in sorted(counts.items()):
        label = f"≤ {step:.0%}" if step < 1 else "above 20 %"
        words = f"{label}: {text.plural(count, 'case')}"
        described.append(words)
        rows.append(dots.Row(label, [[dots.Mark(2, count, words)]]))
    axis = dots.number_axis([*map(float, counts.values()), 1.0])
    title = "Cases by the least slowdown that would be seen"
    return dots.dot_plot(title, "; ".join(described), rows, axis)


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
