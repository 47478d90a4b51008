"""Attribute a regression to the code, its dependencies, or the measuring tool.

Both sides of a verdict are measured by the same benchmarks, so the tool can't be what it found;
but the history of a case can have moved by it. Parts that are the same on both sides are said to
be, without a run; the others are swapped alone, and the regressed cases judged again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnbench.files import git, jsonl
from rnnbench.judge.project import Project
from rnnbench.judge.verdict.answer import Status, Verdict
from rnnbench.judge.verdict.building import FOLDER
from rnnbench.judge.verdict.sides import Side
from rnnbench.judge.verdict.text import differences, effect

TOOL = ("asv", "asv-runner")


@dataclass(frozen=True)
class Swap:
    """The two sides that a verdict with two sets of dependencies did not measure."""

    base_code: Side
    """Base's code on head's dependencies."""
    base_dependencies: Side
    """Head's code on base's dependencies."""


Judged = Callable[[Side, Side, str], Verdict]


def attribute(
    project: Project, verdict: Verdict, head: Side, swap: Swap | None, judged: Judged
) -> dict[str, Any]:
    """Judge with one part swapped at a time.

    Returns part → ``{"differs", "says", "cases": {name: {"status", "ratio", "low", "high"}}}``.
    """
    own = project.conf.project
    changed = [
        line for line in differences(verdict.base, verdict.head) if not _of(line, (own, *TOOL))
    ]
    if swap is None or not changed:
        says = "the same versions on both sides"
        if changed:
            says = f"{', '.join(changed)}: not swapped, as both sides have one environment"
        before = _recorded(project.results, verdict)
        if before:
            says += f"; when base was measured for the history it ran {', '.join(before)}"
        dependencies = _part(bool(changed), says)
        code = _part(
            True, "not swapped" if changed else "it alone differs, so the change is its own"
        )
        if verdict.base.hash == verdict.head.hash:
            code = _part(False, "the same commit on both sides")
    else:
        found = judged(swap.base_dependencies, head, "swapping the dependencies")
        dependencies = _part(True, _stays(found, ", ".join(changed)), found)
        code = _part(False, "the same commit on both sides")
        if verdict.base.hash != verdict.head.hash:
            found = judged(swap.base_code, head, "swapping the code")
            code = _part(True, _stays(found, "only the commit"), found)
    return {
        "code": code,
        "dependencies": dependencies,
        "tool": _tool(project, verdict, head, judged),
    }


def _tool(project: Project, verdict: Verdict, head: Side, judged: Judged) -> dict[str, Any]:
    """Judge base's benchmarks against the working tree's, on head, and asv_runner's versions."""
    folder = project.suite.folder
    name = folder.relative_to(project.folder)
    runners = [line for line in differences(verdict.base, verdict.head) if _of(line, TOOL)]
    also = f"; with the dependencies went {', '.join(runners)}" if runners else ""
    span = (verdict.base.hash, verdict.head.hash)
    if git.ask(project.folder, "diff", "--name-only", *span, "--", str(name)) == "":
        return _part(bool(runners), f"{name} is the same at both commits{also}")
    old = project.folder / FOLDER / "suites" / verdict.base.hash
    if not (old / name).is_dir():
        try:
            git.extract(project.folder, verdict.base.hash, str(name), old)
        except git.GitError:
            return _part(True, f"commit {verdict.base.hash[:8]} has no {name}{also}")
    found = judged(replace(head, suite=old / name), head, "swapping the benchmarks")
    return _part(True, _stays(found, f"only {name} (base's, working tree's)") + also, found)


def _part(differs: bool, says: str, found: Verdict | None = None) -> dict[str, Any]:
    cases = found.cases if found else ()
    return {
        "differs": differs,
        "says": says,
        "cases": {
            case.name: {name: getattr(case, name) for name in ("status", "ratio", "low", "high")}
            for case in cases
        },
    }


def _stays(found: Verdict, swapped: str) -> str:
    stays = found.of(Status.REGRESSION)
    if stays:
        return (
            f"with {swapped} swapped {len(stays)} of {len(found.cases)} regressions stay, "
            f"{found.worst.name} by {effect(found.worst) or 'all'}"
        )
    if found.of(Status.INCONCLUSIVE):
        return f"with {swapped} swapped the rounds do not suffice to tell"
    return f"with {swapped} swapped no regression stays"


def _of(line: str, names: tuple[str, ...]) -> bool:
    """Return True if a difference of versions is that of one of these distributions."""
    return line.split(" ", maxsplit=1)[0] in names


def _recorded(results: Path, verdict: Verdict) -> list[str]:
    """Return the versions in the records of base on this host that are not those of today."""
    folder = results / "records" / verdict.machine["host"]
    files = sorted(folder.glob(f"{verdict.base.hash[:8]}-*.jsonl"))
    lines = [line for file in files for line in jsonl.read(file) if isinstance(line, dict)]
    machines = [line["machine"] for line in lines if isinstance(line.get("machine"), dict)]
    known = machines[-1] if machines else {}
    return [
        f"{name} {known[name]}"
        for name, version in sorted(verdict.head.versions.items())
        if known.get(name) not in (None, version) and name != "os"
    ]
