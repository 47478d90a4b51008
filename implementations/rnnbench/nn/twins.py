"""torch's modules for ours and back: twins that share parameters, and whole models in place.

Our classes are torch's with one more keyword, so that a module becomes one or the other by its
class alone: parameters, buffers, hooks, mode and place in a model stay as they are. Tools that ask
for torch's exact class (``quantize_dynamic``, FX) find it after a model has been swapped back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

from torch import nn

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.nn.modules import GRU, LSTM, RNN, twin

OURS: dict[type[nn.Module], type[nn.Module]] = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}


@dataclass(frozen=True)
class Swapped:
    """The outcome for one recurrent module of a model."""

    name: str
    """As ``named_modules`` has it; empty for the model itself."""
    was: str
    became: str
    """Its class, before and after."""
    backend: str | None
    """None for torch's own."""
    passed_over: str | None = None
    """The reason why it stayed as it was."""

    def __str__(self) -> str:
        name = self.name or "the model itself"
        if self.passed_over:
            return f"{name}: stays {self.was}: {self.passed_over}"
        on = f", backend {self.backend!r}" if self.backend else ""
        return f"{name}: {self.was} → {self.became}{on}"


@overload
def from_torch(module: nn.RNN, backend: str = ...) -> RNN: ...
@overload
def from_torch(module: nn.GRU, backend: str = ...) -> GRU: ...
@overload
def from_torch(module: nn.LSTM, backend: str = ...) -> LSTM: ...
def from_torch(module: nn.Module, backend: str = interface.AUTO) -> Any:
    """Return a module of ours that shares the parameters of one of torch's, hooks and mode too.

    What changes a parameter in place changes it for both; one that is replaced is replaced in its
    own module only. Raises InputError unless ``module`` is a torch.nn.RNN, GRU or LSTM itself, and
    for a backend that is not known.
    """
    _check_backend(backend)
    if type(module) not in OURS:
        raise InputError(
            "module must be a torch.nn.RNN, GRU or LSTM, and of no other class derived from them; "
            f"got {_named(type(module))}"
        )
    return _become(twin(module), backend)


def swap(model: nn.Module, backend: str | None = interface.AUTO) -> list[Swapped]:
    """Put every torch.nn.RNN, GRU and LSTM of a model on a backend, in place; None: back on torch.

    Each stays the same object, with its parameters, so that optimisers, hooks and other references
    to it go on; ours that are there already take the new backend. Classes derived from torch's, as
    by a parametrisation, may have a forward of their own and are passed over. Returns what became
    of each recurrent module. Raises InputError for a model that is no module, or a backend that is
    not known.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module; got {_named(type(model))}")
    if backend is not None:
        _check_backend(backend)
    return [
        _swapped(name, module, backend)
        for name, module in model.named_modules()
        if isinstance(module, nn.RNNBase)
    ]


def _swapped(name: str, module: nn.RNNBase, backend: str | None) -> Swapped:
    was = _named(type(module))
    if type(module) not in OURS and type(module) not in THEIRS:
        why = "a class of its own, whose forward may be another"
        return Swapped(name, was, was, getattr(module, "backend", None), why)
    _become(module, backend)
    return Swapped(name, was, _named(type(module)), backend)


def _become(module: nn.Module, backend: str | None) -> nn.Module:
    own = vars(module)
    own.pop("_memory", None)
    if backend is None:
        own.pop("backend", None)
        own.pop("checkpoint", None)
        module.__class__ = THEIRS.get(type(module), type(module))
    else:
        own["backend"] = backend
        module.__class__ = OURS.get(type(module), type(module))
    return module


def _check_backend(backend: str) -> None:
    if backend != interface.AUTO:
        interface.get_backend(backend)


def _named(kind: type[Any]) -> str:
    module = "torch.nn" if kind.__module__.startswith("torch.nn.") else kind.__module__
    return f"{'rnnbench' if kind in THEIRS else module}.{kind.__qualname__}"
