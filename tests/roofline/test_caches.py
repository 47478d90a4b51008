"""Levels of memory as the system tells them, and what is read of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbench.roofline.caches import MEMORY, Cache, CachesError, caches, levels


def describe(folder, *entries):
    for number, entry in enumerate(entries):
        index = folder / "cpu3" / "cache" / f"index{number}"
        index.mkdir(parents=True)
        names = ("type", "level", "size", "shared_cpu_list")
        for name, value in zip(names, entry, strict=True):
            (index / name).write_text(f"{value}\n")


def test_data_caches_are_read_nearest_first_and_code_caches_are_not(tmp_path):
    describe(
        tmp_path,
        ("Unified", 3, "32M", "0-3,8"),
        ("Data", 1, "32K", "3"),
        ("Instruction", 1, "64K", "3"),
        ("Unified", 2, "1024K", "2-3"),
    )
    assert caches(3, tmp_path) == [
        Cache(1, 32 << 10, frozenset({3})),
        Cache(2, 1 << 20, frozenset({2, 3})),
        Cache(3, 32 << 20, frozenset({0, 1, 2, 3, 8})),
    ]


def test_a_system_that_tells_nothing_is_an_error(tmp_path):
    with pytest.raises(CachesError, match="does not tell the sizes"):
        caches(3, tmp_path)


@pytest.mark.parametrize("size", ["", "many", "12Q"])
def test_a_size_that_is_none_is_an_error(tmp_path, size):
    describe(tmp_path, ("Data", 1, size, "3"))
    with pytest.raises(CachesError, match="cannot be read"):
        caches(3, tmp_path)


def test_what_is_read_and_what_fits():
    found = [
        Cache(1, 32 << 10, frozenset({0})),
        Cache(2, 1 << 20, frozenset({0})),
        Cache(3, 64 << 20, frozenset({0, 1, 2, 3})),
    ]
    one, two = levels(found, [0]), levels(found, [0, 1])
    assert [level.name for level in one] == ["L1", "L2", "L3", MEMORY]
    assert [level.read for level in one] == [16 << 10, 185363, 8 << 20, 128 << 20]
    assert [level.capacity for level in one] == [32 << 10, 1 << 20, 64 << 20, None]
    # Private caches count for each thread, shared ones once.
    assert [level.capacity for level in two] == [64 << 10, 2 << 20, 64 << 20, None]
    assert two[2].read < one[2].read
    assert two[3].read == 64 << 20


@given(
    sizes=st.lists(st.integers(1 << 12, 1 << 30), min_size=1, max_size=4, unique=True),
    threads=st.integers(1, 8),
)
def test_each_level_but_the_first_is_given_more_than_the_one_before_holds(sizes, threads):
    found = [
        Cache(n + 1, size, frozenset(range(8)) if n == 2 else frozenset({0}))
        for n, size in enumerate(sorted(sizes))
    ]
    made = levels(found, range(threads))
    shares = [c.bytes // (threads if n == 2 else 1) for n, c in enumerate(found)]
    assert made[0].read <= shares[0]
    for before, share, level in zip(shares, shares[1:], made[1:], strict=False):
        assert min(before, share) <= level.read <= max(before, share)
    assert made[-1].read == 2 * shares[-1]
