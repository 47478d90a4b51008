"""Tonight's verdicts: a banner for each machine, what went wrong, and what is slower."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rnnbench.exit_codes import BROKEN, FAILED, GOOD, INCONCLUSIVE, NOTHING_MEASURED
from rnnbench.judge.nightly.night import Night
from rnnbench.judge.site.data.judged import Host, moment
from rnnbench.judge.site.html import text
from rnnbench.judge.site.html.figures import Banner, Figure
from rnnbench.judge.verdict import text as words
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Verdict

LATE = timedelta(days=2)
"""A machine that is silent for longer has missed a night."""
LOOKS = {GOOD: "good", FAILED: "bad", BROKEN: "bad", INCONCLUSIVE: "warn", NOTHING_MEASURED: "bad"}
SHOWN = 12
"""Cases of a status that the overview lists."""


@dataclass
class Tonight:
    """One machine: the newest verdict and the newest night."""

    name: str
    banner: Banner
    verdict: Verdict | None
    night: Night | None
    night_words: str = ""
    late: str = ""
    worth: str = ""
    cases: list[tuple[CaseAnswer, list[Figure]]] = field(default_factory=list)
    more: int = 0
    """Cases of note that the table leaves out."""
    channels: list[tuple[str, str]] = field(default_factory=list)
    """Cases on which seconds and instructions disagree, and what that means."""


def tonight(host: Host, now: datetime) -> Tonight:
    """Return what the newest files of a machine say."""
    verdict = host.verdicts[0].value if host.verdicts else None
    night = host.nights[0].value if host.nights else None
    found = Tonight(host.name, banner(host), verdict, night, worth=host.worth)
    if night is not None:
        found.night_words = of_night(night)
    newest = max((one.at for one in (verdict, night) if one is not None), default="")
    found.late = _late(newest, now)
    if found.late and found.banner.look == "good":
        found.banner = replace(
            found.banner, look="warn", headline=f"{found.late} Then: {found.banner.headline}"
        )
    if verdict is not None:
        noted = verdict.of(Status.REGRESSION)
        noted += verdict.of(Status.BROKEN) + verdict.of(Status.INCONCLUSIVE)
        found.more = max(len(noted) - SHOWN, 0)
        found.cases = [(case, figures(case)) for case in noted[:SHOWN]]
        found.channels = words.channel_labels(verdict)
    return found


def banner(host: Host) -> Banner:
    """Return the newest verdict's banner, or the newest night's where that came to none."""
    verdict = host.verdicts[0] if host.verdicts else None
    night = host.nights[0].value if host.nights else None
    if night is not None and not (verdict and verdict.value.at >= night.at):
        if not night.finished:
            return Banner("bad", "The last night did not finish", of_night(night))
        if night.verdict is None:
            if night.exit_code == GOOD:
                return Banner("warn", "No verdict in the last night", of_night(night))
            return Banner(LOOKS.get(night.exit_code, "bad"), _no_verdict(night), of_night(night))
    if verdict is None:
        return Banner("warn", "No verdict yet", "Nothing was compared on this machine.")
    found = of_verdict(verdict.value)
    if night is not None and night.exit_code != GOOD and found.look == "good":
        return Banner(LOOKS.get(night.exit_code, "bad"), _no_verdict(night), found.headline + ".")
    return found


def of_verdict(verdict: Verdict) -> Banner:
    """Return a verdict's headline, and what it compared."""
    detail = (
        f"{words.counts(verdict) or 'no case'}; {verdict.base.hash[:10]} → "
        f"{verdict.head.hash[:10]}, {text.iso_moment(verdict.at)}."
    )
    return Banner(LOOKS.get(verdict.exit_code, "bad"), words.headline(verdict), detail)


def of_night(night: Night) -> str:
    """Return ``40 units measured in 30 of 60 min, 3 left for the next night.``"""
    found = (
        f"{text.iso_moment(night.at)}: {text.plural(night.measured, 'unit')} measured in "
        f"{night.seconds / 60:.0f} of {night.budget / 60:.0f} min, {night.left:,} left for the "
        f"next night"
    )
    if night.shard != "1/1":
        found += f"; shard {night.shard}"
    return f"{found}{'' if night.finished else '; it did not finish'}."


def figures(case: CaseAnswer) -> list[Figure]:
    """Return change, detectable change, base and head."""
    look = {Status.REGRESSION: "slower", Status.BROKEN: "bad"}.get(case.status, "")
    change = Figure(words.effect(case) or text.NONE, words.interval(case), case.ratio, look)
    sizes = [
        Figure(words.amount(value, case.quantity, case.unit) or text.NONE, "", value)
        for value in (case.base, case.head)
    ]
    return [change, Figure(words.detectable(case) or text.NONE, "", case.detectable), *sizes]


def _no_verdict(night: Night) -> str:
    said = {
        FAILED: "The last night found a regression",
        INCONCLUSIVE: "The last night was inconclusive",
        NOTHING_MEASURED: "The last night measured nothing",
        BROKEN: "Something broke in the last night",
    }
    return said.get(night.exit_code, f"The last night ended with exit code {night.exit_code}")


def _late(newest: str, now: datetime) -> str:
    ago = now - moment(newest)
    return f"Silent for {ago.days} days." if newest and ago > LATE else ""
