"""Is it right: outputs, states and every gradient against the oracle, within a budget.

The budget is derived in `rnnbench.parity.budget`; what can be a candidate is in
`rnnbench.parity.candidate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnbench import interface
from rnnbench.errors import InputError
from rnnbench.parity.budget import FLOOR, conditioning_of, relative_error, rule, ulps, worst_of_pass
from rnnbench.parity.candidate import Candidate, answers, check_names, spec_of_module, unsupported
from rnnbench.parity.oracle import Array
from rnnbench.parity.problem import Problem, pose
from rnnbench.spec import UNIT_ROUNDOFF, Case, Spec

if TYPE_CHECKING:
    import pandas as pd

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
        """Return whether something was measured and nothing of it is red."""
        return self.measured and not any(row.failed for row in self.rows)

    @property
    def measured(self) -> bool:
        """Return whether any quantity was gated at all: unsupported and chaotic ones are not."""
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
    expected = asked(case, expected)
    return problem, expected, torch_errors(problem, expected)


def asked(case: Case, expected: Mapping[str, Array]) -> dict[str, Array]:
    """Those of the oracle's answers that a candidate can be asked for in this case."""
    skipped = () if case.initial_state else ("grad_h0", "grad_c0")
    return {
        q: value
        for q, value in expected.items()
        if q not in skipped and (case.training or not q.startswith("grad_"))
    }


def torch_errors(problem: Problem, expected: Mapping[str, Array]) -> dict[str, float]:
    """Error of torch's own module in each of the expected quantities."""
    unit = UNIT_ROUNDOFF[problem.case.spec.dtype]
    got = answers("native", problem)
    return {
        q: relative_error(got[q].detach().double().numpy(), v, unit) for q, v in expected.items()
    }


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


def _compare(name: str, candidate: Candidate, case: Case) -> list[Row]:
    """One row per quantity of the oracle."""
    problem, expected, errors = _reference(case)
    try:
        got = answers(candidate, problem)
    except Exception as raised:  # noqa: BLE001 (whatever a candidate raises is its result)
        detail = f"{type(raised).__name__}: {raised}"
        return [Row(name, case.name, "output", "raised", detail=detail)]
    return judge(name, problem, expected, errors, got)


def judge(
    name: str,
    problem: Problem,
    expected: Mapping[str, Array],
    errors: Mapping[str, float],
    got: Mapping[str, Any],
    gross: float = math.inf,
) -> list[Row]:
    """One row per expected quantity of a problem, from what a candidate answered.

    errors: of torch's own module, by quantity (`torch_errors`), which bound the budget.
    gross: share of the budget beyond which conditioning, which is costly to measure, is no excuse.
    """
    case, spec = problem.case, problem.case.spec
    rows = []
    for quantity, value in expected.items():
        budget = min(rule(case, quantity), max(FLOOR, 2 * worst_of_pass(errors, quantity)))
        row = Row(name, case.name, quantity, "ok", math.nan, budget, errors[quantity])
        defect = _defect(got.get(quantity), value, spec.dtype)
        if defect is not None:
            rows.append(replace(row, status=defect[0], detail=defect[1]))
            continue
        numbers = got[quantity].detach().double().numpy()
        error = relative_error(numbers, value, UNIT_ROUNDOFF[spec.dtype])
        median, p99 = ulps(numbers, value, spec.dtype)
        status = "ok" if error <= budget else "over budget"
        rows.append(replace(row, status=status, error=error, ulp_median=median, ulp_p99=p99))
    if any(row.status == "over budget" and row.share <= gross for row in rows):
        conditioning = conditioning_of(problem, expected)
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
            spec = spec_of_module(candidate)
        cases = default_cases(spec)
    cases = list(cases)
    for case in cases:
        if not isinstance(case, Case):
            raise InputError(f"cases must be rnnbench.Case objects; got {type(case).__name__}")
        if isinstance(candidate, torch.nn.Module):
            check_names(candidate, case.spec)
    result = Parity()
    for case in cases:
        progress(case)
        reason = unsupported(candidate, case)
        if reason is not None:
            result.rows.append(Row(name, case.name, "output", "unsupported", detail=reason))
        else:
            result.rows += _compare(name, candidate, case)
    return result
