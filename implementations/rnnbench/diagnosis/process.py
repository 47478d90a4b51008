"""Diagnosing somebody's file in a process of its own, which is ended when its time is up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnbench.diagnosis.result import Diagnosis
from rnnbench.errors import InputError

SEARCH = 20.0
"""Seconds for pairs of mistakes, less where the time limit is short: it is the candidate's."""


def diagnose_file(
    file: Path, name: str, options: Mapping[str, Any], *, time_limit: float
) -> Diagnosis:
    """`rnnbench.diagnose` of the object ``name`` in ``file``.

    options     its arguments as JSON has them: ``spec`` a dict, tensors as nested lists
    time_limit  seconds, the start of the process included (about two)

    A candidate that raises, hangs or ends its process is a Diagnosis of status "raised". Raises
    InputError for what is the caller's to mend: no such file or name, an unknown network.
    """
    if not file.is_file():
        raise InputError(f"FILE must exist; got {file}")
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder:
        out, printed = Path(folder, "answer.json"), Path(folder, "printed.txt")
        loaded = Path(folder, "loaded")
        own = {"seconds": min(SEARCH, time_limit / 4), "time_limit": None}  # it is ended from here
        request = {
            "file": str(file), "name": name, "options": own | dict(options),
            "out": str(out), "loaded": str(loaded),
        }  # fmt: skip
        ended = run_child("rnnbench.diagnosis.child", json.dumps(request), printed, time_limit)
        said = printed.read_text(encoding="utf-8", errors="replace").strip()
        if out.is_file():
            found = _read(json.loads(out.read_text(encoding="utf-8")), name)
        elif ended is None:
            what = "the candidate" if loaded.is_file() else "the file, still being loaded,"
            found = _raised(name, f"{what} did not finish within {time_limit:g} s{_advice(loaded)}")
        else:
            what = "the candidate" if loaded.is_file() else "the file, while it was loaded,"
            found = _raised(name, f"{what} ended its process {how(ended)}")
    if said:
        found.notes.append(f"it prints, last: {said.splitlines()[-1][:80]!r}")
    return found


def _advice(loaded: Path) -> str:
    if loaded.is_file():
        return ""
    return ': put what it runs as a program under `if __name__ == "__main__":`'


def how(code: int) -> str:
    """``with exit code 3``, ``by signal SIGSEGV``."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:  # one without a name
        return f"by signal {-code}"


def run_child(module: str, request: str, printed: Path, time_limit: float | None) -> int | None:
    """Exit code of a module that is run as a child, or None if it had to be ended, with all that it
    started.
    """
    command = [sys.executable, "-m", module, request]
    with printed.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=_environment(),
        )  # fmt: skip
        try:
            return child.wait(time_limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _environment() -> dict[str, str]:
    """Ours, with the modules of this process within reach of the child."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _read(answer: Mapping[str, Any], name: str) -> Diagnosis:
    if "usage" in answer:
        raise InputError(answer["usage"])
    if "raised" in answer:
        return _raised(name, answer["raised"])
    return Diagnosis.from_dict(answer["diagnosis"])


def _raised(name: str, sentence: str) -> Diagnosis:
    return Diagnosis(name, None, "raised", "unknown", raised=sentence)
