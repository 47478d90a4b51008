"""Where comparisons are kept for the report: one JSON object for each case, a line each.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnbench.comparison.compare import Line, fastest, line_of
from rnnbench.comparison.plan import BASELINE
from rnnbench.files import machine
from rnnbench.files.jsonl import append as append_line
from rnnbench.roofline.cost import flops

SCHEMA = 1
FOLDER = "comparison"
KEPT = ("backend", "status", "detail", "median", "gflops", "cores", "identity")


def record(lines: Sequence[Line]) -> dict[str, Any]:
    """One case's lines with their ratios, the machine, the versions and the time."""
    case = list(lines)
    native, reference = line_of(case, BASELINE), fastest(case, references=True)
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.identity(),
        "versions": machine.versions(),
        "threads": case[0].threads,
        "name": case[0].case.name,
        "case": asdict(case[0].case),
        "flops": flops(case[0].case),
        "fastest_reference": reference and reference.backend,
        "lines": [
            {name: given for name, given in line.as_dict().items() if name in KEPT}
            | {
                "rounds": len(line.seconds),
                "ratio_to_native": line.over(native),
                "ratio_to_fastest_reference": line.over(reference),
            }
            for line in case
        ],
    }


def path(folder: Path, host: str) -> Path:
    """Where a host's comparisons lie below ``folder``."""
    return folder / FOLDER / f"{host}.jsonl"


def append(lines: Sequence[Line], folder: Path) -> Path:
    """Add one case's line."""
    made = record(lines)
    return append_line(made, path(folder, made["machine"]["host"]))
