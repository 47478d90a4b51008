"""The project's structure: imports point one way, and a tree in which one does not is found."""

from __future__ import annotations

from pathlib import Path

import architecture
import pytest
from architecture import Tree

IMPORT = "from rnnbench.{} import x\n"
SOUND = {
    "implementations/rnnbench/__init__.py": "from rnnbench.high import x\n",
    "implementations/rnnbench/high/__init__.py": IMPORT.format("middle.module"),
    "implementations/rnnbench/middle/__init__.py": "",
    "implementations/rnnbench/middle/module.py": "def f():\n    from ..low import x\n",
    "implementations/rnnbench/low.py": "x = 1\n",
    "reports/__init__.py": "",
    "benchmarks/__init__.py": "import rnnbench\n",
}
LAYERS = ("benchmarks", "rnnbench.high", "rnnbench.middle", "rnnbench.low")


@pytest.fixture(scope="module")
def project() -> Tree:
    """Return the structure of this checkout."""
    return architecture.read()


def rooms(tree: Tree) -> dict[str, set[str]]:
    """Return the rooms with the others that each imports."""
    found: dict[str, set[str]] = {}
    for one, other in tree.arrows():
        found.setdefault(one, set()).add(other)
    return found


def test_no_modules_import_each_other_in_a_circle(project: Tree) -> None:
    assert architecture.circles(project.imports) == []


def test_no_rooms_import_each_other_in_a_circle(project: Tree) -> None:
    assert architecture.circles(rooms(project)) == []


def test_every_room_has_a_layer_and_imports_lower_ones_only(project: Tree) -> None:
    assert architecture.upward(project) == []


def test_each_layer_is_a_room(project: Tree) -> None:
    assert set(architecture.LAYERS) <= set(project.rooms())
    assert len(set(architecture.LAYERS)) == len(architecture.LAYERS)


def planted(root: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Tree:
    """Return a small project, sound but for ``changes``: module, its name with __, → its text."""
    monkeypatch.setattr(architecture, "LAYERS", LAYERS)
    files = dict(SOUND)
    for module, line in changes.items():
        files[f"implementations/rnnbench/{module.replace('__', '/')}.py"] = line
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return architecture.read(root)


def test_a_sound_tree_is_found_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = planted(tmp_path, monkeypatch)
    assert tree.imports["rnnbench.middle.module"] == {"rnnbench.low"}
    assert tree.rooms() == sorted(LAYERS)
    assert architecture.circles(tree.imports) == architecture.circles(rooms(tree)) == []
    assert architecture.upward(tree) == []


def test_a_planted_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = planted(tmp_path, monkeypatch, low=f"def f():\n    {IMPORT.format('middle.module')}")
    assert architecture.circles(tree.imports) == [["rnnbench.low", "rnnbench.middle.module"]]
    assert architecture.circles(rooms(tree)) == [["rnnbench.low", "rnnbench.middle"]]
    assert "circle of rooms: rnnbench.low, rnnbench.middle" in architecture.report(tree, "planted")


def test_a_circle_of_rooms_alone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through two modules of one room, neither of which is in a circle itself."""
    tree = planted(
        tmp_path, monkeypatch, middle__other="x = 1\n", low=IMPORT.format("middle.other")
    )
    assert architecture.circles(tree.imports) == []
    assert architecture.circles(rooms(tree)) == [["rnnbench.low", "rnnbench.middle"]]


def test_a_planted_upward_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = planted(tmp_path, monkeypatch, low="import rnnbench.high\n", high__x="")
    assert "rnnbench.low imports rnnbench.high" in architecture.upward(tree)


def test_a_room_without_a_layer_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = planted(tmp_path, monkeypatch, loose="x = 1\n")
    assert architecture.upward(tree) == ["rnnbench.loose is not in LAYERS"]


def test_comments_docstrings_and_blanks_are_no_lines_of_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '"""A module."""\n\n# why\nx = """\nnot a docstring\n"""\n\n\ndef f():\n    """Do."""\n'
    tree = planted(tmp_path, monkeypatch, low=text)
    assert tree.lines["rnnbench.low"] == 4
