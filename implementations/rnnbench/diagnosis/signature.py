"""How an object that holds its weights is called: which of its parameters is the initial state.

By name first (hx, h0, state, …, and c0 beside it), then by what is required. An optional parameter
of another meaning (lengths, mask, verbose) keeps its default.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import torch

from rnnbench.diagnosis.words import BIAS, RECURRENT
from rnnbench.errors import InputError
from rnnbench.spec import Spec

_BEFORE = r"(?:init(?:ial)?|prev(?:ious)?|last|start)?_?"
_AFTER = r"_?(?:0|x|t|in|init|prev|tm1|t_1|last|states?)?"
_STATE = re.compile(
    rf"(?i)^(?:{_BEFORE}(?:h|hc|hidden|s|st|states?|carry){_AFTER}"
    r"|init(?:ial)?|prev(?:ious)?|h_?c|hiddens|h_and_c|h0_c0)$"
)
_CELL = re.compile(rf"(?i)^{_BEFORE}(?:c|cell|memory){_AFTER}$")
_LENGTHS = re.compile(r"(?i)^(?:x_|seq(?:uence)?_?|input_?)?len(?:s|gths?)?$")
_OTHER = re.compile(
    r"(?i)mask|len|pad|verbose|debug|train|drop|target|label|teacher|return|batch|device|embed"
)


@dataclass(frozen=True)
class Arguments:
    """state: names of the parameters for the parts of the state, one if they go as a tuple or
    alone, none if it takes no state; ``positional`` where names are not known. lengths: of the
    parameter that must have the lengths.
    """

    state: tuple[str, ...] = ()
    positional: bool = False
    lengths: str = ""

    @property
    def takes_state(self) -> bool:
        return self.positional or bool(self.state)

    def call(self, candidate: Any, x: Any, state: Sequence[Any], lengths: Any) -> Any:
        """The candidate's answer to x and the parts of its state."""
        whole = tuple(state) if len(state) > 1 else state[0]
        named = {self.lengths: lengths} if self.lengths else {}
        if self.positional:
            return candidate(x, whole, **named)
        parts = state if len(self.state) > 1 else (whole,)
        return candidate(x, **dict(zip(self.state, parts, strict=False)), **named)


POSITIONAL = Arguments(positional=True)


def parameters_of(candidate: Any) -> list[Parameter] | None:
    """Return the parameters of the call, or None where it does not tell them."""
    called = candidate.forward if isinstance(candidate, torch.nn.Module) else candidate
    try:
        return list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        return None


def positional(candidate: Any) -> int:
    """Return how many arguments it takes by position; 0 where that cannot be known."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters_of(candidate) or ())


def takes(candidate: Any, name: str) -> bool:
    return any(parameter.name == name for parameter in parameters_of(candidate) or ())


def roles_of(candidate: Any, spec: Spec) -> tuple[str, ...]:
    """Return what each parameter of a function is, "x", "h0", "c0" or a weight by torch's name.

    Empty for a function that takes the weights in a dict, and where names do not tell it.
    """
    parameters = parameters_of(candidate) or []
    required = [p.name for p in parameters if p.default is Parameter.empty]
    if len(required) < 4 or spec.layers * spec.directions != 1:
        return ()
    roles = ["x"]
    for name in required[1:]:
        bare = name.lower()
        if _STATE.search(name):
            role = "h0"
        elif _CELL.search(name) and spec.has_cell_state:
            role = "c0"
        else:
            kind = "bias" if BIAS.search(name) else "weight"
            side = "hh" if RECURRENT.search(bare) and "xh" not in bare else "ih"
            role = f"{kind}_{side}_l0"
        roles.append(role)
    known = {p.name for p in spec.parameters} | {"x", "h0", "c0"}
    return tuple(roles) if len(set(roles)) == len(roles) and set(roles) <= known else ()


def loops(candidate: Any) -> bool | None:
    """Return whether its source has a loop over time, or a module that stands for one; None where
    it cannot be read.
    """
    if isinstance(candidate, torch.nn.Module) and any(
        isinstance(module, torch.nn.RNNBase) for module in candidate.modules()
    ):
        return True
    if inspect.isroutine(candidate):
        called = [candidate]
    else:
        owners = [k for k in type(candidate).__mro__ if k not in (object, torch.nn.Module)]
        called = [
            method
            for owner in owners
            for name, method in vars(owner).items()
            if inspect.isfunction(method) and name != "__init__"
        ]
    try:
        body = "".join(map(inspect.getsource, called))
    except (OSError, TypeError):
        return None
    return bool(re.search(r"\b(for|while|scan|unbind|map)\b", body))


def arguments_of(candidate: Any, parts: int) -> Arguments:
    """Return how to call it with a state of so many parts.

    Raises InputError where a parameter may be the state or not, or must have what is not known.
    """
    parameters = parameters_of(candidate)
    if parameters is None or any(p.kind is Parameter.POSITIONAL_ONLY for p in parameters[1:]):
        return POSITIONAL
    rest = [p for p in parameters[1:] if p.kind is not Parameter.VAR_KEYWORD]
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return POSITIONAL
    required = [p.name for p in rest if p.default is Parameter.empty]
    lengths = next((n for n in required if _LENGTHS.search(n)), "")
    open_ = [n for n in required if n != lengths]
    hidden = [p.name for p in rest if _STATE.search(p.name)]
    cells = [p.name for p in rest if _CELL.search(p.name)]
    state: tuple[str, ...] = ()
    if hidden:
        state = (hidden[0], cells[0]) if parts == 2 and cells else (hidden[0],)
    elif open_ and len(open_) <= parts and not any(map(_OTHER.search, open_)):
        state = tuple(open_)
    else:
        unknown = [p.name for p in rest if p.default is None and not _OTHER.search(p.name)]
        if unknown:
            raise InputError(
                f"cannot tell whether the parameter {unknown[0]!r} is the initial state: call it "
                "hx (or h0 and c0), or give an object that is called as m(x, hx)"
            )
    if more := [name for name in open_ if name not in state]:
        raise InputError(
            f"candidate must be callable as m(x) or m(x, state); it requires {more[0]!r} as well: "
            "give it a default, or give an object that calls it with one"
        )
    return Arguments(state, lengths=lengths)
