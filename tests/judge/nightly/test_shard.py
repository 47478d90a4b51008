"""Shards: every case in exactly one, whatever other cases there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbench.errors import InputError
from rnnbench.judge.nightly.units import Shard

names = st.text(min_size=1, max_size=30)


@given(st.sets(names, max_size=50), st.integers(1, 12))
def test_the_shards_hold_every_case_once(cases: set[str], n: int) -> None:
    held = [case for i in range(n) for case in cases if Shard(i + 1, n).holds(case)]
    assert sorted(held) == sorted(cases)


@given(names)
def test_which_shard_a_case_is_of_depends_on_its_name_only(case: str) -> None:
    assert [Shard(i, 7).holds(case) for i in range(1, 8)].count(True) == 1
    assert Shard(1, 1).holds(case)


def test_the_split_is_the_same_on_every_machine_and_in_every_version() -> None:
    """Pinned: a fleet whose machines disagree would miss cases without a word."""
    cases = [f"speed.Inference.time_inference('numba', 'gru', {T})" for T in range(12)]
    assert [next(i for i in (1, 2, 3) if Shard(i, 3).holds(case)) for case in cases] == [
        3, 1, 3, 1, 3, 1, 1, 3, 3, 1, 2, 2,
    ]  # fmt: skip


def test_shards_are_of_like_size() -> None:
    sizes = [sum(Shard(i, 4).holds(f"case({n})") for n in range(4000)) for i in (1, 2, 3, 4)]
    assert max(sizes) < 1.15 * min(sizes)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", "1 / 2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="shard must be i/n"):
        Shard.parse(text)
