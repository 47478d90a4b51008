"""Verdicts, cards and nights as the pages show them: the newest of each machine, newest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from rnnbench.files import records
from rnnbench.judge.calibration.card import Card
from rnnbench.judge.nightly.night import Night
from rnnbench.judge.site.html import text
from rnnbench.judge.verdict.answer import Verdict

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WINDOW = 60
"""Verdicts and nights of a machine that are read; older ones are listed by their files' names."""
NO_CARD = (
    "the error rates of its verdicts were never measured (rnnbench calibrate), so that nobody "
    "knows how many of them are false alarms, nor what they miss"
)

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class One(Generic[Kept]):
    """A file's content; ``file`` is its path below the results directory."""

    file: str
    value: Kept


@dataclass
class Host:
    """The verdicts, nights and cards of one machine, newest first."""

    name: str
    verdicts: list[One[Verdict]] = field(default_factory=list)
    nights: list[One[Night]] = field(default_factory=list)
    cards: list[One[Card]] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    """Files of verdicts that were not read."""

    @property
    def card(self) -> Card | None:
        return self.cards[0].value if self.cards else None

    @property
    def worth(self) -> str:
        """A sentence on what this machine's verdicts are worth."""
        return f"{self.name}: {worth(self.card)}."


@dataclass
class Judged:
    """All machines by name, and a sentence for each file that cannot be read."""

    hosts: dict[str, Host] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def foot(self) -> list[str]:
        """Sentences for the foot of every page."""
        if not self.hosts:
            return ["No verdict was given yet, and no error rate was measured on any machine."]
        return [host.worth for host in self.hosts.values()]


def read(results_dir: Path) -> Judged:
    """Read what there is; what cannot be read becomes a problem."""
    judged = Judged()
    kinds: list[tuple[str, Callable[[Mapping[str, Any]], Any], str]] = [
        (records.VERDICTS, Verdict.from_dict, "verdicts"),
        (records.NIGHTS, Night.from_dict, "nights"),
        (records.CARD, Card.from_dict, "cards"),
    ]
    for kind, parse, name in kinds:
        for found in records.read(results_dir, kind, parse, newest=WINDOW):
            if found.value is None:
                judged.problems.append(f"{kind}/{found.broken}")
                continue
            host = found.file.parent.name
            kept = getattr(judged.hosts.setdefault(host, Host(host)), name)
            kept.insert(0, One(found.file.relative_to(results_dir).as_posix(), found.value))
    for file in records.files(results_dir, records.VERDICTS):
        host_ = judged.hosts.get(file.parent.name)
        name = file.relative_to(results_dir).as_posix()
        if host_ and name < min((one.file for one in host_.verdicts), default=""):
            host_.older.insert(0, name)
    judged.hosts = dict(sorted(judged.hosts.items()))
    return judged


def moment(at: str) -> datetime:
    """Return an ISO moment in UTC; text that is none becomes 1970."""
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return EPOCH
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def worth(card: Card | None) -> str:
    """Return ``0 false alarms in 40 verdicts of 30 cases; 5% slower found in 98.7 %``."""
    if card is None:
        return NO_CARD
    alarms = text.plural(card.false_alarms, "false alarm")
    parts = [f"{alarms} in {text.plural(card.aa_verdicts, 'verdict')} of {card.aa_cases} cases"]
    for planted in card.planted:
        if planted.cases:
            share = 100 * planted.found / planted.cases
            parts.append(f"{planted.size:.0%} slower found in {share:.3g} %")
    return f"{'; '.join(parts)} (measured {card.at[:10]})"
