"""Names of Numba that it does not document, one function for each.

Each function says what is lost where a version of Numba lacks the name. It then goes the long way,
after one RuntimeWarning.
"""

from __future__ import annotations

import importlib
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import cache, reduce
from typing import Any

import numba
from llvmlite import binding

COMPILED_ANEW = "numba's kernels are compiled anew in every process"


def _find(module: str, name: str, lost: str) -> Any:
    """Return what a module holds under a dotted name; None, after a warning, if it lacks that."""
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        _warn(f"{module}.{name}", lost)
        return None


@cache
def _warn(name: str, lost: str) -> None:
    text = f"numba {numba.__version__} lacks {name}: {lost}."
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def function_cache() -> Any:
    """Return the class that keeps a function's machine code on disk.

    Without it None: kernels are compiled anew in every process.
    """
    return _find("numba.core.caching", "FunctionCache", COMPILED_ANEW)


def cache_locators() -> list[Any] | None:
    """Return Numba's list of the classes that say where a function's machine code is kept.

    Without it None: kernels are compiled anew in every process.
    """
    name = "CompileResultCacheImpl._locator_classes"
    return _find("numba.core.caching", name, COMPILED_ANEW)  # type: ignore[no-any-return]


def use_cache(compiled: Any, kept: Any) -> None:
    """Let a compiled function keep its machine code in ``kept``, a `function_cache`.

    Without Dispatcher._cache nothing reads that: kernels are compiled anew in every process.
    """
    if not hasattr(compiled, "_cache"):
        _warn("Dispatcher._cache", COMPILED_ANEW)
    compiled._cache = kept


def cache_statistics(kernel: Any) -> tuple[str | None, int, int]:
    """Return a compiled function's folder in the disk cache, and its hits and misses.

    Without Dispatcher.stats None and zeros: a cold kernel is not told from a warm one.
    """
    stats = getattr(kernel, "stats", None)
    if stats is None:
        _warn("Dispatcher.stats", "hits and misses of its disk cache are not known")
        return None, 0, 0
    hits, misses = (sum(count.values()) for count in (stats.cache_hits, stats.cache_misses))
    return stats.cache_path, hits, misses


def compiler_lock() -> AbstractContextManager[Any]:
    """Return the lock that Numba holds while it compiles.

    Without it a lock that does nothing: two threads may compile one kernel, and one result is used.
    """
    lost = "two threads may compile the same kernel"
    found = _find("numba.core.compiler_lock", "global_compiler_lock", lost)
    return nullcontext() if found is None else found


def target_features() -> list[str]:
    """Return what Numba compiles for, as LLVM's features: ["+avx2", "-avx512f", …].

    Without it they are found as Numba documents it: NUMBA_CPU_FEATURES, or the host's.
    """
    try:
        target = importlib.import_module("numba.core.registry").cpu_target.target_context
        found = target.codegen()._tm_features
    except (ImportError, AttributeError):
        _warn("CPUCodegen._tm_features", "llvmlite is asked for the processor's vectors instead")
        host = binding.get_host_cpu_features().flatten()
        found = os.environ.get("NUMBA_CPU_FEATURES") or host
    return str(found).split(",")
