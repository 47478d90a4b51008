"""Is it right: outputs, states and every gradient against the float64 oracle, within a budget.

Error.  For each quantity q, norm-wise and in units of u, the unit roundoff of the dtype
(2⁻²⁴ for float32):

    e(q) = ‖got − oracle‖₂ / (‖oracle‖₂ · u)

Budget.  Derived, not guessed; the smaller of two:

1. 4 · (1 + backward) · ⌈log₂(k·T)⌉, oneDNN's rule for its RNN tests (benchdnn, rnn): rounding
   errors of a sum of depth n, added as a tree or at random, grow like log n; k is the longest sum
   of one step, T steps follow each other, and the backward pass adds as much again.
2. max(4·A, 2 · error of torch's own module in that dtype on the same case), the error being the
   largest over the quantities of the same pass, forward or backward: one quantity alone is a draw
   of chance. torch is exact by luck on tiny cases, hence the floor: 4, times the conditioning
   A ≥ 1 of the quantity.

A(q), the conditioning of q, is measured: x, state and weights are perturbed by one u, relative and
of random sign, and A is the largest error that this alone makes in the oracle in 8 draws. It is 1
to 3, but larger where a sum cancels (a bias gradient) and no implementation can do better. As it
costs more runs of the oracle it is measured only where an error exceeds the rest of the budget.

Expansive weights.  A network that magnifies perturbations (A > 4, more than rule 1 foresees) makes
every implementation in that dtype differ. There an error up to 8·A is tagged ``chaotic``: reported,
not gated. Anything beyond is still red.

The elementwise error in ULP (median and 99th percentile) is shown but never gated: near zero it
reaches millions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.oracle import Array, oracle
from rnnbench.spec import UNIT_ROUNDOFF, Case, Spec

if TYPE_CHECKING:
    import pandas as pd

Candidate = str | torch.nn.Module | Callable[..., Any]
FLOOR = 4.0
CONDITIONING_DRAWS = 8
ORACLE_PRECISION = dict.fromkeys(UNIT_ROUNDOFF, np.float64) | {"float64": np.longdouble}
"""A float64 oracle shares its rounding errors with float64 candidates that sum in the same order
(torch's then look like 0); 80-bit arithmetic, where the platform has it, does not."""
FAILURES = ("over budget", "nan", "inf", "shape", "dtype", "missing", "raised")


@dataclass(frozen=True)
class Row:
    """One quantity of one case: its error and budget in units of the dtype's unit roundoff."""

    candidate: str
    case: str
    quantity: str
    status: str  # "ok", "chaotic", "unsupported" or one of FAILURES
    error: float = math.nan
    budget: float = math.nan
    torch_error: float = math.nan
    ulp_median: float = math.nan
    ulp_p99: float = math.nan
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.status in FAILURES

    @property
    def share(self) -> float:
        """Error as a share of its budget; infinite where there is no number to compare."""
        if self.failed and math.isnan(self.error):
            return math.inf
        return self.error / self.budget


@dataclass
class Parity:
    """Result of a check; prints as a table. True in a boolean context is not defined on purpose."""

    rows: list[Row] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether something was measured and nothing of it is red."""
        return self.measured and not any(row.failed for row in self.rows)

    @property
    def measured(self) -> bool:
        """Whether any quantity was gated at all: unsupported and chaotic ones are not."""
        return any(row.failed or row.status == "ok" for row in self.rows)

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.failed]

    def to_frame(self) -> pd.DataFrame:
        """One row per quantity, columns as the fields of `Row`, and ``share``."""
        import pandas as pd

        return pd.DataFrame([asdict(row) | {"share": row.share} for row in self.rows])

    def __bool__(self) -> bool:
        raise TypeError("ask for .passed: a Parity result has no truth value of its own")

    def __str__(self) -> str:
        if not self.rows:
            return "nothing was checked"
        shown = self.failures or _worst_of_each(self.rows)
        lines = [_sentence(self)]
        width = max(len(row.quantity) for row in shown)
        lines += [
            f"  {row.quantity:<{width}}  {row.status:<11} {_figures(row)}  {row.case}"
            + (f"  ({row.detail})" if row.detail else "")
            for row in shown
        ]
        return "\n".join(lines)


def _figures(row: Row) -> str:
    return f"{row.error:10.3g} eps of {row.budget:5.3g}   torch {row.torch_error:8.3g}"


def _sentence(parity: Parity) -> str:
    cases = len({row.case for row in parity.rows})
    names = ", ".join(sorted({row.candidate for row in parity.rows}))
    if not parity.measured:
        return f"{names}: nothing was measured in {cases} cases"
    if parity.failures:
        return f"{names}: {len(parity.failures)} of {len(parity.rows)} quantities are wrong"
    return f"{names}: {len(parity.rows)} quantities of {cases} cases are within their budgets"


def _worst_of_each(rows: Sequence[Row]) -> list[Row]:
    """Per quantity the row nearest to its budget, in order of appearance."""
    worst: dict[str, Row] = {}
    for row in rows:
        old = worst.get(row.quantity)
        if old is None or row.share > old.share or math.isnan(old.share):
            worst[row.quantity] = row
    return list(worst.values())


@dataclass(frozen=True)
class Problem:
    """A case with its numbers: float64 arrays that are exact in the dtype of the spec."""

    case: Case
    x: Array
    state: tuple[Array, ...]
    weights: Mapping[str, Array]
    upstream: Mapping[str, Array]
    masks: tuple[Array, ...] | None

    def expected(self) -> dict[str, Array]:
        """Every quantity according to the oracle."""
        return oracle(
            self.case.spec,
            self.x,
            self.state,
            self.weights,
            upstream=self.upstream if self.case.training else None,
            lengths=self.case.lengths,
            masks=self.masks,
        )


def _rounded(values: Array, dtype: str) -> Array:
    """The numbers nearest in ``dtype``, as arrays of the oracle's precision for it."""
    exact = torch.from_numpy(values).to(getattr(torch, dtype)).double().numpy()
    return exact.astype(ORACLE_PRECISION[dtype])


def pose(case: Case) -> Problem:
    """Random numbers for a case: weights U(±1/√H) as torch draws them, biases as large, non-zero
    state, and random upstream gradients for output *and* states. The same case, the same numbers.
    """
    spec = case.spec
    rng = np.random.default_rng(
        [case.seed, crc32(replace(case, phase="training").name.encode()), case.T]
    )
    bound = 1 / math.sqrt(spec.hidden_size)
    normal, uniform = rng.standard_normal, rng.uniform
    x = normal((case.T, case.B, spec.input_size))
    for b, length in enumerate(case.lengths or ()):
        x[length:, b] = 0.0
    shapes = spec.state_shapes(case.B)
    scale = 0.5 if case.initial_state else 0.0
    output = (case.T, case.B, spec.output_size)
    keep = 1 - spec.dropout
    masks = None
    if spec.dropout and spec.layers > 1 and case.training:
        masks = tuple(
            _rounded((rng.random(output) < keep) / max(keep, 1e-9), spec.dtype)
            for _ in range(spec.layers - 1)
        )
    upstream = {"output": normal(output)} | {
        name.replace("0", "_n"): normal(shape) for name, shape in shapes.items()
    }
    return Problem(
        case,
        _rounded(x, spec.dtype),
        tuple(_rounded(scale * normal(shape), spec.dtype) for shape in shapes.values()),
        {p.name: _rounded(uniform(-bound, bound, p.shape), spec.dtype) for p in spec.parameters},
        {name: _rounded(value, spec.dtype) for name, value in upstream.items()},
        masks,
    )


def _float64(values: Array) -> NDArray[np.float64]:
    """Exact: posed numbers are representable in the dtype under test, at most float64."""
    return values.astype(np.float64)


class _Call:
    """The tensors of one problem, made afresh so that no run sees another's gradients."""

    def __init__(self, problem: Problem) -> None:
        self.case, spec = problem.case, problem.case.spec
        self.problem = problem
        dtype = getattr(torch, spec.dtype)

        def tensor(values: Array) -> Tensor:
            # a copy: a candidate that writes into its arguments must not change the problem
            return torch.tensor(_float64(values), dtype=dtype, requires_grad=self.case.training)

        self.x = tensor(problem.x)
        self.state = tuple(tensor(part) for part in problem.state)
        self.weights = {name: tensor(values) for name, values in problem.weights.items()}

    def pack(self, x: Tensor) -> PackedSequence:
        order = sorted(range(self.case.B), key=lambda b: -self.case.lengths[b])  # type: ignore[index]
        if order != list(range(self.case.B)):
            raise InputError("lengths of a case must be sorted, longest first")
        return pack_padded_sequence(x, torch.tensor(self.case.lengths))


def _run_backend(name: str, call: _Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    spec, x, batch_sizes = call.case.spec, call.x, None
    masks: list[Tensor] | None = None
    if call.problem.masks is not None:
        masks = [torch.tensor(_float64(mask), dtype=x.dtype) for mask in call.problem.masks]
    if call.case.lengths is not None:
        packed = call.pack(x)
        x, batch_sizes = packed.data, packed.batch_sizes
        masks = masks and [call.pack(mask).data for mask in masks]
    y, final = interface.run(
        name, spec, x, call.state if call.case.initial_state else None,
        tuple(call.weights.values()), batch_sizes=batch_sizes,
        training=call.case.training, masks=masks,
    )  # fmt: skip
    if batch_sizes is not None:
        y, _ = pad_packed_sequence(PackedSequence(y, batch_sizes), total_length=call.case.T)
    return y, final


def _run_module(module: torch.nn.Module, call: _Call) -> tuple[Any, Any]:
    batch_first = bool(getattr(module, "batch_first", False))
    x: Any = call.x.transpose(0, 1) if batch_first else call.x
    if call.case.lengths is not None:
        x = call.pack(call.x)
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
    y, final = candidate(call.x, call.state, call.weights)
    return y, final


def _quantities(candidate: Candidate, problem: Problem) -> dict[str, Any]:
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
        (got[name], torch.tensor(_float64(up), dtype=got[name].dtype))
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


@lru_cache(maxsize=4)
def _oracle_answers(case: Case) -> tuple[Problem, dict[str, Array]]:
    problem = pose(case)
    return problem, problem.expected()


@lru_cache(maxsize=4)
def _reference(case: Case) -> tuple[Problem, dict[str, Array], dict[str, float]]:
    """The problem, the oracle's answers and the errors of torch's own module on it."""
    # without dropout both phases have one forward pass, so the oracle need not run twice
    shared = case if case.spec.dropout else replace(case, phase="training")
    problem, expected = _oracle_answers(shared)
    problem = replace(problem, case=case)
    skipped = () if case.initial_state else ("grad_h0", "grad_c0")
    expected = {
        q: value
        for q, value in expected.items()
        if q not in skipped and (case.training or not q.startswith("grad_"))
    }
    unit = UNIT_ROUNDOFF[case.spec.dtype]
    got = _quantities("native", problem)
    errors = {q: _error(got[q].detach().double().numpy(), v, unit) for q, v in expected.items()}
    return problem, expected, errors


def _worst_of_pass(errors: Mapping[str, float], quantity: str) -> float:
    """The largest of torch's errors in the pass, forward or backward, that gave ``quantity``."""
    backward = quantity.startswith("grad_")
    return max(error for q, error in errors.items() if q.startswith("grad_") == backward)


def _error(got: Array, expected: Array, unit: float) -> float:
    scale = math.sqrt(float(np.sum(expected**2)))
    distance = math.sqrt(float(np.sum((got - expected) ** 2)))
    if scale == 0.0:
        return 0.0 if distance == 0.0 else math.inf
    return distance / scale / unit


def rule(case: Case, quantity: str) -> float:
    """Rule 1 of the budget: 4 · (1 + backward) · ⌈log₂(k·T)⌉, in units of the unit roundoff.

    k is the longest sum of one step: I + H columns into a gate forward; G·H rows back into a state
    and B rows into a weight backward.
    """
    spec = case.spec
    widest = max(spec.layer_input_size(layer) for layer in range(spec.layers))
    backward = quantity.startswith("grad_")
    k = widest + spec.hidden_size
    if backward:
        k = max(k, spec.gates * spec.hidden_size * spec.directions, case.B)
    return 4.0 * (1 + backward) * math.ceil(math.log2(k * case.T))


def _conditioning(problem: Problem, expected: Mapping[str, Array]) -> dict[str, float]:
    """A(q): error of each quantity when every number given is off by one unit roundoff."""
    unit = UNIT_ROUNDOFF[problem.case.spec.dtype]
    rng = np.random.default_rng(problem.case.seed)

    def off(values: Array) -> Array:
        return values * (1 + unit * rng.choice([-1.0, 1.0], values.shape))

    def draw() -> dict[str, Array]:
        return replace(
            problem,
            x=off(problem.x),
            state=tuple(map(off, problem.state)),
            weights={name: off(values) for name, values in problem.weights.items()},
        ).expected()

    draws = [draw() for _ in range(CONDITIONING_DRAWS)]
    return {q: max(_error(d[q], value, unit) for d in draws) for q, value in expected.items()}


def _defect(got: Any, expected: Array, dtype: str) -> tuple[str, str] | None:
    """Status and detail of a quantity that has no error to speak of, else None."""
    if got is None:
        return "missing", "no value, or no gradient reached it"
    if not isinstance(got, Tensor):
        return "dtype", f"a {type(got).__name__} instead of a torch.Tensor"
    if tuple(got.shape) != expected.shape:
        return "shape", f"{tuple(got.shape)} instead of {expected.shape}"
    if got.dtype != getattr(torch, dtype):
        return "dtype", f"{got.dtype} instead of {dtype}"
    for status, found in (("nan", torch.isnan(got)), ("inf", torch.isinf(got))):
        if found.any():
            first = tuple(int(i) for i in found.nonzero()[0])
            return status, f"{int(found.sum())} of {got.numel()} elements, first at {first}"
    return None


def _ulps(got: Array, expected: Array, dtype: str) -> tuple[float, float]:
    """Median and 99th percentile of |got − oracle| in units of the oracle's last place."""
    unit = UNIT_ROUNDOFF[dtype]
    spacing = 2 * unit * np.exp2(np.floor(np.log2(np.maximum(np.abs(expected), 1e-300))))
    ulps = np.abs(got - expected) / spacing
    median, p99 = np.percentile(ulps.astype(float), [50, 99]) if ulps.size else (0.0, 0.0)
    return float(median), float(p99)


def _compare(name: str, candidate: Candidate, case: Case) -> list[Row]:
    """One row per quantity of the oracle."""
    problem, expected, torch_errors = _reference(case)
    spec = case.spec
    try:
        got = _quantities(candidate, problem)
    except Exception as raised:  # noqa: BLE001 (whatever a candidate raises is its result)
        detail = f"{type(raised).__name__}: {raised}"
        return [Row(name, case.name, "output", "raised", detail=detail)]
    rows = []
    for quantity, value in expected.items():
        worst = _worst_of_pass(torch_errors, quantity)
        budget = min(rule(case, quantity), max(FLOOR, 2 * worst))
        row = Row(name, case.name, quantity, "ok", math.nan, budget, torch_errors[quantity])
        defect = _defect(got.get(quantity), value, spec.dtype)
        if defect is not None:
            rows.append(replace(row, status=defect[0], detail=defect[1]))
            continue
        numbers = got[quantity].detach().double().numpy()
        error = _error(numbers, value, UNIT_ROUNDOFF[spec.dtype])
        median, p99 = _ulps(numbers, value, spec.dtype)
        status = "ok" if error <= budget else "over budget"
        rows.append(replace(row, status=status, error=error, ulp_median=median, ulp_p99=p99))
    if any(row.status == "over budget" for row in rows):
        conditioning = _conditioning(problem, expected)
        rows = [_rejudged(row, rule(case, row.quantity), conditioning) for row in rows]
    return rows


def _rejudged(row: Row, limit: float, conditioning: Mapping[str, float]) -> Row:
    """A row over budget in the light of how well its quantity is conditioned."""
    if row.status != "over budget":
        return row
    A = conditioning[row.quantity]
    detail = f"one eps in all that is given makes {A:.3g} eps here"
    budget = min(limit, max(row.budget, FLOOR * A))
    if row.error <= budget:
        return replace(row, status="ok", budget=budget, detail=detail)
    if A > FLOOR and row.error <= 2 * FLOOR * A:
        return replace(row, status="chaotic", budget=budget, detail=detail)
    return row


def _spec_of(candidate: torch.nn.Module) -> Spec:
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


def default_cases(spec: Spec) -> list[Case]:
    """Short and long, one sequence and several, with and without initial state, both phases."""
    return [
        Case(spec, T, B, phase, initial_state=initial)
        for T, B, initial in ((1, 1, True), (2, 5, True), (17, 5, True), (17, 1, False))
        for phase in ("inference", "training")
    ]


def check(
    candidate: Candidate,
    cases: Iterable[Case] | None = None,
    *,
    spec: Spec | None = None,
    progress: Callable[[Case], None] = lambda case: None,
) -> Parity:
    """Compare a candidate with the float64 oracle: outputs, states and every gradient.

    candidate  a backend's name; a module called as ``module(x, hx)`` whose parameters have torch's
               names (its own values are not used: weights are drawn for each case and handed in
               by ``torch.func.functional_call``); or a function ``f(x, state, weights)`` returning
               (output, final state), with x (T, B, I), state (h0,) or (h0, c0), weights a dict by
               torch's names. Gradients are asked for through autograd.
    cases      what to check; by default `default_cases` of the spec
    spec       the network; needed for a function, or a module without torch's attributes
    progress   called before each case

    Returns a `Parity`, which prints as a table and has ``.passed`` and ``.to_frame()``. A case that
    a backend does not support is a row with that status and counts for nothing. Raises InputError
    if the candidate or what it must do is not known.
    """
    if isinstance(candidate, str):
        interface.get_backend(candidate)
        name = candidate
    elif callable(candidate):
        name = getattr(candidate, "__name__", type(candidate).__name__)
    else:
        raise InputError(
            "candidate must be a backend's name, a module or a function; "
            f"got {type(candidate).__name__}"
        )
    if cases is None:
        if spec is None:
            if not isinstance(candidate, torch.nn.Module):
                raise InputError(f"spec or cases must be given to check {name!r}; got neither")
            spec = _spec_of(candidate)
        cases = default_cases(spec)
    result = Parity()
    for case in cases:
        progress(case)
        reason = _unsupported(candidate, case)
        if reason is not None:
            result.rows.append(Row(name, case.name, "output", "unsupported", detail=reason))
        else:
            result.rows += _compare(name, candidate, case)
    return result


def _unsupported(candidate: Candidate, case: Case) -> str | None:
    if not isinstance(candidate, str):
        return None
    conditions = interface.Conditions(
        phase=case.phase,
        packed=case.lengths is not None,
        masks_given=bool(case.spec.dropout) and case.training and case.spec.layers > 1,
    )
    return interface.get_backend(candidate).supports(case.spec, conditions)
