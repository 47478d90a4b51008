"""A script's text: the expression that a frame is at, and names that are defined nowhere."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LONGEST = 48
"""Characters of an expression that are shown."""
OWN = tuple(
    str(Path(*parts))
    for parts in (
        ("rnnbench", "diagnosis", "script", "watch.py"),
        ("rnnbench", "diagnosis", "script", "graph.py"), ("torch", "_tensor.py"),
        ("torch", "overrides.py"), ("torch", "functional.py"), ("torch", "nn", "functional.py"),
    )
)  # fmt: skip
"""Files between a script's operator and the watch that sees it."""


@dataclass(frozen=True)
class At:
    """A point of a run: code and instruction, told apart without looking at the text."""

    code: CodeType
    instruction: int

    @property
    def line(self) -> int:
        """The line, from 1; of an expression over several lines the first."""
        return self._position[0] or self.code.co_firstlineno

    @property
    def _position(self) -> tuple[int | None, int | None, int | None, int | None]:
        return next(islice(self.code.co_positions(), self.instruction // 2, None))


class Source:
    """The text of one script."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text = str(file), text

    def at(self) -> At | None:
        """Return where the script itself stands, in the innermost of its frames."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        return None if frame is None else At(frame.f_code, frame.f_lasti)

    def here(self) -> At | None:
        """Return where the script stands if it is itself what computes now, and no library that it
        called: an operator's Python wrapper in torch counts as the script's.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.file:
            if not frame.f_code.co_filename.endswith(OWN):
                return None
            frame = frame.f_back
        return None if frame is None else At(frame.f_code, frame.f_lasti)

    def line(self, number: int) -> str:
        """Return a line without its indentation."""
        return self._lines[number - 1].decode().strip() if number <= len(self._lines) else ""

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    @cached_property
    def assigned(self) -> dict[str, int]:
        """The line of the last assignment to each name."""
        lines: dict[str, int] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                lines[node.id] = max(lines.get(node.id, 0), node.lineno)
        return lines

    @cached_property
    def _lines(self) -> list[bytes]:
        return self.text.encode().splitlines()

    def expression(self, at: At) -> ast.AST | None:
        """Return the expression or statement that is being computed, parsed anew."""
        first, last, begins, ends = at._position
        if first is None or last is None or begins is None or ends is None:
            return None
        lines = self._lines[first - 1 : last]
        if not lines:
            return None
        lines = [*lines[:-1], lines[-1][:ends]]
        lines[0] = lines[0][begins:]
        text = b"\n".join(lines).decode().strip()
        for wrapped in (f"({text})", text):
            try:
                found = ast.parse(wrapped).body[0]
            except SyntaxError:
                continue
            return found.value if isinstance(found, ast.Expr) else found
        return None

    def operands(self, at: At) -> list[ast.AST]:
        """Return what is added, subtracted, compared or given to a call at this point."""
        node = self.expression(at)
        if isinstance(node, ast.BinOp):
            return [node.left, node.right]
        if isinstance(node, ast.AugAssign):
            return [node.target, node.value]
        if isinstance(node, ast.Compare):
            return [node.left, *node.comparators]
        if isinstance(node, ast.Call):
            own = _object(node.func)
            return [*([] if own is None else [own]), *node.args]
        return []

    def undefined(self) -> dict[str, int]:
        """Return names that are read and bound nowhere, with the line of their first use."""
        bound = {
            *dir(builtins),
            "__file__",
            *_bound(symtable.symtable(self.text, self.file, "exec")),
        }
        nodes = list(ast.walk(self.tree))
        if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in nodes):
            return {}
        names = [n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
        reads = [node for node in names if node.id not in bound]
        found: dict[str, int] = {}
        for node in sorted(reads, key=lambda node: node.lineno):
            found.setdefault(node.id, node.lineno)
        return found


def in_place(function: Any) -> bool:
    """Return whether one of torch's functions changes its first argument: ``add_``, an item, or
    the attribute ``data``.
    """
    name = function.__name__
    if name == "__set__":
        return getattr(getattr(function, "__self__", None), "__name__", "") == "data"
    return name == "__setitem__" or (name.endswith("_") and not name.startswith("__"))


def _object(function: ast.AST) -> ast.AST | None:
    """Return the tensor whose method is called: ``a`` of ``a.sub(b)``, none of ``torch.sub(a)``."""
    if not isinstance(function, ast.Attribute):
        return None
    root: ast.AST = function.value
    while isinstance(root, ast.Attribute):
        root = root.value
    module = isinstance(root, ast.Name) and root.id in ("torch", "np", "numpy", "F")
    return None if module else function.value


def _bound(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if (
            symbol.is_assigned()
            or symbol.is_imported()
            or symbol.is_parameter()
            or symbol.is_namespace()
        ):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _bound(inner)


def shown(node: ast.AST | None) -> str:
    """Return an expression as text, cut where it is long."""
    if node is None:
        return ""
    text = ast.unparse(node)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
