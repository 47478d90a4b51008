"""Numba's undocumented names: what is lost without each, and that all else goes on."""

from __future__ import annotations

import threading
import warnings
from types import SimpleNamespace

import numba.core.caching
import numba.core.compiler_lock
import numba.core.registry
import pytest
from numba import njit

from rnnbench.backends import numba_private
from rnnbench.backends.numba import compiling

LOCATED = next(
    kind
    for kind in numba.core.caching.CompileResultCacheImpl.__mro__
    if "_locator_classes" in vars(kind)
)


@pytest.fixture(autouse=True)
def said_nothing_yet():
    numba_private._warn.cache_clear()
    yield
    numba_private._warn.cache_clear()


def _warns_once(call, match):
    """The result of the second call, where the first one warned."""
    with pytest.warns(RuntimeWarning, match=match) as warned:
        call()
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


def test_nothing_is_said_where_all_names_are_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = njit(lambda x: x + 1)
        numba_private.use_cache(compiled, compiled._cache)
        assert numba_private.cache_statistics(compiled) == (None, 0, 0)
        with numba_private.compiler_lock():
            assert compiled(1) == 2
        assert any(feature.startswith("+") for feature in numba_private.target_features())
        assert numba_private.function_cache() is not None
        assert compiling._kernel_cache() is not None
        assert compiling._Folder in numba_private.cache_locators()


@pytest.mark.parametrize(
    ("owner", "name", "function"),
    [
        (numba.core.caching, "FunctionCache", numba_private.function_cache),
        (
            LOCATED,
            "_locator_classes",
            numba_private.cache_locators,
        ),
    ],
    ids=["FunctionCache", "_locator_classes"],
)
def test_without_a_part_of_the_disk_cache_kernels_are_compiled_anew(
    monkeypatch, owner, name, function
):
    monkeypatch.delattr(owner, name)
    assert _warns_once(function, f"lacks .*{name}: .* compiled anew in every process") is None
    assert compiling._kernel_cache.__wrapped__() is None


def test_without_a_place_for_a_cache_a_function_still_runs():
    class Bare:
        __slots__ = ("__dict__",)

    _warns_once(lambda: numba_private.use_cache(Bare(), object()), "compiled anew")


def test_without_statistics_hits_and_misses_are_not_known():
    found = _warns_once(lambda: numba_private.cache_statistics(SimpleNamespace()), "not known")
    assert found == (None, 0, 0)


def test_without_the_compiler_lock_two_threads_may_compile(monkeypatch):
    monkeypatch.delattr(numba.core.compiler_lock, "global_compiler_lock")
    lock = _warns_once(numba_private.compiler_lock, "two threads may compile")
    inside = threading.Barrier(2, timeout=20)

    def enter():
        with lock:
            inside.wait()

    other = threading.Thread(target=enter)
    other.start()
    enter()
    other.join()


@pytest.mark.parametrize("named", [None, "+avx2,+fma"])
def test_without_numbas_features_llvmlite_finds_the_hosts(monkeypatch, named):
    own = numba_private.target_features()
    monkeypatch.delattr(numba.core.registry, "cpu_target")
    if named is not None:
        monkeypatch.setenv("NUMBA_CPU_FEATURES", named)
    else:
        monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    with pytest.warns(RuntimeWarning, match="llvmlite is asked"):
        found = numba_private.target_features()
    if named is not None:
        assert found == named.split(",")
    else:
        assert ("+avx2" in found) == ("+avx2" in own)
