"""Diagnosing a script in a process of its own, which is ended when its time is up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from rnnbench.diagnosis.findings import Script
from rnnbench.diagnosis.process import how, run_child
from rnnbench.diagnosis.result import Diagnosis
from rnnbench.diagnosis.script.reached import Reach
from rnnbench.errors import InputError
from rnnbench.files.schema import build

FOR_ANSWER = 0.4
"""Share of the time limit that is left for the answer once the script was stopped."""


def diagnose_script(
    file: Path, *, repair: bool = False, time_limit: float | None = 120.0
) -> Diagnosis:
    """Run a script, watched, and find what in it departs from torch's network, and why.

    repair      whether to mend what is obvious in what it raises (a missing import, zeros of
                another shape), to run it again and to say so
    time_limit  seconds for all, None for no limit; a script that runs longer is stopped and judged
                by what it did until then

    Raises InputError where there is no such file.
    """
    request = {"repair": repair}
    answer = _answer(file, request, time_limit)
    if "diagnosis" in answer:
        return Diagnosis.from_dict(answer["diagnosis"])
    script = Script(trouble=[answer["raised"]])
    return Diagnosis(file.name, None, "raised", "script", raised=answer["raised"], script=script)


def reach_script(
    file: Path, *, setup: Path | None = None, time_limit: float | None = 120.0
) -> Reach:
    """Run a training script, followed, and find what each of its losses reaches.

    setup   a file that is run before it, for a fragment that lacks its definitions

    Raises InputError where there is no such file.
    """
    if setup is not None and not setup.is_file():
        raise InputError(f"setup must be a file; got {setup}")
    request = {"reach": True, "setup": str(setup.resolve()) if setup else None}
    answer = _answer(file, request, time_limit)
    if "reach" in answer:
        found = {name: value for name, value in answer["reach"].items() if name != "status"}
        return build(Reach, found, "reach")
    return Reach(file.name, trouble=[answer["raised"]])


def _answer(file: Path, request: dict[str, Any], time_limit: float | None) -> dict[str, Any]:
    """Return what the child says, or ``{"raised": sentence}`` where it ended without a word."""
    if not file.is_file():
        raise InputError(f"FILE must exist; got {file}")
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder:
        out, printed = Path(folder, "answer.json"), Path(folder, "printed.txt")
        seconds = None if time_limit is None else time_limit * (1 - FOR_ANSWER)
        request |= {"file": str(file), "seconds": seconds, "out": str(out)}
        child = "rnnbench.diagnosis.script.child"
        ended = run_child(child, json.dumps(request), printed, time_limit)
        if out.is_file():
            answer: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return answer
    if ended is None:
        return {"raised": f"the script did not finish within {time_limit:g} s"}
    return {"raised": f"the script ended its process {how(ended)}"}
