"""Measure in a process of its own: a plan as JSON on stdin, one JSON object per line on stdout.

``{"progress": …}`` before each step, ``{"lines": […]}`` after each case, at the end
``{"facts": …}``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from typing import Any, TextIO

from rnnbench.comparison import threads


def _own_stdout() -> TextIO:
    """Return stdout for the messages alone: what a library prints goes to stderr."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own


def _facts(count: int) -> dict[str, Any]:
    """Return what ran, and the threads that were seen."""
    return {
        "threads": threads.seen(count),
        "python": platform.python_version(),
        "machine": platform.platform(),
        **{name: version(name) for name in ("torch", "numba", "numpy")},
    }


def main() -> None:
    """Measure the plan and write the messages."""
    out = _own_stdout()

    def say(**message: Any) -> None:
        print(json.dumps(message, default=str), file=out, flush=True)

    given = json.load(sys.stdin)
    threads.confine(given["threads"])  # before torch is imported
    from rnnbench.comparison.compare import compare
    from rnnbench.comparison.plan import Plan

    plan = Plan.from_dict(given)
    for lines in compare(plan, lambda case, what: say(progress=f"{case.name} {what}")):
        say(lines=[line.as_dict() for line in lines])
    say(facts=_facts(plan.threads))


if __name__ == "__main__":
    main()
