"""The disk cache of kernels: shared, new with each source file, cleared of the unused."""

from __future__ import annotations

import os
import time

from backends.caching import identity_in_a_process
from numba.core.registry import cpu_target

from rnnbench.backends.numba import compiling, gemm


def test_two_processes_compile_at_once_and_a_third_loads_from_the_disk(tmp_path):
    both = [identity_in_a_process("numba", tmp_path) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
    out, err = identity_in_a_process("numba", tmp_path).communicate()
    assert out.split()[:2] == ["1", "0"], err
    assert out.split()[2].startswith(str(tmp_path))


def test_each_processor_has_its_own_code_in_the_folder():
    """What is compiled for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES change, is in the key."""
    codegen = cpu_target.target_context.codegen()
    key = gemm.multiply._cache._index_key((), codegen)
    assert {codegen._get_host_cpu_name(), codegen._tm_features} <= set(key[1])


def test_a_changed_source_file_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "SOURCES", tmp_path)
    digests = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "cells.py").write_text(text)
        compiling._digest.cache_clear()
        digests.append(compiling._digest())
    compiling._digest.cache_clear()
    assert digests[0] != digests[1]


def test_a_cache_folder_that_cannot_be_written_is_said_and_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    process = identity_in_a_process("numba", tmp_path / "file")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "compiled anew in every process" in err
    assert err.count("RuntimeWarning") == 1


def folder_used(path, days_ago: float):
    path.mkdir()
    (path / "kernel.nbc").touch()
    then = time.time() - 86400 * days_ago
    os.utime(path, (then, then))
    return path


def test_who_makes_a_folder_clears_away_what_nobody_used_for_a_month(tmp_path, monkeypatch):
    old = folder_used(tmp_path / "kernels-0123456789abcdef", 31)
    kept = [
        folder_used(tmp_path / "kernels-fedcba9876543210", 29),
        folder_used(tmp_path / "kernels-of-somebody-else", 1000),
        folder_used(tmp_path / "notes", 1000),
    ]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    own = compiling.folder.__wrapped__()
    assert own is not None
    assert not old.exists()
    assert all((path / "kernel.nbc").exists() for path in kept)
    folder_used(old, 31)
    assert compiling.folder.__wrapped__() == own  # it is there already: nothing is looked through
    assert old.exists()
