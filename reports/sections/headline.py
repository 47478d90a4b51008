"""The headline of a set of rows: for the page's banner and the terminal's last line alike."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rnnbench.judge.site.html import text
from reports.sections.facts import counts
from reports.sections.parity import parities


@dataclass(frozen=True)
class Verdict:
    """``look`` is ``good``, ``warn`` or ``bad``; a headline, and the rest of the sentence."""

    look: str
    headline: str
    detail: str


def verdict(rows: pd.DataFrame) -> Verdict:
    """Red for anything wrong, amber for anything unproven, green only for all proven."""
    count = counts(rows)
    checked = parities(rows)
    failing = max(sum(not case.passed for case in checked), min(count.parity, 1))
    detail = (
        f"{text.plural(count.measured, 'result')} measured, {count.skipped:,} skipped, "
        f"{count.failed:,} failed; parity checked on {text.plural(len(checked), 'case')}."
    )
    if not count.measured:
        return Verdict("bad", "Nothing measured", detail)
    if failing:
        return Verdict("bad", f"Parity failed in {text.plural(failing, 'case')}", detail)
    if count.failed:
        return Verdict("bad", f"{text.plural(count.failed, 'result')} missing", detail)
    if count.unrecorded or not checked:
        unproven = f"{text.plural(count.unrecorded, 'result')} without proof of parity."
        return Verdict("warn", "Parity not proven", f"{detail} {unproven}")
    return Verdict("good", "All parity green", detail)
