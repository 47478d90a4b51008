"""A verdict in words: figures, sentences, and the markdown of an issue or a comment.

Names of commits, their subjects and reasons come from whoever wrote the commit, in a pull request
from anybody: in markdown they are made harmless, everywhere fit to be shown (`foreign`).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rnnbench.files.foreign import plain
from rnnbench.judge.verdict.answer import (
    MEASURED,
    UNITS,
    CaseAnswer,
    Commit,
    Status,
    Undecided,
    Verdict,
)
from rnnbench.judge.verdict.channels import disagreements
from rnnbench.judge.verdict.sides import INSTRUCTIONS, MEMORY, PARITY, VALUE

SHOWN = 20
"""Cases of a status that the markdown lists; the report has all."""
SHOWN_NOT_CHOSEN = 8
"""Benchmarks that are named with the cases that were not looked at."""
MARKS = {
    Status.REGRESSION: "▲",
    Status.IMPROVEMENT: "▼",
    Status.NO_CHANGE: "=",
    Status.INCONCLUSIVE: "?",
    Status.BROKEN: "✗",
    Status.NEW: "+",
    Status.SKIPPED: "–",
}
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def escaped(text: str) -> str:
    """Return Markdown that shows ``text`` as it is: no markup, no HTML, no mention, no link."""
    kept = re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~&$:])", r"\\\1", plain(text))
    return kept.replace("@", "@\u200b")


def code(text: str) -> str:
    """Return ``text`` as a code span of a table; backticks and bars would end it."""
    return "`" + plain(text).replace("`", "'").replace("|", "¦") + "`"


def percent(ratio: float) -> str:
    """Return the relative change of a ratio, signed."""
    return f"{100 * (ratio - 1):+.1f} %"


def interval(case: CaseAnswer) -> str:
    if case.low is None or case.high is None:
        return ""
    return f"{percent(case.low)} … {percent(case.high)}"


def effect(case: CaseAnswer) -> str:
    return "" if case.ratio is None else percent(case.ratio)


def detectable(case: CaseAnswer) -> str:
    return "" if case.detectable is None else f"{100 * case.detectable:.1f} %"


def unchanged(verdict: Verdict) -> str:
    """Return which cases did not change, by quantity, and the change that is excluded."""
    parts = []
    for quantity in UNITS:
        cases = [case for case in verdict.of(Status.NO_CHANGE) if case.quantity == quantity]
        sizes = [size for case in cases if (size := case.excluded) is not None]
        if cases:
            parts.append(f"{len(cases)} {quantity}")
        if sizes and quantity != PARITY:
            parts[-1] += f" (nothing above {100 * max(sizes):.1f} %)"
    return ", ".join(parts)


def accounts(cases: Sequence[CaseAnswer]) -> list[tuple[str, list[CaseAnswer]]]:
    """Return the reasons, and the cases that give each."""
    found: dict[str, list[CaseAnswer]] = {}
    for case in cases:
        if case.reason:
            found.setdefault(case.reason, []).append(case)
    return list(found.items())


def account(reason: str, cases: Sequence[CaseAnswer]) -> str:
    """Return a reason with the first case that gives it."""
    more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
    return f"{cases[0].status.value}: {cases[0].name}{more}: {reason}"


def channel_labels(verdict: Verdict) -> list[tuple[str, str]]:
    """Return cases whose seconds and instructions disagree, and the meaning of that."""
    return [(one.time.name, one.says) for one in disagreements(verdict.cases)]


def amount(value: float | None, quantity: str, unit: str | None = None) -> str:
    """Return a figure with its unit, which a value brings along."""
    if value is None:
        return ""
    if quantity == VALUE:
        return f"{value:.4g} {plain(unit or '')}".strip()
    if quantity == PARITY:
        return f"{value:.3g} eps"
    if quantity == INSTRUCTIONS:
        return f"{value:,.0f}"
    if quantity == MEMORY:
        return f"{value / 1024:,.0f} KiB"
    scale, prefix = next((one for one in PREFIXES if abs(value) >= one[0]), PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}s"


def counts(verdict: Verdict) -> str:
    """Return ``2 regressions, 38 no change``: only statuses that there are."""
    found = {status: len(verdict.of(status)) for status in Status}
    plural = {Status.REGRESSION: "regressions", Status.IMPROVEMENT: "improvements"}
    return ", ".join(
        f"{count} {plural.get(status, status.value) if count > 1 else status.value}"
        for status, count in found.items()
        if count
    )


def headline(verdict: Verdict) -> str:
    """Return the answer in one sentence."""
    slower = verdict.of(Status.REGRESSION)
    if slower:
        worst = verdict.worst
        size = f" by {effect(worst)}" if worst.ratio else ""
        return f"Regression: {len(slower)} of {len(verdict.cases)} cases, {worst.name}{size} first"
    broken = verdict.of(Status.BROKEN)
    if broken:
        return f"Broken: {len(broken)} of {len(verdict.cases)} cases could not be measured at head"
    measured = verdict.of(*MEASURED)
    if not measured:
        return f"Nothing measured: {counts(verdict) or 'no case'}"
    doubtful = verdict.of(Status.INCONCLUSIVE)
    if doubtful:
        return f"Inconclusive: {len(doubtful)} of {len(measured)} cases: {_doubts(doubtful)}"
    return f"No regression in {len(measured)} cases: {unchanged(verdict)}"


def _doubts(doubtful: Sequence[CaseAnswer]) -> str:
    """Return how many ran out of time, with the budget that should do, and how many else."""
    parts = []
    for why in Undecided:
        cases = [case for case in doubtful if case.undecided is why]
        budgets = [case.budget for case in cases if case.budget is not None]
        hint = f" (--budget {budget_minutes(max(budgets))} should decide them)" if budgets else ""
        if cases:
            parts.append(f"{len(cases)} {why.value}{hint}")
    return ", ".join(parts) or "each has its reason"


def budget_minutes(seconds: float) -> str:
    """Return minutes for ``--budget``, rounded up to a tenth, or to a whole one from ten on."""
    tenths = math.ceil(seconds / 6)
    return f"{tenths / 10:g}" if tenths < 100 else f"{math.ceil(tenths / 10)}"


def differences(base: Commit, head: Commit) -> list[str]:
    """Return the versions that are not the same on both sides."""
    names = sorted({*base.versions, *head.versions})
    pairs = [(name, base.versions.get(name), head.versions.get(name)) for name in names]
    return [
        f"{name} {before or 'absent'} → {after or 'absent'}"
        for name, before, after in pairs
        if before != after
    ]


def not_chosen(verdict: Verdict) -> str:
    """Return how many cases of which benchmarks were not looked at; empty if all were."""
    if not verdict.not_chosen:
        return ""
    most = sorted(verdict.not_chosen.items(), key=lambda one: -one[1])
    named = ", ".join(f"{count} of {benchmark}" for benchmark, count in most[:SHOWN_NOT_CHOSEN])
    more = (
        f" and {len(most) - SHOWN_NOT_CHOSEN} more benchmarks"
        if len(most) > SHOWN_NOT_CHOSEN
        else ""
    )
    return f"not looked at: {sum(verdict.not_chosen.values())} cases: {named}{more}"


def command(verdict: Verdict, cases: Sequence[CaseAnswer] = ()) -> str:
    """Return the command that repeats a verdict; every name is quoted, as a shell reads it."""
    words = ["rnnbench", "verdict", verdict.base.hash, verdict.head.hash]
    words += ["--threshold", f"{100 * verdict.threshold:g}%"]
    words += [f"--case={case.name}" for case in cases]
    return shlex.join(words)


def markdown(verdict: Verdict, report: str | None = None) -> str:
    """Return the body of an issue or comment; ``report`` is the published report's address."""
    parts = [f"### {MARKS[_look(verdict)]} {escaped(headline(verdict))}", _sides(verdict)]
    for status in (Status.REGRESSION, Status.BROKEN, Status.IMPROVEMENT, Status.INCONCLUSIVE):
        cases = verdict.of(status)
        if cases:
            parts.append(_table(status, cases, verdict))
    if verdict.of(Status.REGRESSION):
        parts += [_since(verdict), *_attribution(verdict.attribution)]
    labels = [f"- {code(name)}: {escaped(says)}" for name, says in channel_labels(verdict)]
    if labels:
        parts.append("**Seconds and instructions disagree:**\n\n" + "\n".join(labels))
    changed = differences(verdict.base, verdict.head)
    parts.append(
        "**Environment:** "
        + (", ".join(map(code, changed)) if changed else "the same versions on both sides.")
    )
    again = verdict.of(Status.REGRESSION)[:5]
    parts.append(f"**To reproduce:**\n\n```sh\n{plain(command(verdict, again))}\n```")
    if report:
        parts.append(f"[Report](<{report.replace('>', '%3E')}>)")
    said = [part for part in (counts(verdict), not_chosen(verdict)) if part]
    parts.append(
        f"<sub>{escaped('. '.join(said))}. {verdict.rounds} rounds in "
        f"{verdict.seconds:.0f} s on "
        f"{code(verdict.machine.get('cpu', '?'))}; false discovery rate {verdict.alpha:.0%}; "
        "a change is called if it is significant and its interval lies beyond 1 %.</sub>"
    )
    return "\n\n".join(parts) + "\n"


