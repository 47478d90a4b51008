"""Run whatever is checked on a problem: a backend by its name, a module or a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.parity.problem import Problem, Tensors
from rnnbench.spec import Case, Spec
from rnnbench.spec_of import spec_of

Candidate = str | torch.nn.Module | Callable[..., Any]


def _run_backend(name: str, call: Tensors) -> tuple[Tensor, tuple[Tensor, ...]]:
    spec, masks, training = call.case.spec, call.masks(), call.case.training
    state = call.state if call.case.initial_state else None
    weights = tuple(call.weights.values())
    if call.case.lengths is None:
        return interface.run(name, spec, call.x, state, weights, masks=masks, training=training)
    rows = call.packed(call.x)
    y, final = interface.run(
        name,
        spec,
        rows.data,
        state and [part[:, rows.sorted_indices] for part in state],
        weights,
        batch_sizes=rows.batch_sizes,
        masks=masks and [call.packed(mask).data for mask in masks],
        training=training,
    )
    padded, _ = pad_packed_sequence(rows._replace(data=y), total_length=call.case.T)
    return padded, tuple(part[:, rows.unsorted_indices] for part in final)


def check_names(module: torch.nn.Module, spec: Spec) -> None:
    """Raise InputError for a module without torch's parameter names: weights go in by name."""
    own = {name for name, _ in module.named_parameters()}
    missing = [parameter.name for parameter in spec.parameters if parameter.name not in own]
    if missing:
        raise InputError(
            f"candidate must name its parameters as torch.nn does; {', '.join(missing[:4])} "
            f"not among {', '.join(sorted(own)[:4]) or 'none'}. Wrap it in a function "
            "f(x, state, weights) that hands the weights over by your names"
        )


def _run_module(module: torch.nn.Module, call: Tensors) -> tuple[Any, Any]:
    batch_first = bool(getattr(module, "batch_first", False))
    x: Any = call.x.transpose(0, 1) if batch_first else call.x
    if call.case.lengths is not None:
        x = call.packed(call.x)
    args = (x, call.state if len(call.state) > 1 else call.state[0])
    y, final = torch.func.functional_call(
        module, call.weights, args if call.case.initial_state else args[:1]
    )
    if isinstance(y, PackedSequence):
        y, _ = pad_packed_sequence(y, total_length=call.case.T)
    elif batch_first:
        y = y.transpose(0, 1)
    return y, final


def _run(candidate: Candidate, call: Tensors) -> tuple[Any, Any]:
    if isinstance(candidate, str):
        return _run_backend(candidate, call)
    if isinstance(candidate, torch.nn.Module):
        return _run_module(candidate, call)
    y, final = candidate(call.x, call.state, call.weights, **_taken(call))
    return y, final


def _taken(call: Tensors) -> dict[str, Any]:
    """Return lengths and masks where the case has them; `unsupported` checked that they fit."""
    own = {"lengths": call.case.lengths, "masks": call.masks()}
    return {name: value for name, value in own.items() if value is not None}


def answers(candidate: Candidate, problem: Problem) -> dict[str, Any]:
    """Return the candidate's answer for each quantity of the oracle, by the oracle's names.

    A gradient that no path reaches is None. Raises whatever the candidate raises.
    """
    call = Tensors(problem, requires_grad=problem.case.training)
    with torch.set_grad_enabled(problem.case.training):
        y, final = _run(candidate, call)
    final = (final,) if isinstance(final, Tensor) else tuple(final)
    got: dict[str, Any] = {"output": y} | dict(zip(("h_n", "c_n"), final, strict=False))
    return got | call.gradients(got) if problem.case.training else got


def spec_of_module(candidate: torch.nn.Module) -> Spec:
    """Return the spec of a module with torch's attributes, its dropout left out.

    Raises InputError where an attribute is missing or dropout is in force.
    """
    try:
        spec = spec_of(candidate)
    except AttributeError as error:
        raise InputError(
            "candidate must be a backend's name, a module with the attributes of torch.nn.RNN, or "
            f"come with spec=Spec(...) or cases=[...]; got {type(candidate).__name__} ({error})"
        ) from error
    if spec.dropout and candidate.training:
        raise InputError(
            f"candidate must be in eval mode or have dropout=0 to be comparable; got {spec.dropout}"
        )
    return replace(spec, dropout=0.0)


def unsupported(candidate: Candidate, case: Case) -> str | None:
    """Return the reason, one sentence, why the candidate cannot run this case; None if it can."""
    if isinstance(candidate, torch.nn.Module):
        return "a module draws its own dropout masks" if _masked(case) else None
    if not isinstance(candidate, str):
        return _untaken(candidate, case)
    conditions = interface.Conditions(
        phase=case.phase,
        packed=case.lengths is not None,
        masks_given=_masked(case),
    )
    return interface.get_backend(candidate).supports(case.spec, conditions)


def _masked(case: Case) -> bool:
    return bool(case.spec.dropout) and case.training and case.spec.layers > 1


def _untaken(function: Callable[..., Any], case: Case) -> str | None:
    """Return the reason where a function has no argument for what the case needs, else None."""
    takes = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return None
    needs = {"lengths": case.lengths is not None, "masks": _masked(case)}
    missing = [name for name, needed in needs.items() if needed and name not in takes]
    return f"the function takes no argument {' or '.join(missing)}" if missing else None
