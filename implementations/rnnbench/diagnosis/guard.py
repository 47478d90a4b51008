"""Running somebody's program without harm: what it prints is kept off, what it changes undone."""

from __future__ import annotations

import io
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch


def _state() -> dict[str, Any]:
    """What a program could change for everybody in this process."""
    return {
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "working directory": os.getcwd(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "random state": (torch.get_rng_state(), np.random.get_state(), random.getstate()),
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor | np.ndarray):
        return bool((one == other).all())
    return bool(one == other)


def _restore(state: dict[str, Any]) -> None:
    torch.set_default_dtype(state["default dtype"])
    torch.set_num_threads(state["number of threads"])
    torch.set_grad_enabled(state["grad mode"])
    torch.use_deterministic_algorithms(state["deterministic algorithms"])
    os.chdir(state["working directory"])
    ours, numpys, pythons = state["random state"]
    torch.set_rng_state(ours)
    np.random.set_state(numpys)
    random.setstate(pythons)


@contextmanager
def guarded(notes: dict[str, None]) -> Iterator[None]:
    """Run a block of somebody's; what it changed is put back, and said once in ``notes``."""
    before, printed = _state(), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, not ours to show
            yield
    finally:
        after = _state()
        changed = [name for name, value in before.items() if not _same(value, after[name])]
        if changed:
            _restore(before)
            notes[f"it changes the {' and the '.join(changed)} of the process: put back"] = None
        if printed.getvalue():
            first = printed.getvalue().strip().splitlines()[:1]
            notes[f"it prints, first: {first[0][:80]!r}" if first else "it prints"] = None
