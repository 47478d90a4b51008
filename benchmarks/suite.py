"""This suite as rnnbench's judge sees it: fields of `rnnbench.judge.suite.Suite`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # old commits have no such module
    from rnnbench.judge.verdict.sides import Case

control = "control.Control.time_matmul"
quantities = {"cold.FirstCall.track_first_call": "compile"}
counting = {"RNNBENCH_PROFILE": "nightly"}
"""The smallest profile that counts instructions."""

SLOW = "compile"
"""A backend of which a case takes seconds to minutes in every process."""
PARTS = ("backend", "cell", "T", "layers", "directions")
"""Parameters that tell a case apart from within a backend."""
SLOWED = Path(__file__).with_name("slowed.py")
HOOK = """

from rnnbench import slowed as _slowed

_Backed.forward = _slowed.slowing(_Backed.forward)
"""


def choose(cases: list[Case]) -> list[Case]:
    """Leave out what torch compiles."""
    return [case for case in cases if dict(case.params).get("backend") != SLOW]


def calibrated(cases: list[Case]) -> list[Case]:
    """Return the cases that can be slowed, of the first length of sequence only."""
    near = [case for case in cases if key(case)]
    first = {case.benchmark: dict(case.params)["T"] for case in reversed(near)}
    return [case for case in near if dict(case.params)["T"] == first[case.benchmark]]


def key(case: Case) -> str | None:
    """Return the name by which `slowed` knows a case, None for one that it can't slow."""
    params = dict(case.params)
    phases = [phase for phase in ("inference", "training") if phase in case.benchmark.lower()]
    if case.quantity != "time" or len(phases) != 1 or not set(PARTS) <= set(params):
        return None
    return "/".join([phases[0], *(params[part] for part in PARTS)])


def plant(installed: Path, sizes: Mapping[str, float]) -> None:
    """Slow the modules of the rnnbench installed in a folder, each case by its share."""
    package = installed / "rnnbench"
    modules = package / "nn" / "modules.py"
    if not modules.is_file():  # a commit from before the package had rooms
        modules = package / "nn.py"
    text = modules.read_text(encoding="utf-8") if modules.is_file() else ""
    if "class _Backed(" not in text:
        raise ValueError(f"the commit must have a class _Backed in {modules}, to be slowed")
    (package / "planted.json").write_text(json.dumps(sizes), encoding="utf-8")
    shutil.copyfile(SLOWED, package / "slowed.py")
    modules.write_text(text + HOOK, encoding="utf-8")
