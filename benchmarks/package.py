"""The package under test, by its public names only; what a commit lacks is said, not guessed."""

from __future__ import annotations

import importlib
from typing import Any

PACKAGE = "rnnbench"
KNOWN_BACKENDS = ("manual", "numba", "native", "compile")


class UnsupportedCaseError(Exception):
    """The case cannot be measured: the commit lacks something, or the backend says no."""


def _is_of_package(module: str | None) -> bool:
    return (module or "").split(".")[0] == PACKAGE


def public(name: str) -> Any:
    """``rnnbench.<name>``; raises UnsupportedCaseError where the commit has none."""
    missing = UnsupportedCaseError(f"this commit has no {PACKAGE}.{name}")
    try:
        package = importlib.import_module(PACKAGE)
        if name not in dir(package):
            raise missing
        return getattr(package, name)
    except ModuleNotFoundError as error:
        if not _is_of_package(error.name):
            raise
        raise missing from error


def backends() -> tuple[str, ...]:
    """Names of the registered backends; the four known ones where the commit cannot say.

    In the first commits the sub-package of that name hides the function once it is imported.
    """
    try:
        listed = public("backends")
    except UnsupportedCaseError:
        return KNOWN_BACKENDS
    return tuple(listed()) if callable(listed) else KNOWN_BACKENDS


def backend(name: str) -> Any:
    """The backend called ``name``; raises UnsupportedCaseError where the commit has none."""
    get, unknown = public("get_backend"), public("InputError")
    try:
        return get(name)
    except (unknown, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and not _is_of_package(error.name):
            raise
        raise UnsupportedCaseError(f"this commit has no backend {name!r}") from error
