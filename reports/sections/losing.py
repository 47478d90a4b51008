"""Losses in words: every case in which another is faster than our kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.data.comparisons import BASELINE, OURS, SHOWN_AS, Compared
from rnnbench.judge.site.html import text
from rnnbench.spec import Case

SLOWER = "{ours} is {factor} times slower than {peer} (95 % interval {bounds}) in {where}."
ABSENT = "{ours} has no time in {where}: {why}."
ALONE = "that was torch.nn, as no other was timed."
WHY = {
    "unsupported": "not supported",
    "wrong": "its result is not that of the oracle",
    "broke": "it broke",
}


@dataclass(frozen=True)
class Losses:
    """A headline on one rival, and each loss beyond noise in a sentence, the worst first."""

    headline: str
    sentences: list[str]


def losses(compared: Sequence[Compared]) -> list[Losses]:
    """Return losses to torch.nn, to each case's fastest peer, and cases without a time."""
    absent = [
        ABSENT.format(ours=OURS, where=_where(one), why=_why(one))
        for one in compared
        if one.ours is None or not one.ours.timed
    ]
    found = [
        _against(SHOWN_AS[BASELINE], [(one, BASELINE) for one in compared]),
        _against("the fastest peer", [(one, one.peer) for one in compared if one.peer]),
    ]
    alone = sum(1 for one in compared if one.peer and not one.has_peers)
    if alone:
        many = text.plural(alone, "case")
        found[1] = replace(found[1], headline=f"{found[1].headline} In {many} {ALONE}")
    if absent:
        found.append(Losses(f"{OURS} has no time in {_cases(len(absent), compared)}.", absent))
    return found


def described(case: Case) -> str:
    """Return ``B=16, H=128, T=128``, and what else is not as usual."""
    spec = case.spec
    words = [f"B={case.B}", f"H={spec.hidden_size}", f"T={case.T}"]
    words += [f"I={spec.input_size}"] * (spec.input_size != spec.hidden_size)
    words += [f"P={spec.proj_size}"] * bool(spec.proj_size)
    words += [f"{spec.layers} layers"] * (spec.layers > 1)
    words += ["both directions"] * (spec.directions > 1)
    words += [spec.dtype] * (spec.dtype != "float32")
    return ", ".join(words)


def _against(rival: str, pairs: Sequence[tuple[Compared, str]]) -> Losses:
    """Return the losses to one rival; ``pairs``: each case and the backend it is compared with."""
    ratios = [
        (one, peer, one.ours.over[peer])
        for one, peer in pairs
        if one.ours is not None and peer in one.ours.over
    ]
    below = sorted((entry for entry in ratios if entry[2].value < 1), key=lambda e: e[2].value)
    slower = [entry for entry in below if entry[2].verdict == "slower"]
    if not ratios:
        return Losses(f"{OURS} was not compared with {rival}.", [])
    cases = text.plural(len(ratios), "case")
    if slower:
        headline = f"{OURS} is slower than {rival} in {len(slower)} of {cases}."
    else:
        headline = f"{OURS} is nowhere slower than {rival} beyond the noise ({cases})."
    if len(below) > len(slower):
        headline += f" In {len(below) - len(slower)} more it seems slower, within the noise."
    sentences = [
        SLOWER.format(
            ours=OURS,
            factor=text.number(1 / ratio.value),
            peer=SHOWN_AS.get(peer, peer),
            bounds=text.interval(1 / ratio.high, 1 / ratio.low),
            where=_where(one),
        )
        for one, peer, ratio in slower
    ]
    return Losses(headline, sentences)


def _where(one: Compared) -> str:
    threads = text.plural(one.threads, "thread")
    return f"{one.case.phase} of {one.case.spec.cell}, {described(one.case)}, {threads}"


def _why(one: Compared) -> str:
    if one.ours is None:
        return "not measured"
    words = WHY.get(one.ours.status, one.ours.status)
    return f"{words} ({one.ours.detail})" if one.ours.detail else words


def _cases(count: int, compared: Sequence[Compared]) -> str:
    return f"{count} of {text.plural(len(compared), 'case')}"
