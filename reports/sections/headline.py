"""The headline of a set of rows."""

from __future__ import annotations

import pandas as pd

from reports.sections.parity import parities
from rnnbench.judge.site.data.store import counts
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.figures import Banner


def verdict(rows: pd.DataFrame) -> Banner:
    """Return red for anything wrong, amber for anything unproven, green only for all proven."""
    count = counts(rows["status"])
    checked = parities(rows)
    failing = max(sum(not case.passed for case in checked), min(count.parity, 1))
    detail = (
        f"{text.plural(count.measured, 'result')} measured, {count.skipped:,} skipped, "
        f"{count.failed:,} failed; parity checked on {text.plural(len(checked), 'case')}."
    )
    if not count.measured:
        return Banner("bad", "Nothing measured", detail)
    if failing:
        return Banner("bad", f"Parity failed in {text.plural(failing, 'case')}", detail)
    if count.failed:
        return Banner("bad", f"{text.plural(count.failed, 'result')} missing", detail)
    if count.unrecorded or not checked:
        unproven = f"{text.plural(count.unrecorded, 'result')} without proof of parity."
        return Banner("warn", "Parity not proven", f"{detail} {unproven}")
    return Banner("good", "All parity green", detail)
