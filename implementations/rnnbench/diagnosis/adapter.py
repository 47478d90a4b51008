"""Asking somebody's program a problem: what kind it is, how it is called, what it gives back.

Four kinds, each a black box:

    module    an object that holds its weights, called as ``m(x)`` or ``m(x, state)``
    function  ``f(x, state, weights)`` with weights by torch's names (or by the mapping's)
    cell      one step: an object called as ``c(x_t, state)``, or a function ``c(x_t, state,
              weights)``; the loop over time is ours
    gradient  ``g(x, state, weights)`` or ``g(x, state, weights, upstream)``, returning gradients
              as a dict by the names of what they belong to, such as ``{"weight_ih_l0": …}``

Of the first three, gradients are asked for through autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnbench.diagnosis.guard import guarded, in_words
from rnnbench.diagnosis.layouts import Layout, to_numpy, to_torch
from rnnbench.diagnosis.limit import TimeLimit
from rnnbench.diagnosis.renaming import renamed
from rnnbench.diagnosis.signature import (
    POSITIONAL,
    Arguments,
)
from rnnbench.diagnosis.weights import Mapped, Match
from rnnbench.errors import InputError
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem, as_float64
from rnnbench.spec import GATE_ORDER, Spec

KINDS = ("module", "function", "cell", "gradient")
LOSSES = ("upstream", "h_n", "output")
"""What a gradient function differentiates: the inner product with the upstream gradients that it is
given, or by itself the sum of the final state, or of the output."""


@dataclass
class Adapter:
    """A candidate and everything that is known about how to ask it."""

    candidate: Any
    name: str
    spec: Spec
    kind: str
    layout: Layout
    match: Match | None = None  # of an object that holds its weights
    renamed: Mapped = field(default_factory=dict)  # torch's name → the function's
    loss: str = "upstream"
    gives: tuple[str, ...] = ("output", "h_n", "c_n")  # what its loss can be made of
    arguments: Arguments = POSITIONAL  # of an object that holds its weights
    takes_state: bool = True
    takes_lengths: bool = False
    takes_masks: bool = False
    takes_packed: bool = False  # PackedSequence in and out
    only_last: str = ""  # its output is that of the last "step" alone, or of the final "state"
    bare: bool = False  # a function that takes a state of one part alone, not in a tuple
    roles: tuple[str, ...] = ()  # what the parameters of a function are that takes each weight
    method: str = ""  # by which an object is called that is not callable
    steps: int = 0  # length of the sequences that it takes; 0 for any
    batch: int = 0  # number of sequences that it takes; 0 for any
    guessed: int = 0  # layouts that fit as well as this one
    returns_numpy: bool = False
    output_later: bool = False  # whether a later value that it returns is its output
    backward_raised: str = ""  # the error of the last call's backward pass
    remark: str = ""  # on what was done to it before it could be asked
    limit: TimeLimit = field(default_factory=lambda: TimeLimit(None))
    notes: dict[str, None] = field(default_factory=dict)  # in order, each once

    @property
    def absent(self) -> tuple[str, ...]:
        """Return the weights that it does not have."""
        if self.match is not None:
            return self.match.absent
        names = [p.name for p in self.spec.parameters]
        if self.roles:
            return tuple(name for name in names if name not in self.roles)
        return tuple(name for name in names if self.renamed.get(name, "") is None)

    @property
    def own_storage(self) -> bool:
        """Return whether its names are not torch's, so that weights may be stored otherwise."""
        return bool((self.match and self.match.own_storage) or self.renamed or self.roles)

    @property
    def exchanged(self) -> str:
        """Return which gate stands under which name, where names say another; else nothing."""
        order = GATE_ORDER[self.spec.cell]
        if self.match is None or not self.match.named or self.layout.gates in ("", order):
            return ""
        pairs = zip(order, self.layout.gates, strict=True)
        return ", ".join(f"{said} is {gate}" for said, gate in pairs if said != gate)

    @property
    def call(self) -> Any:
        return getattr(self.candidate, self.method) if self.method else self.candidate

    def ask(self, problem: Problem) -> dict[str, Any]:
        """Quantities by the oracle's names, as tensors in torch's layout; only those that it gives.

        A gradient that no path reaches is None. Raises whatever the candidate raises.
        """
        call = _Call(self, problem)
        with guarded(self.notes), self.limit.running(problem.case.name):
            if self.kind == "gradient":
                return call.gradients_given()
            with torch.set_grad_enabled(problem.case.training and self.layout.arrays == "torch"):
                found, graph = call.outputs()
            found = {q: value for q, value in found.items() if q in self.gives}
            self.backward_raised = ""
            if not graph:
                return found
            try:
                return found | call.gradients(found)
            except Exception as error:  # noqa: BLE001 (theirs; the forward pass stands by itself)
                self.backward_raised = in_words(error)
                return found


