"""Copies of an installed commit, and which case is slowed by how much.

In a planted verdict half of the cases are slowed, each size an equal share of them, as a real
change seldom touches all: the rule that controls false discoveries is the stricter, the fewer
changes there are. From one verdict to the next the sizes move on, so that after eight each case
was slowed by each of four sizes and was left alone four times.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from rnnbench.errors import InputError
from rnnbench.judge.verdict.sides import TIME, Case, Side

SIZES = (0.02, 0.05, 0.1, 0.2)
SLOWED = Path(__file__).with_name("slowed.py")
HOOK = """

from rnnbench import slowed as _slowed

_Backed.forward = _slowed.slowing(_Backed.forward)
"""
PARTS = ("backend", "cell", "T", "layers", "directions")
"""Parameters that tell a case apart from within a backend."""


def key(case: Case) -> str | None:
    """How `slowed` knows a case; None for one that it can't slow."""
    params = dict(case.params)
    phases = [phase for phase in ("inference", "training") if phase in case.benchmark.lower()]
    if case.quantity != TIME or len(phases) != 1 or not set(PARTS) <= set(params):
        return None
    return "/".join([phases[0], *(params[part] for part in PARTS)])


def sizes(cases: Iterable[Case], turn: int, of: Sequence[float] = SIZES) -> dict[Case, float]:
    """What is planted in the verdict number ``turn``: the slowed cases and their sizes."""
    known = sorted({found for case in cases if (found := key(case))})
    Random(0).shuffle(known)
    cycle = [size for one in of for size in (one, 0.0)]
    of_key = {one: cycle[(place + turn) % len(cycle)] for place, one in enumerate(known)}
    return {
        case: size
        for case in cases
        if (found := key(case)) is not None and (size := of_key[found]) > 0
    }


def copied(side: Side, into: Path, planted: dict[Case, float] | None = None) -> Side:
    """A side with its own copy of the installed package; with ``planted``, slowed by that.

    ``planted`` may be empty: the copy then has all that slows but for the slowing. Raises
    InputError for a side that has no folder of its own, or whose package is none of ours.
    """
    if side.path is None:
        raise InputError("side must have the package in a folder of its own, to be copied")
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(side.path, into, symlinks=True)
    if planted is not None:
        _plant(into / "rnnbench", planted)
    return replace(side, path=into)


def _plant(package: Path, planted: dict[Case, float]) -> None:
    modules = package / "nn" / "modules.py"
    if not modules.is_file():  # a commit from before the package had rooms
        modules = package / "nn.py"
    text = modules.read_text(encoding="utf-8") if modules.is_file() else ""
    if "class _Backed(" not in text:
        raise InputError(f"the commit must have a class _Backed in {modules}, to be slowed")
    of_key = {str(key(case)): size for case, size in planted.items()}
    (package / "planted.json").write_text(json.dumps(of_key), encoding="utf-8")
    shutil.copyfile(SLOWED, package / "slowed.py")
    modules.write_text(text + HOOK, encoding="utf-8")
