"""How kernels are compiled: Numba's options, and a disk cache that notices every source file.

Numba's own cache looks at the file of the compiled function alone. Kernels stand in several files
that call one another, so ours is one folder for each state of them all, named by a digest. Who
makes a new one clears away those that nobody has used for `UNUSED_DAYS`.

Of a compiled function that others call, Numba makes the machine code once more within each of them.
The product's, which is nearly all there is, is a `shared` function's: there once, and called by the
name of a symbol, which must be there before code that calls it is loaded.
"""

from __future__ import annotations

import hashlib
import inspect
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
from llvmlite import binding, ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
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


def dtype_of(like: Any) -> Any:
    """Numba's type of the numbers: kernels are given one, or an array."""
    return like.dtype if isinstance(like, types.Array) else like


class _KernelCache(FunctionCache):
    """A kernel's compiled code, loaded after what it calls."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        for argument in signature:
            if isinstance(dtype := dtype_of(argument), types.Float):
                _provide(str(dtype))
        return super().load_overload(signature, target_context)


def jit(function: Callable[..., Any]) -> Any:
    """The compiled function, kept on disk where a folder for it can be written."""
    compiled = njit(**OPTIONS)(function)
    if folder() is not None:
        compiled._cache = _KernelCache(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """A function with one caller, compiled within it: machine code of its own takes time."""
    return njit(inline="always", **OPTIONS)(function)


_shared: list[tuple[str, Callable[..., Any], int]] = []
"""Of every `shared` function its symbol without the dtype, itself, and how many integers it takes.
"""
_provided: dict[str, list[Any]] = {}
"""Dtype → what they are compiled to, which must stay alive."""


def shared(function: Callable[..., None]) -> Any:
    """``function(like, *integers)`` for compiled code, with machine code that is there once."""
    first, *own = inspect.signature(function).parameters.values()
    name = f"rnnbench_{function.__name__}"
    _shared.append((name, function, len(own)))

    def typed(typing: Any, like: Any, *integers: Any) -> Any:
        dtype = dtype_of(like)
        _provide(str(dtype))

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            number = context.get_constant(dtype, 0)
            kinds = [value.type for value in (number, *arguments[1:])]
            kind = ir.FunctionType(ir.VoidType(), kinds)
            symbol = cgutils.get_or_insert_function(builder.module, kind, f"{name}_{dtype}")
            builder.call(symbol, [number, *arguments[1:]])
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * len(integers)), code

    # Numba reads the parameters' names off the signature.
    typing = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typed.__signature__ = inspect.Signature([typing, first, *own])  # type: ignore[attr-defined]
    typed.__name__ = function.__name__
    return intrinsic(typed)


def _provide(dtype: str) -> None:
    """Compile, or load, what `shared` functions compute with numbers of ``dtype``."""
    with global_compiler_lock:
        if dtype in _provided:
            return
        _provided[dtype] = []
        for name, function, integers in _shared:
            signature = types.void(getattr(types, dtype), *[types.intp] * integers)
            code = cfunc(signature, cache=folder() is not None, **OPTIONS)(function)
            binding.add_symbol(f"{name}_{dtype}", code.address)
            _provided[dtype].append(code)
