"""Starts the process that measures one plan, and hands on what it says while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from rnnbench.comparison import threads
from rnnbench.comparison.plan import Plan


class WorkerError(RuntimeError):
    """The measuring process ended before it was done."""


def messages(plan: Plan) -> Iterator[dict[str, Any]]:
    """What ``python -m rnnbench.comparison`` writes, message by message.

    Raises WorkerError with the last words of a process that failed or was killed; what it had
    measured until then has been handed on.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as words,
        subprocess.Popen(
            [sys.executable, "-m", "rnnbench.comparison"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env=threads.environment(plan.threads),
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(plan.as_dict()))
            process.stdin.close()
            yield from map(json.loads, process.stdout)
        finally:
            if sys.exception() is not None:
                process.kill()
        if process.wait():
            words.seek(0)
            last = (words.read().strip() or "it said nothing").splitlines()[-1]
            raise WorkerError(
                f"the measuring process for {plan.threads} threads ended with code "
                f"{process.returncode}: {last}"
            )
