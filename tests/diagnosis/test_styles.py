"""Right implementations in many styles: no false accusation."""

from __future__ import annotations

import os

import pytest
from diagnosis.styles import everything, functions, others, storages

import rnnbench

ALL = everything()
FULL = os.environ.get("RNNBENCH_PROFILE") == "full"
SPARED = {name for n, (name, *_) in enumerate(functions()) if n % 4} if not FULL else set()
CHOSEN = [style for style in ALL if style[0] not in SPARED]


@pytest.mark.parametrize(
    ("candidate", "asked"), [s[1:] for s in CHOSEN], ids=[s[0] for s in CHOSEN]
)
def test_no_right_implementation_is_accused(candidate, asked):
    found = rnnbench.diagnose(candidate, **asked)
    assert found.passed, found
    assert (found.cause, found.first_divergence) == (None, None)


def test_there_are_fifty_styles():
    assert len(CHOSEN) >= 50
    names = [name for name, *_ in ALL]
    assert len(set(names)) == len(names) == sum(len([*f()]) for f in (functions, storages, others))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("storage-gru-zrn-interleaved-transposed", ("z, r, n", "interleaved", "transposed")),
        ("storage-lstm-ifog", ("i, f, o, g",)),
        ("lists", ("(D, L, B, H)",)),
        ("unbatched", ("without a batch axis",)),
        ("batch-first", ("batch first",)),
        ("numpy", ("NumPy",)),
    ],
)
def test_the_layout_is_recognised_and_said(name, words):
    candidate, asked = next(style[1:] for style in ALL if style[0] == name)
    found = rnnbench.diagnose(candidate, **asked)
    assert all(word in found.layout for word in words), found.layout