class _Call:
    """One call: the tensors of a problem, made afresh."""

    def __init__(self, adapter: Adapter, problem: Problem) -> None:
        self.adapter, self.problem = adapter, problem
        self.spec, self.layout = adapter.spec, adapter.layout
        grad = problem.case.training and adapter.kind != "gradient"
        grad = grad and adapter.layout.arrays == "torch"
        self.dtype = getattr(torch, self.spec.dtype)

        def leaf(values: Array) -> Tensor:
            return torch.tensor(as_float64(values), dtype=self.dtype, requires_grad=grad)

        self.x = leaf(problem.x)
        self.state = tuple(map(leaf, problem.state))
        self.weights = {name: leaf(values) for name, values in problem.weights.items()}

    def _outgoing(self) -> tuple[Any, Any, dict[str, Any]]:
        """x, state and weights in the candidate's layout."""
        x = self.layout.x_out(self.x)
        state = tuple(self.layout.state_out(part, self.spec) for part in self.state)
        weights = {
            name: self.layout.weight_out(name, weight, self.spec)
            for name, weight in self.weights.items()
            if name not in self.adapter.absent
        }
        if self.adapter.match is None and self.adapter.renamed:
            weights = renamed(weights, self.adapter.renamed)
        if self.layout.arrays == "numpy":
            x, state = to_numpy(x), to_numpy(state)
            weights = to_numpy(weights) if self.adapter.match is None else weights
        return x, state, weights

    def outputs(self) -> tuple[dict[str, Any], bool]:
        """Output and final states, and whether gradients can be asked for at all."""
        x, state, weights = self._outgoing()
        adapter = self.adapter
        if adapter.kind == "cell":
            y, final = self._stepped(x, state, weights)
        elif adapter.match is not None:
            with adapter.match.holding(weights):
                y, final = _parts(self._called(adapter.call, x, state))
                y = self._padded(y)
        else:
            y, final = _parts(self._function(x, state, weights))
        if self.layout.arrays == "numpy" or isinstance(y, np.ndarray):
            y, final = to_torch(y, self.dtype), to_torch(final, self.dtype)
            numpys = adapter.returns_numpy = True
        else:
            numpys = False
        if adapter.kind not in ("cell", "function"):
            y, final = self._by_shape(y, final)
        if adapter.kind != "cell" or self.layout.unbatched:
            y = self.layout.y_in(y)
            final = tuple(self.layout.state_in(part, self.spec) for part in final)
        y, final = self._spread(y), tuple(map(self._with_layer, final))
        found = {"output": y} | dict(zip(("h_n", "c_n"), final, strict=False))
        if numpys and self.problem.case.training:
            adapter.notes["it computes with NumPy, which has no gradients: forward only"] = None
        return found, self.problem.case.training and not numpys

    def _spread(self, y: Any) -> Any:
        """The output by steps: of one that is joined, or that is of the last step alone."""
        T, B = self.problem.x.shape[:2]
        adapter, P, S = self.adapter, self.spec.state_size, self.spec.output_size
        if not isinstance(y, Tensor) or y.dim() != 2 or y.shape[1] != S:
            return y
        if len(y) == B:
            adapter.only_last = adapter.only_last or "step"
            whole = torch.cat([y.new_zeros(T - 1, *y.shape), y[None]])
            if adapter.only_last == "step" or T == 1:
                return whole
            reverse = torch.cat([y[None], y.new_zeros(T - 1, *y.shape)])
            return torch.cat([whole[..., :P], reverse[..., P:]], dim=2)
        if len(y) == T and self.layout.batch_first:
            adapter.notes[
                "its output has a row for each time step where each sequence should have one: the "
                "loop runs over the wrong axis"
            ] = None
        elif len(y) == T * B:
            adapter.notes["it gives its output as (T·B, H): compared step by step"] = None
            return y.reshape(T, B, S)
        return y

    def _by_shape(self, y: Any, final: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Output and states, where another value than the first has the output's shape."""
        right = (*self.problem.x.shape[:2], self.spec.output_size)

        def fits(value: Any) -> bool:
            one = self.layout.y_in(value)
            return isinstance(one, Tensor) and one.shape == right

        others = [value for value in final if fits(value)]
        later = self.adapter.output_later
        if fits(y) or not others or (self.problem.case.T == 1 and not later):
            return y, final
        self.adapter.output_later = True
        self.adapter.notes["its output is taken from a later value that it returns"] = None
        return others[0], tuple(value for value in final if value is not others[0])

    def _with_layer(self, part: Any) -> Any:
        """A state with the axis of layers and directions, which a single layer may lack."""
        spec, B = self.spec, self.problem.x.shape[1]
        if spec.layers * spec.directions > 1 or not isinstance(part, Tensor) or part.dim() != 2:
            return part
        if part.shape[0] != B:
            return part
        self.adapter.notes[
            "it gives states, or gradients of them, as (B, H), torch as (1, B, H)"
        ] = None
        return part[None]

    def _function(self, x: Any, state: Any, weights: Any) -> Any:
        """Call a function with its state in a tuple or alone, its weights in a dict or one by
        one.
        """
        adapter = self.adapter
        if adapter.roles:
            held = {"x": x} | dict(zip(("h0", "c0"), state, strict=False)) | weights
            return adapter.call(*(held[role] for role in adapter.roles))
        return adapter.call(x, state[0] if adapter.bare else state, weights, **self._taken())

    def _called(self, candidate: Any, x: Any, state: Any) -> Any:
        T, B = self.problem.x.shape[:2]
        lengths = torch.full((B,), T)
        if (own := self.problem.case.lengths) is not None:
            x = pack_padded_sequence(self.x, torch.tensor(own), enforce_sorted=False)
        if self.layout.arrays == "numpy":
            lengths = to_numpy(lengths)
        return self.adapter.arguments.call(candidate, x, state, lengths)

    def _padded(self, y: Any) -> Any:
        """The output for a packed sequence in the candidate's layout, zero after each end."""
        if self.problem.case.lengths is None:
            return y
        if not isinstance(y, PackedSequence):
            raise TypeError(f"for a PackedSequence it returned {type(y).__name__}")
        padded, _ = pad_packed_sequence(y, total_length=self.problem.case.T)
        return self.layout.x_out(padded)

    def _stepped(self, x: Any, state: Any, weights: Any) -> tuple[Any, tuple[Any, ...]]:
        """A single cell along the sequence: our loop, its step."""
        adapter, match = self.adapter, self.adapter.match
        now = tuple(part[0] for part in state)
        ys = []
        for x_t in x:
            if match is not None:
                with match.holding(weights):
                    new = adapter.arguments.call(adapter.call, x_t, now, None)
            else:
                new = self._function(x_t, now, weights)
            now = _state_of(new, len(now))
            ys.append(now[0])
        stack: Callable[..., Any] = np.stack if isinstance(ys[0], np.ndarray) else torch.stack
        return stack(ys), tuple(part[None] for part in now)

    def _taken(self) -> dict[str, Any]:
        case = self.problem.case
        own: dict[str, Any] = {}
        if self.adapter.takes_lengths:
            own["lengths"] = case.lengths
        if self.adapter.takes_masks:
            masks = self.problem.masks
            own["masks"] = masks and tuple(
                torch.tensor(as_float64(mask), dtype=self.dtype) for mask in masks
            )
        return {name: value for name, value in own.items() if value is not None}

    def _sources(self) -> dict[str, Tensor]:
        """Return what gradients are asked of, by the oracle's names."""
        sources = {"grad_x": self.x}
        if self.problem.case.initial_state:
            sources |= dict(zip(("grad_h0", "grad_c0"), self.state, strict=False))
        return sources | {
            f"grad_{name}": weight
            for name, weight in self.weights.items()
            if name not in self.adapter.absent
        }

    def gradients(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return gradients of the problem's loss; what has no graph or a wrong shape adds none."""
        sources = self._sources()
        asked = [
            (found[name], torch.tensor(as_float64(up), dtype=found[name].dtype))
            for name, up in self.problem.upstream.items()
            if isinstance(found.get(name), Tensor)
            and found[name].requires_grad
            and found[name].shape == up.shape
        ]
        if not asked:
            return dict.fromkeys(sources)
        try:
            gradients = torch.autograd.grad(
                [value for value, _ in asked], list(sources.values()), [up for _, up in asked],
                allow_unused=True,
            )  # fmt: skip
        except Exception as error:
            error.add_note("in the backward pass")
            raise
        return dict(zip(sources, gradients, strict=True))

    def gradients_given(self) -> dict[str, Any]:
        """Return what a gradient function returns, by the oracle's names."""
        x, state, weights = self._outgoing()
        arguments: list[Any] = [x, state[0] if self.adapter.bare else state, weights]
        if self.adapter.loss == "upstream":
            arguments.append(self._upstream())
        given = self.adapter.call(*arguments)
        if not isinstance(given, Mapping):
            raise InputError(
                "a gradient function must return a dict by the names of what the gradients belong "
                f"to, such as {{'weight_ih_l0': …}}; got {type(given).__name__}"
            )
        theirs = {str(own): name for name, own in self.adapter.renamed.items()}
        names = {p.name for p in self.spec.parameters} | {"x", "h0", "c0"}
        found: dict[str, Any] = {}
        for key, value in given.items():
            bare = str(key).removeprefix("grad_")
            name, tensor = theirs.get(bare, bare), to_torch(value, self.dtype)
            if name in ("output", "h_n", "c_n"):
                continue
            if name not in names:
                raise InputError(
                    "a gradient function must name its gradients as torch names what they belong "
                    f"to ({', '.join(sorted(names)[:3])}, …, x, h0); got {key!r}"
                )
            if isinstance(tensor, Tensor):
                tensor = tensor.detach()
            if name == "x":
                tensor = self.layout.y_in(tensor)
            elif name in ("h0", "c0"):
                tensor = self._with_layer(self.layout.state_in(tensor, self.spec))
            else:
                tensor = self.layout.gradient_in(name, tensor, self.spec)
                shape = self.weights[name].shape
                if isinstance(tensor, Tensor) and _without_ones(tensor.shape) == _without_ones(
                    shape
                ):
                    tensor = tensor.reshape(shape)
            found[f"grad_{name}"] = tensor
        return found

    def _upstream(self) -> dict[str, Any]:
        up = {
            name: torch.tensor(as_float64(value), dtype=self.dtype)
            for name, value in self.problem.upstream.items()
        }
        handed = {
            name: self.layout.x_out(value)
            if name == "output"
            else self.layout.state_out(value, self.spec)
            for name, value in up.items()
        }
        return to_numpy(handed) if self.layout.arrays == "numpy" else handed


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _parts(value: Any) -> tuple[Any, tuple[Any, ...]]:
    """(y, final states) of y, (y, h), (y, (h, c)) or (y, h, c)."""
    if not isinstance(value, tuple | list) or not value:
        return value, ()
    if isinstance(value, list) and len(value) > 2 and _equal_steps(value):
        value = (value,)
    y, *rest = value
    if isinstance(y, list) and y and _equal_steps(y):
        y = (np.stack if isinstance(y[0], np.ndarray) else torch.stack)(y)
    if len(rest) == 1 and isinstance(rest[0], tuple | list):
        rest = list(rest[0])
    return y, tuple(part for part in rest if part is not None)


def _equal_steps(values: list[Any]) -> bool:
    """Return whether a list holds one array or tensor for each step."""
    held = [value for value in values if isinstance(value, np.ndarray | Tensor)]
    return len(held) == len(values) and len({tuple(value.shape) for value in held}) == 1


def _state_of(new: Any, parts: int) -> tuple[Any, ...]:
    """The new state of a cell that returns h, (h, c), or (output, state)."""
    if not isinstance(new, tuple | list):
        return (new,)
    if len(new) == parts + 1 and len(new) > 2:
        return tuple(new[1:])
    if len(new) == 2 and (parts == 1 or isinstance(new[1], tuple | list)):
        new = new[1] if isinstance(new[1], tuple | list) else (new[1],)
    return tuple(new)
