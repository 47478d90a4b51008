"""Modules whose weights are computed anew for every call, and so cannot be set.

With `torch.nn.utils.parametrize` (weight_norm, spectral_norm, orthogonal, …) a weight is a function
of other parameters. Such a module is asked as a copy of itself that holds the weights' present
values as plain parameters: the equations of the network are what is diagnosed, the function that
makes the weights is not.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rnnbench.bptt.torch_private import flat_weights, parameters
from rnnbench.errors import InputError


def with_plain_weights(candidate: Any) -> tuple[Any, str]:
    """The candidate, or a copy that holds its weights, and what is to be said of that.

    Raises InputError for a module whose weights can neither be set nor taken over.
    """
    if not isinstance(candidate, nn.Module):
        return candidate, ""
    made = []
    for prefix, module in candidate.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                "candidate must not be a module of torch.jit, whose weights cannot be set for the "
                f"time of a call; got {type(module).__name__}: give the module that it is made of"
            )
        for name in _by_hooks(module):
            raise InputError(
                f"candidate must hold its weights as they are; {_path(prefix, name)} is computed "
                "anew for every call by the older torch.nn.utils.weight_norm or spectral_norm, and "
                "cannot be set: use those of torch.nn.utils.parametrizations, or take it off with "
                "remove_weight_norm or remove_spectral_norm"
            )
        made += [_path(prefix, name) for name in _parametrised(module)]
    if not made:
        return candidate, ""
    try:
        plain = _plain_copy(candidate)
    except Exception as error:
        raise InputError(
            f"candidate must hold its weights as they are; {made[0]} is parametrised (weight_norm, "
            f"spectral_norm, …) and no copy without could be made ({type(error).__name__}: "
            f"{error}): give the module without, as of "
            "torch.nn.utils.parametrize.remove_parametrizations"
        ) from error
    paths = ", ".join(made[:4]) + (", …" if len(made) > 4 else "")
    return plain, (
        f"parametrised weights ({paths}) are set as plain ones: what the module does with them is "
        "compared, what computes them is not"
    )


def _path(prefix: str, name: str) -> str:
    return f"{prefix}.{name}".lstrip(".")


def _parametrised(module: nn.Module) -> list[str]:
    held = getattr(module, "parametrizations", None)
    return list(held) if isinstance(held, nn.ModuleDict) else []


def _by_hooks(module: nn.Module) -> list[str]:
    """Weights that weight_norm and spectral_norm of older days compute before each call."""
    return [
        name.removesuffix(end)
        for name in parameters(module)
        for end in ("_orig", "_v")
        if name.endswith(end)
        and name.removesuffix(end) not in parameters(module)
        and isinstance(getattr(module, name.removesuffix(end), None), Tensor)
    ]


def _plain_copy(candidate: nn.Module) -> nn.Module:
    """torch's own remove_parametrizations changes a class that a copy shares with the original."""
    memo: dict[int, Any] = {}
    for module in candidate.modules():
        for weight in flat_weights(module):
            if isinstance(weight, Tensor) and not weight.is_leaf:
                memo[id(weight)] = weight.detach().clone()  # what cannot be copied, and is not used
    plain = copy.deepcopy(candidate, memo)
    for module in plain.modules():
        if not (names := _parametrised(module)):
            continue
        with torch.no_grad():
            values = {name: getattr(module, name).clone() for name in names}
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, value in values.items():
            setattr(module, name, nn.Parameter(value))
    return plain
