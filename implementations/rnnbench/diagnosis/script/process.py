"""Diagnosing a script in a process of its own, which is ended when its time is up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from rnnbench.diagnosis.findings import Script
from rnnbench.diagnosis.process import how, run_child
from rnnbench.diagnosis.result import Diagnosis
from rnnbench.errors import InputError

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
    if not file.is_file():
        raise InputError(f"FILE must exist; got {file}")
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder:
        out, printed = Path(folder, "answer.json"), Path(folder, "printed.txt")
        seconds = None if time_limit is None else time_limit * (1 - FOR_ANSWER)
        request = {"file": str(file), "repair": repair, "seconds": seconds, "out": str(out)}
        child = "rnnbench.diagnosis.script.child"
        ended = run_child(child, json.dumps(request), printed, time_limit)
        if out.is_file():
            answer = json.loads(out.read_text(encoding="utf-8"))
            if "diagnosis" in answer:
                return Diagnosis.from_dict(answer["diagnosis"])
            return _raised(file, answer["raised"])
        if ended is None:
            return _raised(file, f"the script did not finish within {time_limit:g} s")
        return _raised(file, f"the script ended its process {how(ended)}")


def _raised(file: Path, sentence: str) -> Diagnosis:
    script = Script(trouble=[sentence])
    return Diagnosis(file.name, None, "raised", "script", raised=sentence, script=script)
