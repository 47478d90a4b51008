"""The process that measures: a plan as JSON on stdin, one JSON object per line on stdout.

``{"progress": …}`` before each step, ``{"lines": […]}`` after each case, at the end
``{"facts": …}``.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from typing import Any

from rnnbench.comparison import threads


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


def _facts(count: int) -> dict[str, Any]:
    """What ran, and the threads that were seen."""
    return {
        "threads": threads.seen(count),
        "python": platform.python_version(),
        "machine": platform.platform(),
        **{name: version(name) for name in ("torch", "numba", "numpy")},
    }


def main() -> None:
    given = json.load(sys.stdin)
    threads.confine(given["threads"])  # before torch is imported
    from rnnbench.comparison.compare import compare
    from rnnbench.comparison.plan import Plan

    plan = Plan.from_dict(given)
    for lines in compare(plan, lambda case, what: _say(progress=f"{case.name} {what}")):
        _say(lines=[line.as_dict() for line in lines])
    _say(facts=_facts(plan.threads))


if __name__ == "__main__":
    main()
