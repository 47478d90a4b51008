"""The command that prints coverage: sums by room, and names a room that is too low."""

from __future__ import annotations

import coverage_by_room
import pytest


def summary(statements: int, branches: int, lines: int, taken: int) -> dict[str, dict[str, int]]:
    """Return what coverage's JSON report says of one file."""
    return {
        "summary": {
            "num_statements": statements,
            "num_branches": branches,
            "covered_lines": lines,
            "covered_branches": taken,
        }
    }


FILES = {
    "implementations/rnnbench/nn/modules.py": summary(80, 20, 80, 18),
    "implementations/rnnbench/nn/__init__.py": summary(0, 0, 0, 0),
    "implementations/rnnbench/spec.py": summary(10, 0, 5, 0),
    "reports/data/records.py": summary(100, 0, 85, 0),
}


def test_a_rooms_figure_is_that_of_all_its_lines_and_branches() -> None:
    rooms = coverage_by_room.of_rooms(FILES)
    shares = {name: coverage_by_room.share(counted) for name, counted in rooms.items()}
    assert shares == {"rnnbench.nn": 0.98, "rnnbench.spec": 0.5, "reports.data": 0.85}


def test_rooms_below_the_floor_are_named() -> None:
    lines = coverage_by_room.table(coverage_by_room.of_rooms(FILES)).splitlines()
    assert lines[-1] == "below 85%: rnnbench.spec"
    assert lines[-2].split() == ["all", "190", "20", "89.5%"]


def test_a_file_of_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match=r"elsewhere/file\.py is below none of"):
        coverage_by_room.module("elsewhere/file.py")
