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
        request = {"file": str(file), "name": name, "options": dict(options), "out": str(out)}
        ended = _run(json.dumps(request), printed, time_limit)
        said = printed.read_text(encoding="utf-8", errors="replace").strip()
        if out.is_file():
            found = _read(json.loads(out.read_text(encoding="utf-8")), name)
        elif ended is None:
            found = _raised(name, f"the candidate did not finish within {time_limit:g} s")
        else:
            found = _raised(name, f"the candidate ended its process with exit code {ended}")
    if said:
        found.notes.append(f"it prints, last: {said.splitlines()[-1][:80]!r}")
    return found


def _run(request: str, printed: Path, time_limit: float) -> int | None:
    """Exit code of the child, or None if it had to be ended, with all that it started."""
    command = [sys.executable, "-m", "rnnbench.diagnosis.child", request]
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
        return _raised(name, f"the file raised {answer['raised']}")
    return Diagnosis.from_dict(answer["diagnosis"])


def _raised(name: str, sentence: str) -> Diagnosis:
    return Diagnosis(name, None, "raised", "unknown", raised=sentence)
