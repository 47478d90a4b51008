"""What ran, and why a case has no number: one JSON object a line beside asv's results.

A line is appended by a single write, so that a killed run cuts off its last line at most.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from . import cases

SCHEMA = 1
ROOT = Path(__file__).resolve().parent.parent
RUN_DIR = "RNNBENCH_RUN_DIR"
"""Names a folder that the caller removes after the run: there each measuring process leaves the
seconds that it spent, in a file, and there lies what they share (`once`)."""
WARM = "RNNBENCH_WARM"
"""Set to 0, asv's server compiles nothing on behalf of the cases (`preload`)."""


def conf_dir() -> Path:
    """Return where asv.conf.json lies. asv does not say so in an existing environment."""
    return Path(os.environ.get("ASV_CONF_DIR", ROOT))


def results_dir() -> Path:
    """asv's results_dir, or where RNNBENCH_RESULTS_DIR says."""
    return Path(os.environ.get("RNNBENCH_RESULTS_DIR", conf_dir() / ".asv" / "results"))


def environment_name() -> str:
    """asv's name of this environment, which it tells only in environments of its own."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    executable = sys.executable.replace(os.sep, "_")
    return os.environ.get("ASV_ENV_NAME", f"existing-py{executable or python}")


@cache
def commit() -> str:
    """The commit that is measured: asv's, the caller's, or HEAD."""
    told = os.environ.get("ASV_COMMIT") or os.environ.get("RNNBENCH_COMMIT")
    if told:
        return told
    head = ["git", "-C", str(conf_dir()), "rev-parse", "HEAD"]
    return subprocess.check_output(head, text=True).strip()  # noqa: S603


def path() -> Path:
    """The file that this process appends to."""
    environment = re.sub(r'[<>:"/\\^|?*\x00-\x1f]', "_", environment_name())
    return results_dir() / "records" / platform.node() / f"{commit()[:8]}-{environment}.jsonl"


def new(benchmark: str, params: tuple[Any, ...]) -> dict[str, Any]:
    """A record of one case, still without its outcome."""
    return {
        "schema": SCHEMA,
        "benchmark": benchmark,
        "params": [str(value) for value in params],
        "commit": commit(),
        "environment": environment_name(),
        "host": platform.node(),
        "profile": cases.PROFILE,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": None,
        "reason": None,
        "parity": None,
        "identity": None,
        "machine": None,
        "overhead": {},
    }


def append(record: dict[str, Any]) -> None:
    """Append one line in one write."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, allow_nan=False) + "\n"
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def leave_clock(what: str, started: float) -> None:
    """Note the seconds since ``started``, if anybody asks; the last note of a process stands."""
    folder = os.environ.get(RUN_DIR)
    if folder:
        note = Path(folder) / f"{what}-{os.getpid()}-{started!r}.clock"
        note.write_text(repr(perf_counter() - started))
