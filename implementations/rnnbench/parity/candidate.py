"""What can be checked, and how it is asked: backends by name, modules, functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem, as_float64
from rnnbench.spec import Case, Spec

Candidate = str | torch.nn.Module | Callable[..., Any]


class _Call:
    """The tensors of one problem, made afresh so that no run sees another's gradients."""

    def __init__(self, problem: Problem) -> None:
        self.case, spec = problem.case, problem.case.spec
        self.problem = problem
        dtype = getattr(torch, spec.dtype)

        def tensor(values: Array) -> Tensor:
            # a copy: a candidate that writes into its arguments must not change the problem
            return torch.tensor(as_float64(values), dtype=dtype, requires_grad=self.case.training)

        self.x = tensor(problem.x)
        self.state = tuple(tensor(part) for part in problem.state)
        self.weights = {name: tensor(values) for name, values in problem.weights.items()}

    def packed(self, x: Tensor) -> PackedSequence:
        """x (T, B, ·) without its padding; unsorted lengths are sorted, and remembered."""
        lengths = torch.tensor(self.case.lengths)
        return pack_padded_sequence(x, lengths, enforce_sorted=False)

    def masks(self) -> tuple[Tensor, ...] | None:
        """The problem's dropout masks as tensors."""
        if self.problem.masks is None:
            return None
        return tuple(torch.tensor(as_float64(m), dtype=self.x.dtype) for m in self.problem.masks)


def _run_backend(name: str, call: _Call) -> tuple[Tensor, tuple[Tensor, ...]]:
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
    """Refuse a module whose parameters are not named as torch's: weights could not be handed in."""
    own = {name for name, _ in module.named_parameters()}
    missing = [parameter.name for parameter in spec.parameters if parameter.name not in own]
    if missing:
        raise InputError(
            f"candidate must name its parameters as torch.nn does; {', '.join(missing[:4])} "
            f"not among {', '.join(sorted(own)[:4]) or 'none'}. Wrap it in a function "
            "f(x, state, weights) that hands the weights over by your names"
        )


def _run_module(module: torch.nn.Module, call: _Call) -> tuple[Any, Any]:
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


def _run(candidate: Candidate, call: _Call) -> tuple[Any, Any]:
    if isinstance(candidate, str):
        return _run_backend(candidate, call)
    if isinstance(candidate, torch.nn.Module):
        return _run_module(candidate, call)
    y, final = candidate(call.x, call.state, call.weights, **_taken(call))
    return y, final


def _taken(call: _Call) -> dict[str, Any]:
    """lengths and masks of the case, where it has them; `unsupported` saw to it that they fit."""
    own = {"lengths": call.case.lengths, "masks": call.masks()}
    return {name: value for name, value in own.items() if value is not None}


def answers(candidate: Candidate, problem: Problem) -> dict[str, Any]:
    """Everything the oracle gives, from the candidate; a gradient that is missing is None."""
    call = _Call(problem)
    with torch.set_grad_enabled(problem.case.training):
        y, final = _run(candidate, call)
    final = (final,) if isinstance(final, Tensor) else tuple(final)
    got: dict[str, Any] = {"output": y} | dict(zip(("h_n", "c_n"), final, strict=False))
    if not problem.case.training:
        return got
    sources = {"grad_x": call.x}
    if problem.case.initial_state:
        sources |= dict(zip(("grad_h0", "grad_c0"), call.state, strict=False))
    sources |= {f"grad_{name}": weight for name, weight in call.weights.items()}
    asked = [
        (got[name], torch.tensor(as_float64(up), dtype=got[name].dtype))
        for name, up in problem.upstream.items()
        if isinstance(got.get(name), Tensor)
        and got[name].requires_grad
        and got[name].shape == up.shape
    ]
    if not asked:
        return got | dict.fromkeys(sources)
    gradients = torch.autograd.grad(
        [value for value, _ in asked], list(sources.values()), [up for _, up in asked],
        allow_unused=True,
    )  # fmt: skip
    return got | dict(zip(sources, gradients, strict=True))


def spec_of(candidate: torch.nn.Module) -> Spec:
    """The spec of a module that carries the attributes of torch.nn.RNN, GRU or LSTM."""
    try:
        mode, dropout = candidate.mode, float(candidate.dropout)  # type: ignore[arg-type]
        if dropout and candidate.training:
            raise InputError(
                f"candidate must be in eval mode or have dropout=0 to be comparable; got {dropout}"
            )
        return Spec(
            cell=str(mode).lower(),
            input_size=candidate.input_size,  # type: ignore[arg-type]
            hidden_size=candidate.hidden_size,  # type: ignore[arg-type]
            layers=candidate.num_layers,  # type: ignore[arg-type]
            directions=2 if candidate.bidirectional else 1,
            bias=bool(candidate.bias),
            dtype=str(next(candidate.parameters()).dtype).removeprefix("torch."),
            proj_size=getattr(candidate, "proj_size", 0),
        )
    except AttributeError as error:
        raise InputError(
            "candidate must be a backend's name, a module with the attributes of torch.nn.RNN, or "
            f"come with spec=Spec(...) or cases=[...]; got {type(candidate).__name__} ({error})"
        ) from error


def unsupported(candidate: Candidate, case: Case) -> str | None:
    """Why the candidate cannot be asked this case, as one sentence, or None."""
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
    """Why a function cannot be asked: it has no argument for what the case needs."""
    takes = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return None
    needs = {"lengths": case.lengths is not None, "masks": _masked(case)}
    missing = [name for name, needed in needs.items() if needed and name not in takes]
    return f"the function takes no argument {' or '.join(missing)}" if missing else None
