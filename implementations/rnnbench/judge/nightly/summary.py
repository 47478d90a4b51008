"""A night as text: for a terminal, and as Markdown for an issue or a job's summary."""

from __future__ import annotations

from collections.abc import Iterable

from rnnbench.exit_codes import BROKEN, FAILED, GOOD, INCONCLUSIVE, NOTHING_MEASURED
from rnnbench.judge.nightly.night import Night, Trouble
from rnnbench.judge.nightly.run import Result
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.text import escaped

HEADLINES = {
    GOOD: "clean",
    FAILED: "a regression",
    BROKEN: "something broke",
    NOTHING_MEASURED: "nothing was measured",
    INCONCLUSIVE: "inconclusive",
}
SHOWN = 20


def headline(result: Result) -> str:
    """Return ``Night of 2026-11-22 03:15 UTC on host: a regression``."""
    night = result.night
    when = night.at[:16].replace("T", " ")
    return f"Night of {when} UTC on {night.machine['host']}: {HEADLINES[night.exit_code]}"


def facts(result: Result) -> list[tuple[str, str]]:
    """Return what was done, a name and a sentence each."""
    night = result.night
    shard = "" if night.shard == "1/1" else f", shard {night.shard}"
    new = len(night.commits)
    lines = [
        ("head", f"{night.head[:8]}, {_against(night)}"),
        ("measured", f"{night.measured} units over {new} commit{'s' * (new != 1)}{shard}"),
        ("left", f"{night.left} units" + (" for the next night" if night.left else "")),
        ("time", f"{minutes(night.seconds)} of {minutes(night.budget)}"),
    ]
    if result.verdict is not None:
        lines.insert(1, ("verdict", text.headline(result.verdict)))
    if night.bench:
        lines.append(("only", ", ".join(night.bench)))
    return lines


def _against(night: Night) -> str:
    if night.base is None:
        return "not judged, as no clean night is known"
    if night.base == night.head:
        return "the last clean commit"
    against = f"against {night.base[:8]}"
    return f"judged {against}" if night.verdict else f"not judged {against}"


def minutes(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 90 else f"{whole // 60} h {whole % 60} min"


def markdown(result: Result, report: str | None = None) -> str:
    """Return the body of an issue; ``report`` is the address of the published report."""
    parts = [f"## {escaped(headline(result))}", ""]
    parts += ["| | |", "|---|---|"]
    rows = [fact for fact in facts(result) if fact[0] != "verdict"]  # which follows in full
    parts += [f"| {name} | {escaped(sentence)} |" for name, sentence in rows]
    if result.verdict is not None:
        parts += ["", text.markdown(result.verdict, report).rstrip()]
    troubles = result.night.troubles
    if troubles:
        parts += ["", "### What went wrong", "", *_items(troubles[:SHOWN])]
    if len(troubles) > SHOWN:
        parts.append(f"- … and {len(troubles) - SHOWN} more, in {escaped(result.file.name)}")
    return "\n".join(parts) + "\n"


def _items(troubles: Iterable[Trouble]) -> list[str]:
    return [
        f"- **{escaped(one.what)}**, {escaped(one.unit)}: {escaped(one.account)}"
        for one in troubles
    ]
