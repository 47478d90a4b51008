"""Compilation of kernels, and a disk cache that notices every source file.

Numba's own cache checks the file of the compiled function alone. Kernels are in several files that
call one another, so their cache is one folder for each state of all files, named by a digest. A
process that makes a new folder removes those that were not used for `UNUSED_DAYS`.

Numba compiles a function once more within each compiled function that calls it. The matrix product,
which is nearly all of the code, is a `shared` function instead: compiled once, and called by the
name of a symbol, which must exist before code that calls it is loaded.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding, ir
from numba import cfunc, njit, types
from numba.extending import intrinsic
from platformdirs import user_cache_path

from rnnbench.backends import numba_private
from rnnbench.backends.numba_base import OPTIONS

SOURCES = Path(__file__).parent

UNUSED_DAYS = 30
_NAME = re.compile("kernels-[0-9a-f]{16}")


@cache
def _digest() -> str:
    """Return a digest of Numba's version, its options and every source file of this folder."""
    found = hashlib.sha256(f"{numba.__version__} {OPTIONS}".encode())
    for path in sorted(SOURCES.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """Return where compiled kernels are kept; None, after a warning, if it cannot be written."""
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
    """Remove the folders beside ``own`` that no process has used for `UNUSED_DAYS`.

    Using one leaves a time, as `folder` makes a file in it.
    """
    oldest = time.time() - 86400 * UNUSED_DAYS
    for other in own.parent.iterdir():
        with suppress(OSError):  # another process may be clearing, too
            if _NAME.fullmatch(other.name) and other.stat().st_mtime < oldest:
                shutil.rmtree(other, ignore_errors=True)


class _Folder:
    """Tells Numba's cache where kernels are kept; declines any other function."""

    def __init__(self, function: Any) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return _digest()

    def get_disambiguator(self) -> str:
        return str(self._line)

    def ensure_cache_path(self) -> None:
        """Do nothing: `folder` has made it."""

    @classmethod
    def from_function(cls, function: Any, path: str) -> _Folder | None:
        ours = Path(path).parent == SOURCES and folder() is not None
        return cls(function) if ours else None


@cache
def _kernel_cache() -> Any:
    """Return the class of a kernel's cache; None where kernels cannot be kept on disk."""
    base: Any = numba_private.function_cache()
    locators = numba_private.cache_locators()
    if base is None or locators is None or folder() is None:
        return None
    locators.insert(0, _Folder)

    class KernelCache(base):  # type: ignore[misc]
        """A kernel's compiled code, loaded after what it calls."""

        def load_overload(self, signature: Any, target_context: Any) -> Any:
            for argument in signature:
                if isinstance(dtype := dtype_of(argument), types.Float):
                    _provide(str(dtype))
            return super().load_overload(signature, target_context)

    return KernelCache


def dtype_of(like: Any) -> Any:
    """Return Numba's type of the numbers: kernels are given one, or an array."""
    return like.dtype if isinstance(like, types.Array) else like


def jit(function: Callable[..., Any]) -> Any:
    """Return the compiled function, kept on disk where a folder for it can be written."""
    compiled = njit(**OPTIONS)(function)
    if (kept := _kernel_cache()) is not None:
        numba_private.use_cache(compiled, kept(function))
    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """Return a function to be compiled within its one caller: code of its own takes time."""
    return njit(inline="always", **OPTIONS)(function)


def intrinsic_of(
    name: str, parameters: Sequence[str], write: Callable[..., Any], returns: Any = types.void
) -> Any:
    """Return an intrinsic ``name(*parameters)`` for compiled code.

    parameters   of integers; the first may be ``like``, a number or an array, which says a dtype
    write        write(builder, dtype, *integers) emits the instructions and returns the result; the
                 dtype is Numba's, None without ``like``
    returns      Numba's type of the result
    """
    has_like = parameters[0] == "like" if parameters else False

    def typed(typing: Any, *arguments: Any) -> Any:
        dtype = dtype_of(arguments[0]) if has_like else None

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return write(builder, dtype, *values[has_like:])

        integers = [types.intp] * len(arguments[has_like:])
        return returns(*arguments[:has_like], *integers), code

    # Numba reads the parameters' names off the signature.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [inspect.Parameter(one, kind) for one in ("typing", *parameters)]
    typed.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    typed.__name__ = name
    return intrinsic(typed)


def declared(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Return the function ``name`` of the builder's module, declared where it is not there yet."""
    module = builder.module
    if name in module.globals:
        return module.get_global(name)
    return ir.Function(module, ir.FunctionType(result, arguments), name)


_shared: list[tuple[str, Callable[..., Any], int]] = []
"""The `shared` functions: symbol without the dtype, function, and how many integers it takes."""
_provided: dict[str, list[Any]] = {}
"""Dtype → what they are compiled to, which must stay alive."""


def shared(function: Callable[..., None]) -> Any:
    """Return ``function(like, *integers)`` for compiled code, compiled once for all callers."""
    parameters = list(inspect.signature(function).parameters)
    name = f"rnnbench_{function.__name__}"
    _shared.append((name, function, len(parameters) - 1))

    def write(builder: Any, dtype: Any, *integers: Any) -> None:
        _provide(str(dtype))
        number = ir.Constant(ir.FloatType() if dtype is types.float32 else ir.DoubleType(), 0)
        kinds = [value.type for value in (number, *integers)]
        symbol = declared(builder, f"{name}_{dtype}", ir.VoidType(), kinds)
        builder.call(symbol, [number, *integers])

    return intrinsic_of(function.__name__, parameters, write)


def _provide(dtype: str) -> None:
    """Compile, or load, what `shared` functions compute with numbers of ``dtype``."""
    with numba_private.compiler_lock():
        if dtype in _provided:
            return
        _provided[dtype] = []
        for name, function, integers in _shared:
            signature = types.void(getattr(types, dtype), *[types.intp] * integers)
            kept = _kernel_cache() is not None
            code = cfunc(signature, cache=kept, **OPTIONS)(function)
            binding.add_symbol(f"{name}_{dtype}", code.address)
            _provided[dtype].append(code)
