"""How kernels are compiled: Numba's options, and a disk cache that notices every source file.

Numba's own cache looks at the file of the compiled function alone. Kernels stand in several files
that call one another, so ours is one folder for each state of them all, named by a digest. Who
makes a new one clears away those that nobody has used for `UNUSED_DAYS`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.caching import CompileResultCacheImpl, _CacheLocator
from platformdirs import user_cache_path

SOURCES = Path(__file__).parent

UNUSED_DAYS = 30
_NAME = re.compile("kernels-[0-9a-f]{16}")

# Only "contract" (fused multiply-add): the wider flags gave NaN for large arguments, and no speed.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}


@cache
def _digest() -> str:
    """Of Numba's version and every source file of this folder."""
    found = hashlib.sha256(numba.__version__.encode())
    for path in sorted(SOURCES.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """Where compiled kernels are kept; None, and a warning, where no folder can be written."""
    parent = os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("rnnbench")
    path = Path(parent) / f"kernels-{_digest()}"
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            _clear_unused(path)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        warnings.warn(
            "numba's kernels are compiled anew in every process, because their cache folder cannot "
            f"be written ({error}); NUMBA_CACHE_DIR can name another.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return path


def _clear_unused(own: Path) -> None:
    """Remove the folders beside ``own`` that were not looked into for long: to look leaves a time,
    as `folder` makes a file in it."""
    oldest = time.time() - 86400 * UNUSED_DAYS
    for other in own.parent.iterdir():
        with suppress(OSError):  # another process may be clearing, too
            if _NAME.fullmatch(other.name) and other.stat().st_mtime < oldest:
                shutil.rmtree(other, ignore_errors=True)


class _Folder(_CacheLocator):
    """Our kernels' place in Numba's cache; of any other function it knows nothing."""

    def __init__(self, function: Any) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return _digest()

    def get_disambiguator(self) -> str:
        return str(self._line)

    def ensure_cache_path(self) -> None:
        """`folder` has made it."""

    @classmethod
    def from_function(cls, function: Any, path: str) -> _Folder | None:
        ours = Path(path).parent == SOURCES and folder() is not None
        return cls(function) if ours else None


_LOCATORS: list[Any] = CompileResultCacheImpl._locator_classes
_LOCATORS.insert(0, _Folder)


def jit(function: Callable[..., Any]) -> Any:
    """The compiled function, kept on disk where a folder for it can be written."""
    return njit(cache=folder() is not None, **OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A function with one caller, compiled within it: a second machine code of it takes seconds."""
    return njit(inline="always", **OPTIONS)(function)
