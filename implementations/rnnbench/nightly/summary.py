"""A night as text: for a terminal, and as Markdown for an issue or a job's summary."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rnnbench.exit_codes import BROKEN, FAILED, GOOD, INCONCLUSIVE, NOTHING_MEASURED
from rnnbench.nightly.night import Night, Trouble
from rnnbench.nightly.run import Result

HEADLINES = {
    GOOD: "clean",
    FAILED: "a regression",
    BROKEN: "something broke",
    NOTHING_MEASURED: "nothing was measured",
    INCONCLUSIVE: "inconclusive",
}
SHOWN = 20


def headline(result: Result) -> str:
    """``2026-11-22 03:15 host: a regression``."""
    night = result.night
    when = night.at[:16].replace("T", " ")
    return f"Night of {when} UTC on {night.machine['host']}: {HEADLINES[night.exit_code]}"


def facts(result: Result) -> list[tuple[str, str]]:
    """What was done, a name and a sentence each."""
    night = result.night
    shard = "" if night.shard == "1/1" else f", shard {night.shard}"
    new = len(night.commits)
    lines = [
        ("head", f"{night.head[:8]}, judged against {_against(night)}"),
        ("measured", f"{night.measured} units over {new} commit{'s' * (new != 1)}{shard}"),
        ("left", f"{night.left} units" + (" for the next night" if night.left else "")),
        ("time", f"{minutes(night.seconds)} of {minutes(night.budget)}"),
    ]
    if night.bench:
        lines.append(("only", ", ".join(night.bench)))
    return lines


def _against(night: Night) -> str:
    if night.base is None:
        return "nothing, as there is no clean night yet"
    if night.base == night.head:
        return "nothing, as it is the last clean commit"
    return f"{night.base[:8]}, the last clean commit" + ("" if night.verdict else ": no verdict")


def minutes(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 90 else f"{whole // 60} h {whole % 60} min"


def markdown(result: Result, verdict: str) -> str:
    """The body of an issue; ``verdict`` is the verdict's own Markdown, if there is one."""
    parts = [f"## {plain(headline(result))}", ""]
    parts += ["| | |", "|---|---|"]
    parts += [f"| {name} | {plain(sentence)} |" for name, sentence in facts(result)]
    if verdict:
        parts += ["", verdict.rstrip()]
    troubles = result.night.troubles
    if troubles:
        parts += ["", "### What went wrong", "", *_items(troubles[:SHOWN])]
    if len(troubles) > SHOWN:
        parts.append(f"- … and {len(troubles) - SHOWN} more, in {plain(result.file.name)}")
    return "\n".join(parts) + "\n"


def _items(troubles: Iterable[Trouble]) -> list[str]:
    return [f"- **{plain(one.what)}**, {plain(one.unit)}: {plain(one.account)}" for one in troubles]


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line, with no link, mention, tag or image in it."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|<>~&-])", r"\\\1", " ".join(text.split()))
    escaped = escaped.replace("\\-", "-").replace("\\(", "(").replace("\\)", ")")
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")
