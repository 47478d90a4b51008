"""Parity: every backend is right, every planted mistake is red and named, nothing else passes."""

from __future__ import annotations

import itertools
import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import sizes, skip_unless_supported, skip_what_jax_compiles, trains

import rnnbench
from rnnbench import Case, Spec, check, mistakes
from rnnbench.parity import check as checking
from rnnbench.parity.budget import FLOOR, rule
from rnnbench.spec import CELLS, PHASES

INPUT, H = 7, 16


def thinned(backend, cases, step):
    """Of jax, which compiles half a second and more for each case, every ``step``-th."""
    full = backend != "jax" or os.environ.get("RNNBENCH_PROFILE") == "full"
    return cases if full else cases[::step]


def grid(cell, dtype, hidden, *, steps=(1, 2, 17), phases=PHASES):
    return [
        Case(Spec(cell, INPUT, hidden, L, D, bias, dtype), T, B, phase)
        for T, L, D, bias, B, phase in itertools.product(
            steps, (1, 3), (1, 2), (True, False), (1, 5), phases
        )
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backend_is_within_budget_over_the_grid(backend, cell, dtype):
    skip_unless_supported(backend, Spec(cell, INPUT, H, dtype=dtype), phase="inference")
    if cell != "lstm" and dtype == "float64":
        skip_what_jax_compiles(backend, "the LSTM shows it")
    phases = PHASES if trains(backend) else ("inference",)
    hidden, _ = sizes(backend, H)
    two = Spec(cell, INPUT, hidden, 2, 2, dtype=dtype)
    cases = [Case(two, 128, 5, phases[-1]), Case(two, 9, 3, phases[-1], initial_state=False)]
    cases = thinned(backend, cases + grid(cell, dtype, hidden, phases=phases), 31)
    result = check(backend, cases)
    assert result.passed, result
    compared = set(result.to_frame().quantity)
    assert "unsupported" not in set(result.to_frame().status)
    assert {"output", "h_n"} <= compared
    assert ("c_n" in compared) == (cell == "lstm")
    if trains(backend):
        expected = {p.name for case in cases for p in case.spec.parameters}
        assert {f"grad_{name}" for name in expected} | {"grad_x", "grad_h0"} <= compared
        assert ("grad_c0" in compared) == (cell == "lstm")


@pytest.mark.parametrize("phase", ["inference", "training"])
def test_packed_sequences_and_given_dropout_masks_are_within_budget(backend, cell, phase):
    if cell == "rnn_relu" or phase == "inference":
        skip_what_jax_compiles(backend, "the other cells show it, in training")
    spec = Spec(cell, INPUT, sizes(backend, H)[0], layers=3, directions=2, dropout=0.4)
    masked = phase == "training"
    skip_unless_supported(backend, spec, packed=True, masks_given=masked, phase=phase)
    lengths = thinned(backend, [(9, 9, 4, 1), (6,), (5, 5, 5)], 3)
    cases = [Case(spec, n[0], len(n), phase, lengths=n) for n in lengths]
    result = check(backend, [*cases, Case(spec, 9, 4, phase)])
    assert result.passed, result


def test_projected_lstm_is_within_budget(backend):
    skip_what_jax_compiles(backend, "the contract's table shows it")
    hidden, projection = sizes(backend, H, 5)
    spec = Spec("lstm", INPUT, hidden, layers=2, directions=2, proj_size=projection)
    skip_unless_supported(backend, spec)
    cases = [Case(spec, 9, 3, phase) for phase in ("inference", "training")]
    result = check(backend, [*cases, Case(spec, 7, 2, lengths=(7, 3))])
    assert result.passed, result


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape_is_within_budget(backend, data):
    skip_what_jax_compiles(backend, "each example is another shape to compile")
    draw = data.draw
    cell = draw(st.sampled_from(CELLS))
    hidden, _ = sizes(backend, draw(st.integers(2, 20)))
    spec = Spec(
        cell, draw(st.integers(1, 9)), hidden, draw(st.integers(1, 3)), draw(st.integers(1, 2)),
        draw(st.booleans()),
    )  # fmt: skip
    B = draw(st.integers(1, 5))
    lengths = sorted(draw(st.lists(st.integers(1, 20), min_size=B, max_size=B)), reverse=True)
    packed = draw(st.booleans())
    phase = "training" if trains(backend) else "inference"
    case = Case(spec, lengths[0], B, phase, lengths=tuple(lengths) if packed else None)
    result = check(backend, [case])
    assert result.passed, result


MISTAKES = {
    "transposed_w_hh": (CELLS, "output"),
    "bias_hh_missing": (CELLS, "output"),
    "gru_gates_zrn": (("gru",), "output"),
    "lstm_gates_figo": (("lstm",), "output"),
    "reverse_not_turned_back": (CELLS, "output"),
    "gradient_of_h0_dropped": (CELLS, "grad_h0"),
}


@pytest.mark.parametrize(
    ("mistake", "cell"), [(name, cell) for name, (cells, _) in MISTAKES.items() for cell in cells]
)
def test_planted_mistake_is_red_and_names_quantity_and_case(mistake, cell):
    spec = Spec(cell, 3, 4, layers=2, directions=2)
    case = Case(spec, T=6, B=3)
    result = check(mistakes.candidate(spec, mistake), [case])
    assert not result.passed
    red = {row.quantity for row in result.failures}
    assert MISTAKES[mistake][1] in red
    assert all(row.case == case.name for row in result.failures)
    assert case.name in str(result)
    if mistake == "gradient_of_h0_dropped":
        assert red == {"grad_h0"}
        assert result.failures[0].status == "missing"


def test_function_without_lengths_is_not_asked_about_packed_sequences():
    result = check(right, [Case(CASE.spec, 5, 2, lengths=(5, 3))])
    assert not result.passed
    assert "takes no argument lengths" in str(result)


def test_lengths_of_a_case_may_come_in_any_order(backend):
    spec = Spec("lstm", INPUT, sizes(backend, H)[0], layers=2, directions=2)
    phase = "training" if trains(backend) else "inference"
    skip_unless_supported(backend, spec, packed=True, phase=phase)
    assert check(backend, [Case(spec, 6, 4, phase, lengths=(4, 6, 4, 5))]).passed


def right(x, state, weights):
    return rnnbench.run("manual", Spec("gru", 3, 4), x, state, tuple(weights.values()))


CASE = Case(Spec("gru", 3, 4), T=5, B=2)


def changed(change):
    """A candidate that is right but for its output."""

    def candidate(x, state, weights):
        y, final = right(x, state, weights)
        return change(y), final

    return candidate


def poisoned(value):
    def change(y):
        y = y.clone()
        y[2, 1, 0] = value
        return y

    return change


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        (poisoned(math.nan), "nan", "1 of 40 elements, first at (2, 1, 0)"),
        (poisoned(math.inf), "inf", "first at (2, 1, 0)"),
        (lambda y: y[:-1], "shape", "(4, 2, 4) instead of (5, 2, 4)"),
        (lambda y: y.double(), "dtype", "torch.float64 instead of float32"),
        (lambda y: y.detach().numpy(), "dtype", "ndarray"),
        (lambda y: y * (1 + 2**-20), "over budget", ""),
    ],
)
def test_output_that_is_no_answer_fails_by_name(change, status, detail):
    result = check(changed(change), [CASE])
    row = next(row for row in result.failures if row.quantity == "output")
    assert (row.status, detail in row.detail) == (status, True)


