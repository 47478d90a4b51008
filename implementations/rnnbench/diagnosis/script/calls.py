"""Calls of torch's recurrent networks, as they were made: input, state, weights, loss.

A cell that is called step by step, each time with the state that it returned before, is one call
of a network of one layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnbench.diagnosis.script.source import At
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import ORACLE_PRECISION, Problem
from rnnbench.spec import Case, Spec
from rnnbench.spec_of import CELL_MODULES, spec_and_weights


@dataclass
class Call:
    """One call of a module of torch.nn.

    x         (T, B, I) whatever the layout of the call; padded where it was packed
    state     as given, (L·D, B, H) each; None where it was left out
    inside    modules of the script's own that were running when it was made
    passes    gradients of a loss by ``output``, ``h_n``, ``c_n``, of each backward pass
    """

    module: nn.Module
    spec: Spec
    x: Array
    state: tuple[Array, ...] | None
    weights: Mapping[str, Array]
    answers: dict[str, Array]
    at: At | None
    order: int
    lengths: tuple[int, ...] | None = None
    unbatched: bool = False
    inside: tuple[nn.Module, ...] = ()
    passes: dict[int, dict[str, Array]] = field(default_factory=dict)
    returned: tuple[Any, ...] = ()
    dropped: bool = False

    @property
    def T(self) -> int:  # noqa: N802 (the name that it has everywhere)
        return len(self.x)

    def problem(self) -> Problem:
        """Return the call as a problem for the oracle, with the loss of its backward passes."""
        state = self.state or tuple(np.zeros(s) for s in self._shapes.values())
        phase = "training" if self.passes else "inference"
        case = Case(
            replace(self.spec, dropout=0.0), self.T, self.x.shape[1], phase,
            lengths=self.lengths, initial_state=self.state is not None,
        )  # fmt: skip
        precision = ORACLE_PRECISION[self.spec.dtype]
        upstream = {name: np.zeros(value.shape) for name, value in self.answers.items()}
        for found in self.passes.values():
            for name, value in found.items():
                upstream[name] = upstream[name] + value
        return Problem(
            case,
            self.x.astype(precision),
            tuple(part.astype(precision) for part in state),
            {name: w.astype(precision) for name, w in self.weights.items()},
            {name: value.astype(precision) for name, value in upstream.items()},
            None,
        )

    @property
    def _shapes(self) -> dict[str, tuple[int, int, int]]:
        return self.spec.state_shapes(self.x.shape[1])


def numbers(value: Any) -> Array | None:
    """Return a copy in float64 of a tensor, an array or a list of them; None for anything else."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_complex():
            return None
        return value.detach().to("cpu", torch.float64).numpy().copy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return value.astype(np.float64)
    if isinstance(value, list | tuple) and value and len(value) <= 4096:
        parts = [numbers(one) for one in value]
        if all(part is not None for part in parts):
            shapes = {part.shape for part in parts if part is not None}
            return np.stack(parts) if len(shapes) == 1 else None  # type: ignore[arg-type]
    return None


def is_torchs(module: nn.Module) -> bool:
    """Return whether a module is one of torch.nn's networks or cells, or computes as these do."""
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) and spec_and_weights(module) is not None


def is_cell(module: nn.Module) -> bool:
    """Return whether a module is a cell, which is called step by step."""
    return type(module) in CELL_MODULES


@dataclass(frozen=True)
class Point:
    """The moment and place of a call, and the script's own modules around it."""

    at: At | None
    order: int
    inside: tuple[nn.Module, ...]


def parts(state: Any) -> tuple[Any, ...] | None:
    """Return (h,) or (h, c) of a state as it is given or returned; None of None."""
    return state if isinstance(state, tuple) or state is None else (state,)


