"""Explain what went wrong in a night, in a word and a sentence: from asv's output, and git's."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from rnnbench.files import git
from rnnbench.files.foreign import plain
from rnnbench.judge import commits
from rnnbench.judge.nightly.night import Trouble
from rnnbench.judge.nightly.units import Unit
from rnnbench.judge.suite import WRONG
from rnnbench.judge.supervised import Ended

LONGEST = 300
"""Characters of a command's own words that an account repeats."""

FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded")
TIMEOUT = re.compile(r"asv: benchmark timed out \(timeout ([\d.]+)s\)")
STATUS = re.compile(r"asv: benchmark failed \(exit status (-?\d+)\)")
MEMORY = re.compile(r"MemoryError|[Cc]annot allocate memory|can't allocate memory|bad_alloc")
PARITY = re.compile(rf"^.*{WRONG}.*$", re.MULTILINE)
RAISED = re.compile(r"^\s*((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)\b.*)$", re.MULTILINE)
UNBUILT = re.compile(r"^[^\w\n]*(?:\[[^\]\n]*\][^\w\n]*)?Skipping (?!results)\S+\s*$", re.MULTILINE)
DISCOVERY = "Failed to build the project and import the benchmark suite"
LISTING = "benchmark.py discover"
"""In the text if the command that failed was the one that imports the suite."""


def full_disk(error: OSError, unit: str) -> Trouble:
    """Return the trouble of something that could not be written."""
    return Trouble("disk", unit, f"It could not be written: {error.strerror}. {AGAIN}")


AGAIN = "The next night measures it."


def built(ended: Ended) -> bool:
    """Return True if asv got as far as running the commit's code."""
    unlisted = DISCOVERY in ended.text and LISTING not in ended.text
    return UNBUILT.search(ended.text) is None and not unlisted


def unbuilt(commit: str, ended: Ended) -> Trouble:
    """Return the trouble of a commit that cannot be built or installed."""
    before = UNBUILT.split(ended.text)[0]
    words = last_words(before, but=("Skipping", "Failed:", "Building", "Installing", "--------"))
    return Trouble("build", commit[:8], f"The commit does not build: {words}")


def failed_cases(unit: Unit, failed: int, ended: Ended, *, again: bool) -> Trouble:
    """Return the trouble of a unit some of whose cases have no number."""
    what, why = _kind(ended.text)
    after = "They are tried again the next night." if again else "They are not tried again."
    count = f"{failed} of its {len(unit.cases)} cases failed"
    return Trouble(what, unit.name, f"{count}: {why}. {after}")


def no_results(unit: Unit, ended: Ended) -> Trouble:
    """Return the trouble of a unit for which asv itself ended without results."""
    if ended.cut_off:
        sentence = f"It was stopped after {ended.seconds:.0f} s, at the end of the night's time."
        return Trouble("hang", unit.name, f"{sentence} {AGAIN}")
    what, why = _kind(ended.text)
    return Trouble(what, unit.name, f"asv ended with code {ended.code}: {why}. {AGAIN}")


def part_failed(part: str, ended: Ended) -> Trouble:
    """Return the trouble of a part of the night other than measuring, such as publishing."""
    if ended.cut_off:
        return Trouble("hang", part, f"It was stopped after {ended.seconds:.0f} s.")
    what, why = _kind(ended.text)
    return Trouble(what, part, f"It ended with code {ended.code}: {why}.")


def of_clone(folder: Path, base: str | None, head: str, *, existing: bool) -> list[Trouble]:
    """Return troubles of the clone: what makes the night's answers smaller than they could be.

    ``base`` is the last clean commit; ``existing``: the environment measures the files themselves.
    """
    found = []
    if git.ask(folder, "symbolic-ref", "--quiet", "HEAD") is None:
        found.append(
            f"HEAD is detached: the night measures {head[:8]} and does not know of what branch"
        )
    if base is not None and commits.find(folder, base) is None:
        lost = "the clone is shallow (git fetch --unshallow)"
        why = lost if commits.is_shallow(folder) else "history rewritten"
        found.append(
            f"the last clean commit {base[:8]} is not in this clone, {why}: {head[:8]} is "
            "measured, and judged against nothing"
        )
    elif base is not None and not commits.is_ancestor(folder, base, head):
        found.append(
            f"the last clean commit {base[:8]} is no ancestor of {head[:8]} (a branch was "
            "rewritten, or the clone is shallow): it is judged against, and the commits "
            "between are not known"
        )
    if existing and git.ask(folder, "status", "--porcelain", "--untracked-files=no"):
        found.append("files differ from HEAD, and this environment measures the files")
    return [Trouble("clone", head[:8], f"{sentence}.") for sentence in found]


def _kind(text: str) -> tuple[str, str]:
    """Return the kind of trouble, and what happened."""
    status = STATUS.search(text)
    ended = int(status[1]) if status else 0
    timeout = TIMEOUT.search(text)
    parity = PARITY.search(text)
    raised = RAISED.findall(text)
    killed = "it was killed (SIGKILL), as the system does when memory runs out"
    causes = (
        ("disk", FULL.search(text) and "the disk is full"),
        ("hang", timeout and f"it ran for longer than its time limit of {float(timeout[1]):g} s"),
        ("memory", ended == -signal.SIGKILL and killed),
        ("crash", ended < 0 and f"its process ended with {_signal(-ended)}"),
        ("memory", MEMORY.search(text) and "it ran out of memory"),
        ("parity", parity and _short(parity[0])),
        ("error", _short(raised[-1]) if raised else last_words(text)),
    )
    return next((what, why) for what, why in causes if why)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(text: str, but: tuple[str, ...] = ()) -> str:
    """Return the last line that says something, without those that begin with one of ``but``."""
    lines = [re.sub(r"^[^\w(]+", "", line).strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(but)] if but else lines
    return _short(next((line for line in reversed(telling) if line), "it said nothing"))


def _short(words: str) -> str:
    words = plain(" ".join(words.split()))
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
