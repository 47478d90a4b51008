"""Running somebody's program without harm: what it prints is kept off, what it changes undone."""

from __future__ import annotations

import io
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch

from rnnbench.bptt import torch_private


def _set_errors(kept: dict[str, Any]) -> None:
    np.seterr(**kept)


def _set_environment(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)


def _set_device(kept: torch.device) -> None:
    """None is the default; a device that is named makes every call of torch slower."""
    torch.set_default_device(None if kept.type == "cpu" else kept)


def _flushes() -> bool:
    """Return whether denormal numbers are taken for zero: torch has no question for it."""
    return not float(torch.full((1,), 1e-310, dtype=torch.float64, device="cpu") * 1.0)


def _random_states() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _set_random_states(kept: tuple[Any, ...]) -> None:
    torch.set_rng_state(kept[0])
    np.random.set_state(kept[1])
    random.setstate(kept[2])


RANDOM = "random state"
GLOBAL: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, _set_device),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "anomaly mode": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "float32 matmul precision": (
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision,
    ),
    "flushing of denormals": (_flushes, torch.set_flush_denormal),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms,
    ),
    "error handling of NumPy": (np.geterr, _set_errors),
    "working directory": (os.getcwd, os.chdir),
    "environment": (lambda: dict(os.environ), _set_environment),
    "recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    RANDOM: (_random_states, _set_random_states),
}  # fmt: skip
"""What a program could change for everybody in this process: how it is asked for and set."""


def _state() -> dict[str, Any]:
    return {name: ask() for name, (ask, _) in GLOBAL.items()}


def changed_since(before: dict[str, Any]) -> list[str]:
    """Names of what is not any more as it was."""
    return [name for name, (ask, _) in GLOBAL.items() if not _same(before[name], ask())]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor | np.ndarray):
        return bool((one == other).all())
    return bool(one == other)


def in_words(error: BaseException) -> str:
    """``ValueError: too long``, or the name alone where there is no message; and its notes."""
    said = ": ".join(part for part in (type(error).__name__, str(error).strip()) if part)
    return " ".join([said, *(f"({note})" for note in getattr(error, "__notes__", ()))])


@contextmanager
def watched(notes: dict[str, None]) -> Iterator[None]:
    """Say what a block, such as an import, changes for everybody; it stays, as the program may need
    it. Random numbers drawn are no news.
    """
    before = _state()
    yield
    changed = [name for name in changed_since(before) if name != RANDOM]
    if changed:
        notes[f"on import it changes the {' and the '.join(changed)} of the process"] = None


@contextmanager
def buffers_kept(candidate: Any, notes: list[str]) -> Iterator[None]:
    """Run a block that calls a module; put its buffers back, such as running means, and say which
    of them the calls changed.
    """
    modules = dict(candidate.named_modules()) if isinstance(candidate, torch.nn.Module) else {}
    kept: list[tuple[str, dict[str, Any], str, torch.Tensor, torch.Tensor]] = [
        (f"{prefix}.{name}".lstrip("."), own, name, buffer, buffer.clone())
        for prefix, module in modules.items()
        for own in [torch_private.buffers(module)]
        for name, buffer in own.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        changed = []
        for path, own, name, buffer, value in kept:
            if own.get(name) is not buffer or not torch.equal(buffer, value):
                changed.append(path)
                with torch.no_grad():
                    buffer.copy_(value)
                own[name] = buffer
        if changed:
            more = ", …" if len(changed) > 4 else ""
            notes.append(f"its calls change buffers ({', '.join(changed[:4])}{more}): put back")


@contextmanager
def guarded(notes: dict[str, None]) -> Iterator[None]:
    """Run a block of somebody's; what it changed is put back, and said once in ``notes``."""
    before, printed = _state(), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, not ours to show
            yield
    finally:
        changed = changed_since(before)
        for name in changed:
            GLOBAL[name][1](before[name])
        if changed:
            notes[f"it changes the {' and the '.join(changed)} of the process: put back"] = None
        if printed.getvalue():
            first = printed.getvalue().strip().splitlines()[:1]
            notes[f"it prints, first: {first[0][:80]!r}" if first else "it prints"] = None
