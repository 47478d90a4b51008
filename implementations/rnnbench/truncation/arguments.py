"""Check arguments before any step is run.

Of a module or cell of torch.nn or rnnbench the spec is known, and with it what x and state must be;
of any other model only how it is called.
"""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.spec import Spec
from rnnbench.spec_of import CELL_MODULES

INTS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_int(name: str, value: Any, least: int) -> int:
    """Return the value as an int, NumPy's too; raise InputError if none or below ``least``."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or found < least:
        raise InputError(f"{name} must be an int of at least {least}; got {value!r}")
    return found


def check_bool(name: str, value: Any) -> None:
    """Raise InputError unless it is True, False or None, which is the argument left out."""
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} must be a bool; got {value!r}")


def check_model(model: Any) -> None:
    """Raise InputError unless it can be called as ``model(x, state)``."""
    if not callable(model) or isinstance(model, type):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise InputError(f"model must be callable as model(x, state); got {got}")
    called = getattr(model, "forward", model)  # a module's own call takes anything
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        name = getattr(model, "__name__", type(model).__name__)
        raise InputError(
            f"model must be callable as model(x, state); got {name}, which takes {signature}"
        ) from error


def check_layout(model: Any, **given: Any) -> None:
    """Raise InputError for a layout that a known model does not have; None is left out."""
    cell = type(model) in CELL_MODULES
    own = {"per_step": cell, "batch_dim": 0 if cell else 1}
    if not cell:  # a cell takes one step, and time is where the caller has it
        own["batch_first"] = model.batch_first
    for name, value in own.items():
        if given[name] is not None and given[name] != value:
            raise InputError(
                f"{name} must be {value} or left out for this {type(model).__name__}; "
                f"got {given[name]}"
            )


def as_row(name: str, value: Any) -> Tensor:
    """Return one number for each row, on the CPU; raise InputError for what is no array."""
    try:
        return torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} must be a list or tensor with one number for each row; got {value!r}"
        ) from error


def state_parts(spec: Spec, state: Any) -> tuple[Any, ...] | None:
    """Return the state's tensors as `rnnbench.interface.check_inputs` takes them."""
    if state is None:
        return None
    parts = state if spec.has_cell_state else (state,)
    fits = isinstance(parts, tuple | list) and len(parts) == 1 + spec.has_cell_state
    if not fits or not all(isinstance(part, Tensor) and part.dim() for part in parts):
        wanted = "two tensors (h0, c0)" if spec.has_cell_state else "one tensor h0"
        raise InputError(f"state must be {wanted} for cell {spec.cell!r}; got {_said(state)}")
    return tuple(parts)


def _said(state: Any) -> str:
    if isinstance(state, Tensor):
        return f"one tensor of shape {tuple(state.shape)}"
    size = f" of {len(state)}" if isinstance(state, tuple | list | dict) else ""
    return f"{type(state).__name__}{size}"
