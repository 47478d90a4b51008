"""The obvious mending of a script that raised: an import, zeros of another shape."""

from __future__ import annotations

import ast

import torch

from rnnbench.diagnosis.script.run import Run
from rnnbench.diagnosis.script.source import Source
from rnnbench.diagnosis.script.trouble import IMPORTS, wrong_factor


def mended(run: Run) -> tuple[str, str] | None:
    """Return the text with its first error mended and what was done; None where it is not clear."""
    error = run.error
    if isinstance(error, NameError) and error.name in IMPORTS:
        line = IMPORTS[error.name]
        return _inserted(run.source, line), f"`{line}` was added"
    with torch._C.DisableTorchFunction():
        found = wrong_factor(run)
    if found is None or not isinstance(found[0], ast.Name) or found[3] != "state":
        return None
    node, value, shape = found[0], found[1], found[2]
    statements = [a for a in ast.walk(run.source.tree) if isinstance(a, ast.Assign)]
    made = next((a for a in statements if _makes_zeros(a, node.id)), None)
    if made is None or bool(value.any()) or not isinstance(made.value, ast.Call):
        return None
    new = ast.unparse(made.value.func)
    text = f"{node.id} = {new}{tuple(shape)}"
    said = f"line {made.lineno} reads `{text}` in place of `{ast.unparse(made)}`"
    return _replaced(run.source, made, text), said


def _makes_zeros(node: ast.Assign, name: str) -> bool:
    """Return whether a statement is ``name = torch.zeros(…)``."""
    return (
        [ast.unparse(t) for t in node.targets] == [name]
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("torch.zeros", "zeros")
    )


def _inserted(source: Source, line: str) -> str:
    """Add an import to the first statement that may have one before it; no line moves."""
    body = source.tree.body
    first = next((s for s in body if not _comes_first(s)), None)
    lines = source.text.splitlines(keepends=True)
    if first is None:
        return f"{line}\n{source.text}"
    at = first.lineno - 1
    decorated = getattr(first, "decorator_list", [])
    if decorated or not _simple(first):
        return "".join([*lines[:at], f"{line}\n", *lines[at:]])
    lines[at] = f"{line}; {lines[at]}"
    return "".join(lines)


def _simple(statement: ast.stmt) -> bool:
    """Return whether another statement may stand before it in its line."""
    return not hasattr(statement, "body")


def _comes_first(statement: ast.stmt) -> bool:
    docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    return docstring or future


def _replaced(source: Source, node: ast.stmt, text: str) -> str:
    """Put a text in the place of a statement; later lines keep their numbers."""
    lines = source.text.splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last - 1].encode()[node.end_col_offset :].decode()
    empty = "\n" * (last - 1 - first)
    return "".join([*lines[:first], before + text + after, empty, *lines[last:]])