def made(
    module: nn.Module, given: Any, state: Any, result: Any, weights: Mapping[str, Array],
    point: Point,
) -> Call | None:  # fmt: skip
    """Return the call of a network; None where its numbers cannot be read."""
    found = spec_and_weights(module)
    if found is None:
        return None
    finals, lengths = parts(result[1]) or (), None
    x, y = given, result[0]
    unbatched = first = False
    if isinstance(given, PackedSequence):
        x, counts = pad_packed_sequence(given)
        y, _ = pad_packed_sequence(y)
        lengths = tuple(int(n) for n in counts)
    else:
        unbatched = given.dim() == 2
        first = bool(getattr(module, "batch_first", False)) and not unbatched

    def read(value: Any) -> Array:
        array = numbers(value)
        if array is None:
            raise ValueError("numbers that cannot be read")
        return array[:, None] if unbatched else array

    def in_time(value: Any) -> Array:
        return read(value).swapaxes(0, 1) if first else read(value)

    states = parts(state)
    answers = {"output": in_time(y)}
    answers |= dict(zip(("h_n", "c_n"), map(read, finals), strict=False))
    return Call(
        module, found[0], in_time(x), None if states is None else tuple(map(read, states)), weights,
        answers, point.at, point.order, lengths, unbatched, point.inside,
        returned=(result[0], *finals), dropped=bool(found[0].dropout) and module.training,
    )  # fmt: skip


def upstream_of(call: Call, name: str, gradient: Tensor) -> Array:
    """Return the gradient of a loss in the layout of the oracle."""
    values = numbers(gradient)
    assert values is not None
    if name == "output" and call.lengths is None:
        if call.unbatched:
            return values[:, None]
        return values.swapaxes(0, 1) if getattr(call.module, "batch_first", False) else values
    return values[:, None] if call.unbatched else values


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a cell."""

    module: nn.Module
    read: Array
    entered: tuple[Array, ...] | None
    numbers: tuple[Array, ...]
    returned: tuple[Any, ...]
    weights: Mapping[str, Array]
    point: Point


def step(
    module: nn.Module, given: Any, state: Any, result: Any, weights: Mapping[str, Array],
    point: Point,
) -> Step:  # fmt: skip
    """Return one call of a cell; raises ValueError where its numbers cannot be read."""

    def read(value: Any) -> Array:
        array = numbers(value)
        if array is None:
            raise ValueError("numbers that cannot be read")
        return array

    states, new = parts(state), parts(result) or ()
    entered = None if states is None else tuple(map(read, states))
    return Step(module, read(given), entered, tuple(map(read, new)), new, weights, point)


def chained(steps: Sequence[Step]) -> list[Call]:
    """Return runs of cells as calls of networks: each step begins with the state of the last."""
    runs: list[list[Step]] = []
    for step in steps:
        run = next((run for run in reversed(runs) if _goes_on(run[-1], step)), None)
        if run is not None:
            run.append(step)
        else:
            runs.append([step])
    return [call for run in runs if (call := _joined(run)) is not None]


def _goes_on(last: Step, step: Step) -> bool:
    if last.module is not step.module or step.entered is None or last.read.shape != step.read.shape:
        return False
    return all(np.array_equal(a, b) for a, b in zip(last.numbers, step.entered, strict=False))


def _joined(run: Sequence[Step]) -> Call | None:
    first, last = run[0], run[-1]
    found = spec_and_weights(first.module)
    if found is None:
        return None
    unbatched = first.read.ndim == 1

    def rows(value: Array) -> Array:
        return value[None] if unbatched else value

    x = np.stack([rows(step.read) for step in run])
    state = first.entered and tuple(rows(part)[None] for part in first.entered)
    answers = {"output": np.stack([rows(step.numbers[0]) for step in run])}
    answers |= {
        name: rows(part)[None] for name, part in zip(("h_n", "c_n"), last.numbers, strict=False)
    }
    return Call(
        first.module, found[0], x, state, first.weights, answers, first.point.at,
        first.point.order, unbatched=unbatched, inside=first.point.inside, returned=last.returned,
    )  # fmt: skip
