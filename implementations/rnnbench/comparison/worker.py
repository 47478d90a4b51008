"""Start the process that measures one plan, and pass on its messages."""

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
    """Yield the messages of ``python -m rnnbench.comparison`` as it writes them.

    Raises WorkerError with the last line on stderr of a process that failed or was killed, after
    the messages that it had written.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "rnnbench.comparison"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
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
            stderr.seek(0)
            last = (stderr.read().strip() or "it said nothing").splitlines()[-1]
            raise WorkerError(
                f"the measuring process for {plan.threads} threads ended with code "
                f"{process.returncode}: {last}"
            )
