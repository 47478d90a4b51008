"""Drop-in modules: ``torch.nn.RNN``, ``GRU`` and ``LSTM`` with one more keyword, ``backend``.

Each class *is* torch's class: constructor, parameters, initialisation, state_dict and pickling are
inherited. Its forward is torch's own forward too, the very same code with the kernels of a backend
in place of torch's (`torch_private.forward_with`), so that shapes, sorting and restoring of packed
sequences, unbatched input and every error sentence are torch's by construction, in any version of
torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbench import interface
from rnnbench.bptt import torch_private
from rnnbench.errors import InputError
from rnnbench.nn import auto
from rnnbench.nn.call_cache import Memory
from rnnbench.spec import CELLS, DTYPES, GATES, Spec
from rnnbench.spec_of import FORWARDS

AUTO = interface.AUTO


class _Arguments(NamedTuple):
    """The arguments that torch.nn hands to its kernels, dense or packed, by name."""

    x: Tensor
    batch_sizes: Tensor | None
    state: tuple[Tensor, ...]
    weights: Sequence[Tensor]
    bias: bool
    layers: int
    dropout: float
    training: bool
    bidirectional: bool
    batch_first: bool


def _named(args: Sequence[Any]) -> _Arguments:
    rest: list[Any]
    if isinstance(args[3], Sequence):  # packed: x, batch_sizes, state, weights, …
        x, batch_sizes, hx, *rest = [*args, False]
    else:  # dense: x, state, weights, …, batch_first
        x, hx, *rest = args
        batch_sizes = None
    state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    return _Arguments(x, batch_sizes, state, *rest)


@cache
def _spec(
    cell: str, rows: int, inputs: int, state: int, layers: int, directions: int, bias: bool,
    dtype: torch.dtype, dropout: float,
) -> Spec:  # fmt: skip
    """Return the spec of weights: the first weight_ih (rows, inputs), weight_hh (rows, state)."""
    hidden = rows // GATES[cell]
    return Spec(
        cell, inputs, hidden, layers, directions, bias, str(dtype).removeprefix("torch."),
        proj_size=0 if state == hidden else state, dropout=dropout,
    )  # fmt: skip


def _spec_of(cell: str, a: _Arguments) -> Spec:
    rows, inputs = a.weights[0].shape
    return _spec(
        cell, rows, inputs, a.weights[1].shape[1], a.layers, 1 + a.bidirectional, a.bias,
        a.weights[0].dtype, float(a.dropout),
    )  # fmt: skip


def _kernel(
    backend: str, taken: list[tuple[str, Spec]], cell: str, *args: Any
) -> tuple[Tensor, ...]:
    """Do what ``torch.<cell>`` does, with the same arguments, dense or packed.

    taken: gets the backend that ran and the spec, unless that is torch's own.
    """
    a = _named(args)
    _check(cell, a)
    device = a.x.device.type
    name = choose(backend, cell, a)
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if name == "native":
        if autocast and backend != AUTO and _is_known(a):  # a sentence in the place of oneDNN's
            interface.require(name, *_question(cell, a))
        return getattr(torch, cell)(*args)  # type: ignore[no-any-return]
    hidden_dtype = a.state[-1].dtype
    if autocast:
        a = _lowered(cell, a)
    spec = _spec_of(cell, a)
    x = a.x.transpose(0, 1) if a.batch_first else a.x
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        y, final = interface.run(
            name, spec, x, a.state, a.weights, batch_sizes=a.batch_sizes, training=a.training
        )
    taken.append((name, spec))
    if spec.proj_size:  # of a projected LSTM torch lowers all but c_n
        final = (final[0], final[1].to(hidden_dtype))
    return (y.transpose(0, 1) if a.batch_first else y, *final)


def _check(cell: str, a: _Arguments) -> None:
    """Check what torch's kernels do, and what they do not check for a packed LSTM."""
    if a.x.device != a.weights[0].device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input tensor at "
            f"{a.x.device} and parameter tensor at {a.weights[0].device}"
        )
    for part in a.state:
        if part.device != a.x.device:
            raise RuntimeError(
                "Input and hidden tensors are not at the same device, found input tensor at "
                f"{a.x.device} and hidden tensor at {part.device}"
            )
    if a.batch_sizes is None:
        if a.x.shape[1 if a.batch_first else 0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        return
    rows, inputs = a.weights[0].shape
    if a.x.shape[-1] != inputs:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {inputs}, got {a.x.shape[-1]}"
        )
    sizes = (a.weights[1].shape[1], rows // GATES[cell])
    for part, size in zip(a.state, sizes, strict=False):
        expected = (a.layers * (1 + a.bidirectional), int(a.batch_sizes[0]), size)
        if part.shape != expected:
            raise RuntimeError(f"Expected hidden size {expected}, got {list(part.shape)}")


def _lowered(cell: str, a: _Arguments) -> _Arguments:
    """Return the arguments in the dtype that torch's own module returns under autocast.

    RNN and LSTM run in autocast's dtype. torch's GRU, and its LSTM without projection on different
    lengths, lower their products alone and return the dtype of their state, so they are computed in
    that here.
    """
    lower = torch.get_autocast_dtype(a.x.device.type)
    projected = len(a.state) > 1 and a.state[0].shape[-1] != a.state[1].shape[-1]
    ragged_lstm = cell == "lstm" and _is_ragged(a) and not projected
    dtype = a.state[0].dtype if cell == "gru" or ragged_lstm else lower
    if torch.float64 in (a.x.dtype, a.weights[0].dtype):  # which autocast leaves alone
        return a
    return a._replace(
        x=a.x.to(dtype),
        state=tuple(part.to(dtype) for part in a.state),
        weights=[weight.to(dtype) for weight in a.weights],
    )


def choose(backend: str, cell: str, a: _Arguments) -> str:
    """Return ``backend``, or for "auto" the one to take.

    That is the fastest by the table of `rnnbench.nn.auto`, where it holds the case, and else the
    first of `interface.AUTO_ORDER` that can do it.

    A dtype that only torch knows (complex) is torch's without asking.
    """
    if backend != AUTO:
        return backend
    if not _is_known(a):
        return "native"
    spec, packed = _spec_of(cell, a), a.batch_sizes is not None
    if _is_plain(a):
        if a.batch_sizes is not None:
            T, B = len(a.batch_sizes), int(a.batch_sizes[0])
        else:
            T, B = a.x.shape[:2][:: -1 if a.batch_first else 1]
        graph = torch.is_grad_enabled() and any(
            t.requires_grad for t in (a.x, *a.state, *a.weights)
        )
        phase = "training" if graph else "inference"
        if auto.numba_is_faster(spec, phase, packed, T, B, torch.get_num_threads()):
            return "numba"
    return interface.first_supporting(*_question(cell, a))


def _is_known(a: _Arguments) -> bool:
    return str(a.weights[0].dtype).removeprefix("torch.") in DTYPES


def _question(cell: str, a: _Arguments) -> tuple[Spec, interface.Conditions]:
    """Return what `Backend.supports` is asked, in x's dtype.

    Under autocast that may be another than the weights', and torch chooses its kernel by it.
    """
    spec, dtype = _spec_of(cell, a), str(a.x.dtype).removeprefix("torch.")
    if dtype != spec.dtype and dtype in DTYPES:
        spec = replace(spec, dtype=dtype)
    return spec, interface.Conditions(device=a.x.device.type, packed=_is_ragged(a))


def _is_ragged(a: _Arguments) -> bool:
    """Return whether it is packed and not all of one length, which torch's LSTM runs as dense."""
    return a.batch_sizes is not None and bool(a.batch_sizes[0] != a.batch_sizes[-1])


def _is_plain(a: _Arguments) -> bool:
    """Return whether it is on the CPU, in the weights' dtype, without forward-mode derivatives."""
    return (
        a.x.device.type == "cpu"
        and a.x.dtype == a.weights[0].dtype
        and not torch.is_autocast_enabled("cpu")
        and not torch_private.forward_mode_active()
    )


class _Backed(torch.nn.RNNBase):
    """Adds the keywords ``backend`` and ``checkpoint``, and a forward that follows them."""

    _torch_class: Any

    checkpoint = False

    def __init__(
        self, *args: Any, backend: str = AUTO, checkpoint: bool = False, **kwargs: Any
    ) -> None:
        if backend != AUTO:
            interface.get_backend(backend)
        if not isinstance(checkpoint, bool):
            raise InputError(f"checkpoint must be a bool; got {checkpoint!r}")
        super().__init__(*args, **kwargs)
        if checkpoint and self.bidirectional:
            raise InputError("checkpoint must be False for a bidirectional module; got True")
        self.backend, self.checkpoint = backend, checkpoint

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold: all but the call cache."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name != "_memory"}

    def to_torch(self) -> torch.nn.RNNBase:
        """Return torch's module with the same parameters, hooks and mode.

        What changes a parameter in place changes it for both. Raises InputError for a class
        derived from ours, whose forward may be its own.
        """
        if type(self) not in _EXACTLY:
            raise InputError(
                "only an rnnbench.RNN, GRU or LSTM itself has a module of torch's that does the "
                f"same; got {type(self).__qualname__}"
            )
        theirs: torch.nn.RNNBase = twin(self)
        for name in ("backend", "checkpoint"):
            vars(theirs).pop(name, None)
        theirs.__class__ = self._torch_class
        return theirs

    def __prepare_scriptable__(self) -> torch.nn.RNNBase:
        """Return what ``torch.jit.script`` takes, and puts into the model, in the place of this."""
        name = type(self).__name__
        warnings.warn(
            f"torch.jit.script puts torch.nn.{name} in the place of rnnbench.{name}, in the model "
            "that it is given too; rnnbench.swap(model) puts it back on a backend",
            stacklevel=2,
        )
        return self.to_torch()

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 (torch's name)
        """Return output and final state as ``torch.nn``'s modules do.

        input: (T, B, I), (B, T, I), (T, I) or a PackedSequence. While torch traces or exports a
        program, this is torch's own module: kernels of other backends are no operators of torch,
        and a graph must run where rnnbench is not installed. torch.compile compiles around
        every RNN, GRU and LSTM, torch's or ours, and runs it as it is.
        """
        if torch.compiler.is_compiling() or torch_private.is_traced(input):
            if not torch.compiler.is_compiling() and isinstance(input, torch.fx.Proxy):
                return self._recorded(input, hx)
            return self._torch_class.forward(self, input, hx)
        if self.checkpoint and torch.is_grad_enabled():
            from rnnbench.truncation.checkpointing import checkpointed_module

            return checkpointed_module(self, self._forward, input, hx)
        return self._forward(input, hx)

    def _recorded(self, x: torch.fx.Proxy, hx: Any) -> Any:
        """Return the call as one node of an FX graph, as FX records torch.nn's modules.

        A module that is the whole of what is traced has no name there, and is refused as torch's.
        """
        path = x.tracer.path_of_module(self)  # type: ignore[attr-defined]
        if not path:
            return self._torch_class.forward(self, x, hx)
        given = (x,) if hx is None else (x, hx)
        return x.tracer.create_proxy("call_module", path, given, {})

    def _forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002
        if type(self) not in _EXACTLY:  # which may override any part of torch's
            return self._on_backend(input, hx)[0]
        memory = self.__dict__.get("_memory")
        if memory is None:  # the first call, also of a copy
            memory = self.__dict__["_memory"] = Memory()
        found = memory.call(self, input, hx)
        if found is None:
            found, taken = self._on_backend(input, hx)
            for name, spec in taken:
                memory.remember(self, name, spec, input, hx)
        return found

    def _on_backend(self, x: Any, hx: Any) -> tuple[Any, list[tuple[str, Spec]]]:
        """Return the result with all of torch's checks, and which backend was taken for it."""
        taken: list[tuple[str, Spec]] = []
        kernels = {cell: partial(_kernel, self.backend, taken, cell) for cell in CELLS}
        return torch_private.forward_with(self._torch_class, kernels)(self, x, hx), taken

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, backend={self.backend!r}"


class RNN(_Backed, torch.nn.RNN):
    """`torch.nn.RNN` on a backend of rnnbench.

    backend: a name from `rnnbench.backends()`, or "auto" (default): the fastest that was measured
    for the case (`rnnbench.nn.auto`).
    checkpoint: whether training keeps the states of every √T steps alone and computes the others
    again on the way back (`rnnbench.truncation.checkpointed`); one direction only.
    Everything else, errors included, as in torch; UnsupportedError where the chosen backend cannot
    do the case.
    """

    _torch_class = torch.nn.RNN


class GRU(_Backed, torch.nn.GRU):
    """`torch.nn.GRU` on a backend of rnnbench; see `RNN`."""

    _torch_class = torch.nn.GRU


class LSTM(_Backed, torch.nn.LSTM):
    """`torch.nn.LSTM` on a backend of rnnbench; see `RNN`."""

    _torch_class = torch.nn.LSTM


def twin(module: torch.nn.Module) -> Any:
    """Return another module of the same class and parameters, in containers of its own."""
    made = type(module).__new__(type(module))
    for name, value in vars(module).items():
        if name != "_memory":
            vars(made)[name] = copy(value) if isinstance(value, dict | list | set) else value
    return made


FORWARDS.add(torch_private.uncompiled(_Backed.forward, inlined=True))


def of_spec(spec: Spec, backend: str = AUTO) -> torch.nn.RNNBase:
    """Return a new module of ``spec`` on a backend, its parameters drawn as torch draws them."""
    kind, _, nonlinearity = spec.cell.partition("_")
    options: dict[str, Any] = {"nonlinearity": nonlinearity} if nonlinearity else {}
    if spec.proj_size:
        options["proj_size"] = spec.proj_size
    made: torch.nn.RNNBase = {"rnn": RNN, "gru": GRU, "lstm": LSTM}[kind](
        spec.input_size, spec.hidden_size, spec.layers, bias=spec.bias, dropout=spec.dropout,
        bidirectional=spec.directions == 2, backend=backend, dtype=getattr(torch, spec.dtype),
        **options,
    )  # fmt: skip
    return made


_EXACTLY = (RNN, GRU, LSTM)
