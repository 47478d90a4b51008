"""Comparisons kept for the report: one JSON object for each case, a line each.

A line holds all backends of one case, as their ratios come from the same rounds. It is appended in
one write as soon as the case is measured, so that a killed run loses that case at most. The newest
line of a case is the one that counts; readers pass over what they cannot read.

    {"schema", "at", "machine", "versions", "threads", "name", "case", "flops",
     "fastest_reference", "lines": [{"backend", "status", "detail", "median", "rounds", "gflops",
     "cores", "identity", "ratio_to_native": [value, low, high], "ratio_to_fastest_reference"}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnnbench.comparison.compare import Line, with_ratios
from rnnbench.files import records
from rnnbench.roofline.cost import flops

FOLDER = "comparison"
OMITTED = ("case", "threads", "seconds", "number", "name", "fastest_reference")
"""Figures of a line that are the whole case's, or too many to keep."""


def record(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the lines of one case with their ratios, the machine, the versions and the time."""
    case, given = lines[0].case, with_ratios(lines)
    return records.about() | {
        "threads": lines[0].threads,
        "name": case.name,
        "case": asdict(case),
        "flops": flops(case),
        "fastest_reference": given[0]["fastest_reference"],
        "lines": [
            {name: value for name, value in one.items() if name not in OMITTED}
            | {"rounds": len(one["seconds"])}
            for one in given
        ],
    }


def append(lines: Sequence[Line], folder: Path) -> Path:
    """Append one case's line; returns the file."""
    return records.append(folder, FOLDER, record(lines))