def _look(verdict: Verdict) -> Status:
    for status in (Status.REGRESSION, Status.BROKEN, Status.INCONCLUSIVE):
        if verdict.of(status):
            return status
    return Status.NO_CHANGE if verdict.of(*MEASURED) else Status.SKIPPED


def _sides(verdict: Verdict) -> str:
    return "\n".join(
        f"- {label}: {code(commit.hash[:12])} {escaped(commit.subject)}"
        for label, commit in (("base", verdict.base), ("head", verdict.head))
    )


def _table(status: Status, cases: Sequence[CaseAnswer], verdict: Verdict) -> str:
    lines = [
        f"**{status.value.capitalize()}** ({len(cases)})",
        "",
        "| case | base | head | change | interval | detectable |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for case in cases[:SHOWN]:
        figures = [amount(one, case.quantity, case.unit) for one in (case.base, case.head)]
        row = [code(case.name), *figures, effect(case), interval(case), detectable(case)]
        lines.append("| " + " | ".join(row) + " |")
    reasons = [f"- {escaped(account(*one))}" for one in accounts(cases)]
    more = [f"… and {len(cases) - SHOWN} more"] if len(cases) > SHOWN else []
    tail = reasons[:SHOWN] + more
    return "\n".join(lines + (["", *tail] if tail else []))


def _since(verdict: Verdict) -> str:
    if len(verdict.commits) == 1:
        return f"**Since:** {code(verdict.commits[0][:12])}"
    if not verdict.commits:
        return f"**Since:** {code(verdict.head.hash[:12])} or before"
    first, last = verdict.commits[0][:12], verdict.commits[-1][:12]
    return f"**Since:** one of {len(verdict.commits)} commits, {code(first)} to {code(last)}"


def _attribution(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    lines = [f"- {escaped(part)}: {escaped(str(one['says']))}" for part, one in found.items()]
    return ["**Attribution:**\n\n" + "\n".join(lines)]