def test_right_candidate_passes():
    """The other tests here would prove nothing if this one failed."""
    assert check(right, [CASE]).passed


def test_candidate_that_raises_is_a_failure_with_its_sentence():
    def broken(x, state, weights):
        raise RuntimeError("no such kernel")

    result = check(broken, [CASE])
    assert not result.passed
    assert result.failures[0].status == "raised"
    assert "RuntimeError: no such kernel" in str(result)


def test_candidate_that_writes_into_its_arguments_does_not_change_the_problem():
    def vandal(x, state, weights):
        with torch.no_grad():
            x.zero_()
        return right(x, state, weights)

    inference = Case(CASE.spec, 5, 2, "inference")
    assert not check(vandal, [inference]).passed
    assert check(right, [inference]).passed


def test_module_with_torchs_attributes_is_checked_by_itself():
    assert check(torch.nn.GRU(3, 4, 2, bidirectional=True, batch_first=True)).passed


class Swapped(torch.nn.LSTM):
    """An LSTM that swaps h_n and c_n: right in shape, wrong in content."""

    def forward(self, x, hx=None):
        y, (h, c) = super().forward(x, hx)
        return y, (c, h)


def test_module_with_swapped_states_is_red():
    red = {row.quantity for row in check(Swapped(3, 4)).failures}
    assert {"h_n", "c_n"} <= red
    assert "output" not in red


