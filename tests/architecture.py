"""The project's structure: rooms, imports between them, and lines of code.

    python tests/architecture.py            the working tree
    python tests/architecture.py COMMIT     a commit, beside the working tree

A *room* is a folder of the package or of ``reports/``, all of ``benchmarks/``, or a module loose in
the package or in ``reports/``. An *arrow* is an import from one room into another, wherever it
stands in a file. `LAYERS` lists the rooms from the top down: a room may import what is below it
only. Lines of code hold something besides comments, docstrings and blanks.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"rnnbench": "implementations/rnnbench", "reports": "reports", "benchmarks": "benchmarks"}
"""Top-level package → its folder."""

LAYERS: tuple[str, ...] = (
    "reports.publisher",
    "reports.jobs",
    "reports.pages",
    "reports.sections",
    "reports.charts",
    "reports.data",
    "benchmarks",
    "rnnbench.cli",
    "rnnbench.search",
    "rnnbench.training",
    "rnnbench.comparison",
    "rnnbench.roofline",
    "rnnbench.diagnosis",
    "rnnbench.mistakes",
    "rnnbench.nn",
    "rnnbench.truncation",
    "rnnbench.parity",
    "rnnbench.backends",
    "rnnbench.bptt",
    "rnnbench.spec_of",
    "rnnbench.interface",
    "rnnbench.spec",
    "rnnbench.judge",
    "rnnbench.files",
    "rnnbench.exit_codes",
    "rnnbench.errors",
)


@dataclass
class Tree:
    """The modules of one checkout."""

    modules: dict[str, Path] = field(default_factory=dict)
    """Dotted name → file; a package goes by the name of its folder."""
    imports: dict[str, set[str]] = field(default_factory=dict)
    """Module → the modules of the project that it imports."""
    lines: dict[str, int] = field(default_factory=dict)
    """Module → its lines of code."""

    def arrows(self) -> set[tuple[str, str]]:
        """Pairs of rooms, the first of which imports the second."""
        return {
            (room(one), room(other))
            for one, others in self.imports.items()
            for other in others
            if room(one) != room(other)
        }

    def rooms(self) -> list[str]:
        return sorted({room(module) for module in self.modules} - {"rnnbench", "reports"})


def room(module: str) -> str:
    """The room that a module lies in; a package's face is none."""
    parts = module.removesuffix(".__main__").split(".")
    if parts[0] == "benchmarks":
        return "benchmarks"
    return ".".join(parts[:2])


def read(root: Path = ROOT) -> Tree:
    """The structure of the checkout at ``root``."""
    tree = Tree()
    for package, folder in SOURCES.items():
        for file in sorted((root / folder).rglob("*.py")):
            parts = file.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            tree.modules[name] = file
    for name, file in tree.modules.items():
        text = file.read_text(encoding="utf-8")
        parsed = ast.parse(text)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        tree.imports[name] = {
            known
            for target in _targets(parsed, package)
            if (known := _known(target, tree.modules)) and known != name
        }
        tree.lines[name] = _code_lines(text, parsed)
    return tree


def _targets(parsed: ast.Module, package: str) -> Iterator[str]:
    """Dotted names that a module's import statements bring in."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - max(node.level - 1, 0)]
            source = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _known(target: str, modules: dict[str, Path]) -> str | None:
    """The module that a dotted name is, or is a member of."""
    while target:
        if target in modules:
            return target
        target = target.rpartition(".")[0]
    return None


def _code_lines(text: str, parsed: ast.Module) -> int:
    """Lines with a token other than a comment, outside of docstrings."""
    docstrings = {
        line
        for node in ast.walk(parsed)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    held = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in skipped and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - docstrings)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one node (Tarjan, 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


def upward(tree: Tree) -> list[str]:
    """Imports of a higher room from a lower one, and rooms that `LAYERS` does not name."""
    rank = {name: place for place, name in enumerate(LAYERS)}
    unnamed = [f"{name} is not in LAYERS" for name in tree.rooms() if name not in rank]
    return unnamed + [
        f"{one} imports {other}"
        for one, others in tree.imports.items()
        for other in sorted(others)
        if room(one) in rank and room(other) in rank and rank[room(one)] > rank[room(other)]
    ]


def report(tree: Tree, title: str) -> str:
    """The figures of one tree, as text."""
    edges = tree.arrows()
    of_room: dict[str, set[str]] = {}
    for one, other in edges:
        of_room.setdefault(one, set()).add(other)
    lines = {
        package: sum(n for name, n in tree.lines.items() if name.split(".")[0] == package)
        for package in SOURCES
    }
    said = [
        f"{title}: {len(tree.modules)} modules in {len(tree.rooms())} rooms, {len(edges)} arrows",
        "  lines of code: " + ", ".join(f"{name} {n:,}" for name, n in lines.items()),
    ]
    said += [f"  circle of rooms: {', '.join(one)}" for one in circles(of_room)]
    said += [f"  circle of modules: {', '.join(one)}" for one in circles(tree.imports)]
    return "\n".join(said)


def main() -> None:
    for commit in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(
                ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True
            )
            with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
                archive.extractall(folder, filter="data")
            print(report(read(Path(folder)), commit))
    tree = read()
    print(report(tree, "working tree"))
    print("\n".join(f"  upward: {one}" for one in upward(tree)) or "  every import points down")


if __name__ == "__main__":
    main()
