"""A run on disk after every epoch; resumed, it goes on as if it had never stopped.

The file holds the weights, the states of the optimiser and of both random generators, and the curve
so far: all that the next step depends on. It is written whole or not at all, so that a run killed
at any moment loses one epoch at most.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from rnnbench.errors import InputError
from rnnbench.files import atomic
from rnnbench.training.loop import Curve, Run

SCHEMA = 1


def path(folder: Path, backend: str) -> Path:
    """Return the file of a backend's run below ``folder``."""
    return folder / f"{backend}.pt"


def save(run: Run, target: Path) -> None:
    """Write the run as it stands between two epochs."""
    state: dict[str, Any] = {
        "schema": SCHEMA,
        "settings": run.settings.as_dict(),
        "backend": run.backend,
        "dtype": run.dtype,
        "model": run.model.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "random": run.random,
        "order": run.order.get_state(),
        "curve": run.curve.as_dict(),
    }
    with atomic.replacing(target) as part:
        torch.save(state, part)


def resume(run: Run, source: Path) -> bool:
    """Continue the file's run in ``run``, which was just made; returns False if there is no file.

    Raises InputError if the file is no checkpoint, or one of other settings: all but the number of
    epochs must be the same.
    """
    if not source.exists():
        return False
    try:
        state = torch.load(source, weights_only=True)
        own = {"backend": run.backend, "dtype": run.dtype, **run.settings.as_dict()}
        kept = {"backend": state["backend"], "dtype": state["dtype"], **state["settings"]}
    except (OSError, RuntimeError, KeyError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"checkpoint must be a file that a training wrote; {source} cannot be read: {error}"
        ) from None
    differing = [name for name in own if name != "epochs" and own[name] != kept.get(name)]
    if state["schema"] != SCHEMA or differing:
        said = ", ".join(f"{name}={kept.get(name)!r} (now {own[name]!r})" for name in differing)
        said = said or f"schema {state['schema']!r} (now {SCHEMA})"
        raise InputError(f"checkpoint must be of the same settings; {source} has {said}")
    run.model.load_state_dict(state["model"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.random = state["random"]
    run.order.set_state(state["order"])
    run.curve = Curve.from_dict(state["curve"])
    return True