def test_nothing_to_measure_does_not_pass():
    assert not check("manual", []).passed
    assert str(check("manual", [])) == "nothing was checked"


@pytest.fixture
def expansive(monkeypatch):
    """Problems whose W_hh is scaled by 4: after some steps float32 carries few digits or none."""
    pose = checking.pose

    def scaled(case):
        problem = pose(case)
        for name in problem.weights:
            if "weight_hh" in name:
                problem.weights[name][:] *= 4
        return problem

    caches = (checking._reference, checking._oracle_answers)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(checking, "pose", scaled)
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("T", [32, 64, 128])
def test_expansive_weights_are_chaotic_and_not_gated_in_torch_neither(expansive, T):
    for name in ("manual", "native"):
        result = check(name, [Case(Spec("rnn_tanh", 3, 32), T, B=2)])
        statuses = set(result.to_frame().status)
        assert "chaotic" in statuses, result
        assert statuses <= {"chaotic", "ok"}, result


def test_mistake_in_expansive_weights_is_still_red(expansive):
    spec = Spec("rnn_tanh", 3, 32)
    assert not check(mistakes.candidate(spec, "transposed_w_hh"), [Case(spec, 8, 2)]).passed


def test_budget_is_the_rule_capped_by_torch():
    case = Case(Spec("lstm", 4, 8), T=16, B=2)
    assert rule(case, "output") == 4 * math.ceil(math.log2(12 * 16))
    assert rule(case, "grad_x") == 8 * math.ceil(math.log2(32 * 16))
    frame = check("manual", [case]).to_frame()
    backward = frame.quantity.str.startswith("grad_")
    for rows in (frame[backward], frame[~backward]):
        cap = max(FLOOR, 2 * rows.torch_error.max())
        assert list(rows.budget) == [min(rule(case, q), cap) for q in rows.quantity]


def test_truth_value_of_a_result_is_refused():
    with pytest.raises(TypeError, match=r"\.passed"):
        bool(check("manual", []))


class Wrapped(torch.nn.Module):
    """Has what describes a GRU, but its parameters' names have a prefix."""

    def __init__(self, *sizes):
        super().__init__()
        self.cell = torch.nn.GRU(*sizes)
        for name in ("mode", "dropout", "input_size", "hidden_size", "num_layers", "bias"):
            setattr(self, name, getattr(self.cell, name))
        self.bidirectional = False


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("nosuch", "backend must be one of 'manual', 'numba', 'native', 'compile'"),
        (right, "spec or cases must be given to check 'right'"),
        (torch.nn.Linear(2, 2), "or come with spec=Spec"),
        (Wrapped(3, 4), "must name its parameters as torch.nn does; weight_ih_l0"),
        (42, "candidate must be a backend's name, a module or a function; got int"),
        (torch.nn.GRU(3, 4, 2, dropout=0.5), "eval mode or have dropout=0"),
    ],
)
def test_candidate_that_cannot_be_checked_is_refused_with_one_sentence(candidate, message):
    with pytest.raises(rnnbench.InputError, match=message):
        check(candidate)
