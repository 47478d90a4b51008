"""Problems for an adapter, and its answers beside the oracle's.

Several problems, as one may hide a mistake (dead relu units, one step, one sequence): two dense
ones with different seeds, one of a single step, one with sequences of different lengths,
packed for a module, and one with dropout masks, if the candidate takes these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.guard import in_words
from rnnbench.diagnosis.limit import TimeUpError
from rnnbench.diagnosis.usage import array_of
from rnnbench.errors import InputError
from rnnbench.parity.check import Row, asked, judge, torch_errors
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import ORACLE_PRECISION, Problem, pose
from rnnbench.spec import Case

T, B = 5, 3
LENGTHS = (3, 5, 2, 5)  # neither sorted nor all different
GROSS = 1e4
"""Share of the budget that no conditioning of so short a sequence explains."""


@dataclass(frozen=True)
class Solved:
    """A problem and what is right and to be expected of a dtype in it.

    packed     whether nobody sees what x and the output are in the padding, as of a
               `PackedSequence`
    only_last  whether the output is that of the last "step" alone, or of the final "state" of both
               directions, and zero elsewhere; "" for neither
    """

    problem: Problem
    expected: Mapping[str, Array]
    errors: Mapping[str, float]  # of torch's own module
    packed: bool = False
    only_last: str = ""

    @classmethod
    def of(cls, problem: Problem, *, packed: bool = False) -> Solved:
        if packed:
            output = without_padding(problem.case, problem.upstream["output"])
            problem = replace(problem, upstream=dict(problem.upstream) | {"output": output})
        expected = asked(problem.case, problem.expected())
        return cls(problem, expected, torch_errors(problem, expected), packed)

    def seen(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return answers as the candidate's caller sees them, without padding or earlier steps."""
        shown = dict(found)
        if self.only_last and shown.get("output") is not None:
            shown["output"] = last_alone(shown["output"], self.only_last)
        for name in ("output", "grad_x") if self.packed else ():
            if shown.get(name) is not None:
                shown[name] = without_padding(self.problem.case, shown[name])
        return shown


@dataclass(frozen=True)
class Trial:
    """One problem put to the candidate: its answers and their judgement, quantity by quantity."""

    solved: Solved
    got: Mapping[str, Any]
    rows: list[Row]

    @property
    def problem(self) -> Problem:
        return self.solved.problem

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.failed]

    @property
    def raised(self) -> str | None:
        """Return what the candidate raised instead of answering."""
        return next((r.detail for r in self.rows if r.status == "raised" and not self.got), None)

    def numbers(self, quantity: str) -> Array | None:
        """An answer in float64, or None if there is none."""
        value = self.got.get(quantity)
        return value.detach().double().numpy() if isinstance(value, Tensor) else None


def without_padding(case: Case, values: Array) -> Array:
    """Values (T, B, ·), zero where a sequence has no step."""
    running = np.arange(case.T)[:, None] < np.asarray(case.lengths)
    return np.where(running[..., None], values, 0.0)


def attempt(adapter: Adapter, solved: Solved) -> Trial:
    """Ask one problem. Whatever the candidate raises is its answer."""
    case = solved.problem.case
    try:
        got = adapter.ask(solved.problem)
    except (InputError, KeyboardInterrupt, TimeUpError):
        raise
    except BaseException as raised:  # noqa: BLE001 (whatever it raises is its result, sys.exit too)
        row = Row(adapter.name, case.name, "output", "raised", detail=in_words(raised))
        return Trial(solved, {}, [row])
    if adapter.only_last and "output" in solved.expected:
        last = last_alone(solved.expected["output"], adapter.only_last)
        expected = dict(solved.expected) | {"output": last}
        solved = replace(solved, expected=expected, only_last=adapter.only_last)
    expected = {q: v for q, v in solved.expected.items() if q in got}
    rows = judge(adapter.name, solved.problem, expected, solved.errors, got, gross=GROSS)
    if adapter.backward_raised:
        detail = adapter.backward_raised
        rows.append(Row(adapter.name, case.name, "grad_x", "raised", budget=1.0, detail=detail))
    return Trial(solved, got, rows)


def last_alone(output: Array, which: str) -> Array:
    """An output, zero at all steps but the last: of the sequence, or of each direction."""
    kept = np.zeros_like(output)
    half = output.shape[2] // 2
    forward = slice(None, half) if which == "state" else slice(None)
    kept[-1, :, forward] = output[-1, :, forward]
    if which == "state":
        kept[0, :, half:] = output[0, :, half:]
    return kept


def solved_for(adapter: Adapter, case: Case, given: Mapping[str, Any] | None = None) -> Solved:
    """A problem as the adapter can be asked it: absent weights zero, the loss its own."""
    problem = pose(case)
    absent = adapter.absent
    weights = {n: np.zeros_like(w) if n in absent else w for n, w in problem.weights.items()}
    problem = replace(problem, weights=weights, upstream=_upstream(adapter, problem))
    packed = adapter.takes_packed and case.lengths is not None
    return Solved.of(replace(problem, **(given or {})), packed=packed)


def _upstream(adapter: Adapter, problem: Problem) -> Mapping[str, Array]:
    """Gradients of the loss: random ones for all that it returns, or of the sum that a gradient
    function fixes itself.
    """
    if adapter.loss == "upstream":
        upstream = {
            name: value if name in adapter.gives else np.zeros_like(value)
            for name, value in problem.upstream.items()
        }
        if adapter.only_last:
            upstream["output"] = last_alone(upstream["output"], adapter.only_last)
        return upstream
    return {
        name: np.full_like(value, 1.0 if name == adapter.loss else 0.0)
        for name, value in problem.upstream.items()
    }


def cases_for(adapter: Adapter) -> list[Case]:
    """Return what the adapter is asked, the simplest first."""
    plain = replace(adapter.spec, dropout=0.0)
    batch = 1 if adapter.layout.unbatched else adapter.batch or B
    state = adapter.takes_state
    if adapter.steps:  # the only length that it takes
        return [
            Case(plain, adapter.steps, batch, initial_state=state, seed=seed) for seed in (0, 1)
        ]
    smaller = adapter.batch or max(1, batch - 1)
    cases = [
        Case(plain, T, batch, initial_state=state),
        Case(plain, T - 1, smaller, initial_state=state, seed=1),
        Case(plain, 1, batch, initial_state=state, seed=2),
    ]
    if adapter.takes_lengths or adapter.takes_packed:
        cases.append(packed_case(adapter))
    if adapter.spec.dropout and adapter.takes_masks:
        cases.append(Case(adapter.spec, T, batch, initial_state=state))
    return cases


def packed_case(adapter: Adapter, phase: str = "training") -> Case:
    """Sequences of different lengths."""
    return Case(
        replace(adapter.spec, dropout=0.0), max(LENGTHS), len(LENGTHS), phase, lengths=LENGTHS,
        initial_state=adapter.takes_state,
    )  # fmt: skip


def takes_packed(adapter: Adapter) -> bool:
    """Return whether a module takes a `PackedSequence` and returns one: asked, as no signature
    tells.
    """
    layout = adapter.layout
    if (
        adapter.kind != "module"
        or adapter.steps
        or adapter.batch
        or layout.unbatched
        or layout.arrays != "torch"
    ):
        return False
    solved = solved_for(adapter, packed_case(adapter, "inference"))
    return attempt(replace(adapter, notes={}), solved).raised is None


def own_numbers(
    adapter: Adapter, x: Any, state: Any, weights: Mapping[str, Any] | None
) -> Solved | None:
    """The problem of somebody's own numbers, where some were given.

    x (T, B, I) or (T, I), or (B, T, I) for a batch-first candidate; state h0 or (h0, c0), each
    (L·D, B, H) or (L·D, H); weights by torch's names, random ones for those not given. Raises
    InputError for a wrong shape.
    """
    if x is None:
        return None
    spec = replace(adapter.spec, dropout=0.0)
    values = array_of("x", x)
    if values.ndim == 3 and adapter.layout.batch_first:
        values = values.swapaxes(0, 1)
    if values.ndim == 2:
        values = values[:, None]
    if values.ndim != 3 or values.shape[2] != spec.input_size or not len(values):
        raise InputError(
            f"x must have shape (T, B, {spec.input_size}) or (T, {spec.input_size}); "
            f"got {array_of('x', x).shape}"
        )
    case = Case(spec, values.shape[0], values.shape[1], initial_state=adapter.takes_state)
    precision = ORACLE_PRECISION[spec.dtype]
    given: dict[str, Any] = {"x": values.astype(precision)}
    if state is not None:
        shapes = spec.state_shapes(case.B)
        parts = _state_parts(state, len(shapes))
        if len(parts) != len(shapes):
            raise InputError(f"state must be {', '.join(shapes)}; got {len(parts)} arrays")
        given["state"] = tuple(
            _shaped(name, array_of(name, part), shape).astype(precision)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        )
    if weights is not None:
        shapes_of = {p.name: p.shape for p in spec.parameters}
        unknown = sorted(set(weights) - set(shapes_of))
        if unknown:
            raise InputError(f"weights must have torch's names; got {', '.join(unknown)}")
        mine = {
            name: _shaped(name, array_of(name, value), shapes_of[name]).astype(precision)
            for name, value in weights.items()
        }
        given["weights"] = dict(solved_for(adapter, case).problem.weights) | mine
    return solved_for(adapter, case, given)


def _state_parts(state: Any, count: int) -> Sequence[Any]:
    """(h0,) or (h0, c0) of what was given; nested lists may be h0 itself."""
    listed = isinstance(state, tuple | list)
    if count == 1 and not (listed and len(state) == 1 and array_of("state", state[0]).ndim > 1):
        return (state,)
    return state if listed else (state,)


def _shaped(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """The array in its shape; a batch axis of one may be left out."""
    if values.shape == shape or (len(shape) == 3 and values.shape == (shape[0], *shape[2:])):
        return values.reshape(shape)
    meaning = " = (L·D, B, hidden size)" if name in ("h0", "c0") else ""
    raise InputError(f"{name} must have shape {shape}{meaning}; got {values.shape}")


def what_it_raised(adapter: Adapter, message: str) -> str:
    """The candidate's error, with what its shapes say where they say it."""
    spec = adapter.spec
    found = re.search(r"\((\d+)x(\d+) and (\d+)x(\d+)\)", message)
    sentence = f"the candidate raised {message}"
    if found:
        _, columns, rows, _ = map(int, found.groups())
        if rows == spec.state_size and columns not in (rows, spec.input_size):
            shape = (spec.layers * spec.directions, "B", spec.state_size)
            wanted = ", ".join(map(str, shape))
            sentence += (
                f"; a state of {columns} columns meets weights for a hidden size of {rows}: h0 "
                f"must have shape ({wanted})"
            )
    return sentence
