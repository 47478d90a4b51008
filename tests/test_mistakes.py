"""The catalogue: right with nothing planted, red and well described with any one mistake."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnbench
from rnnbench import Case, Spec, check
from rnnbench.mistakes import CATALOGUE, answers, applicable, candidate, variant
from rnnbench.parity.oracle import oracle
from rnnbench.parity.problem import pose
from rnnbench.spec import CELLS

DTYPES = ("float32", "float64")
ROUNDS = ("float16_accumulation", "float16_preactivation")
SMALL = ("gradient_clipped", *ROUNDS)


def cases_of(cell: str, dtype: str) -> list[Case]:
    """A few small cases between which every mistake has its place."""
    H = 4
    flat = Spec(cell, 3, H, dtype=dtype)
    stacked = Spec(cell, 3, H, 3, 2, dtype=dtype)
    square = Spec(cell, H, H, 2, dtype=dtype)
    dropped = replace(stacked, layers=2, dropout=0.3)
    cases = [
        Case(flat, 6, 3),
        Case(flat, 4, 3, initial_state=False),
        Case(stacked, 5, 3),
        Case(square, 4, 3),
        Case(replace(square, input_size=2 * H, directions=2), 4, 2),
        Case(replace(stacked, layers=2), 6, 3, lengths=(6, 4, 3)),
        Case(dropped, 5, 3),
    ]
    if cell == "lstm":
        cases.append(Case(replace(flat, proj_size=2, directions=2), 4, 2))
    return cases


ALL_CASES = [case for cell in CELLS for dtype in DTYPES for case in cases_of(cell, dtype)]
UNSORTED = [Case(Spec(cell, 3, 4, 2, 2), 6, 4, lengths=(4, 6, 2, 5)) for cell in CELLS]


@cache
def right(case: Case):
    return pose(case), pose(case).expected()


def planted(case: Case, *mistakes: str):
    """Every quantity in float64 with mistakes planted."""
    problem, _ = right(case)
    return answers(
        case.spec, problem.x, problem.state, problem.weights, mistakes=mistakes,
        upstream=problem.upstream, lengths=case.lengths, masks=problem.masks,
    )  # fmt: skip


def departures(case: Case, *mistakes: str, tolerance: float = 1e-12) -> set[str]:
    """Quantities in which planted mistakes depart from the oracle."""
    found = planted(case, *mistakes)

    def departs(name: str, value: np.ndarray) -> bool:
        got = found[name]
        if got is None or got.shape != value.shape:
            return True
        return float(np.linalg.norm(got - value)) > tolerance * float(np.linalg.norm(value))

    return {name for name, value in right(case)[1].items() if departs(name, value)}


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda c: c.name)
def test_no_mistake_no_failure(case):
    for one in (case, replace(case, phase="inference")):
        result = check(candidate(one.spec), [one])
        assert result.passed, result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("L", "D", "bias"), list(itertools.product((1, 3), (1, 2), (True, False))))
def test_no_mistake_no_failure_over_the_grid(cell, dtype, L, D, bias):
    spec = Spec(cell, 7, 16, L, D, bias, dtype)
    cases = [Case(spec, 17, 5), Case(spec, 1, 1), Case(spec, 9, 3, initial_state=False)]
    assert check(candidate(spec), cases).passed


@pytest.mark.parametrize("case", UNSORTED, ids=lambda c: c.name)
def test_no_mistake_in_unsorted_sequences(case):
    assert not departures(case)


def tried() -> list[tuple[Case, str]]:
    """Each mistake in the first and the last case that it applies to, per cell and dtype; a case's
    mistakes follow each other, so that its oracle runs once.
    """
    where: dict[tuple[str, str, str], list[Case]] = {}
    for case in ALL_CASES:
        for mistake in applicable(case):
            where.setdefault((mistake.id, case.spec.cell, case.spec.dtype), []).append(case)
    chosen = {(case, key[0]) for key, cases in where.items() for case in (cases[0], cases[-1])}
    return sorted(chosen, key=lambda one: (ALL_CASES.index(one[0]), one[1]))


@pytest.mark.parametrize(
    ("case", "mistake"),
    tried(),
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_mistake_is_red_in_the_quantities_that_it_claims(case, mistake):
    """In each of them: in at least one layer and direction, where it stands for several."""
    result = check(candidate(case.spec, mistake), [case])
    red = {row.quantity for row in result.failures}
    known = CATALOGUE[mistake]
    assert known.touched(case)
    for claimed, stands_for in known.touched(case).items():
        assert red & set(stands_for), f"{claimed} is not among {sorted(red)}"
    if known.backward_only:
        assert not red & {"output", "h_n", "c_n"}
    else:
        assert red & {"output", "h_n", "c_n"}


@pytest.mark.parametrize("case", UNSORTED, ids=lambda c: c.name)
def test_mistake_in_unsorted_sequences_departs_where_it_claims(case):
    assert "state_not_permuted" in {mistake.id for mistake in applicable(case)}
    for mistake in applicable(case):
        if mistake.id in ROUNDS:
            continue
        red = departures(case, mistake.id)
        for claimed, stands_for in mistake.touched(case).items():
            assert red & set(stands_for), (mistake.id, claimed)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_mistake_departs_where_it_claims_in_any_shape(data):
    """Without relu, whose units may all be dead, and dropout, whose masks may be all ones."""
    draw = data.draw
    cell, H = draw(st.sampled_from(["rnn_tanh", "gru", "lstm"])), draw(st.integers(1, 4))
    proj = draw(st.integers(0, H - 1)) if cell == "lstm" else 0
    spec = Spec(
        cell, draw(st.integers(1, 4)), H, draw(st.integers(1, 3)), draw(st.integers(1, 2)),
        draw(st.booleans()), proj_size=proj,
    )  # fmt: skip
    lengths = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    T = max(lengths)
    packed, initial = draw(st.booleans()), draw(st.booleans())
    case = Case(spec, T, len(lengths), lengths=lengths if packed else None, initial_state=initial)
    assert not departures(case)
    for mistake in applicable(case):
        if mistake.id in SMALL:  # may be small enough
            continue
        red = departures(case, mistake.id)
        for claimed, stands_for in mistake.touched(case).items():
            assert red & set(stands_for), (mistake.id, claimed)
        assert not (mistake.backward_only and red & {"output", "h_n", "c_n"})


def test_every_mistake_is_tried_in_both_dtypes():
    """Else the tests above would pass with a mistake that applies nowhere."""
    for dtype in DTYPES:
        found = {
            mistake.id
            for case in (
                *ALL_CASES,
                *(replace(c, spec=replace(c.spec, dtype=dtype)) for c in UNSORTED),
            )
            for mistake in applicable(case)
            if case.spec.dtype == dtype
        }
        only_float64 = {"float32_inside"} if dtype == "float32" else set()
        assert found == set(CATALOGUE) - only_float64


@pytest.mark.parametrize(
    "case", [*(c for c in ALL_CASES if c.spec.dtype == "float64"), *UNSORTED], ids=lambda c: c.name
)
def test_no_two_mistakes_have_the_same_numbers(case):
    """Else a diagnosis could not tell them apart."""
    found = {mistake.id: planted(case, mistake.id) for mistake in applicable(case)}

    def same(one, other):
        return all(
            (one[q] is None and other[q] is None)
            or (
                one[q] is not None
                and other[q] is not None
                and one[q].shape == other[q].shape
                and np.allclose(one[q], other[q], rtol=1e-11, atol=1e-13)
            )
            for q in one
        )

    twins = [(a, b) for a, b in itertools.combinations(found, 2) if same(found[a], found[b])]
    assert not twins


@pytest.mark.parametrize("cell", CELLS)
def test_mistakes_can_be_planted_in_pairs(cell):
    """Two that are wrong together are wrong in what each touches, and neither raises."""
    case = cases_of(cell, "float64")[2]
    planted(case, "bias_hh_missing", "gradient_accumulated_twice")
    both = departures(case, "transposed_w_hh", "reverse_not_turned_back")
    assert {"output", "h_n"} <= both
    forward = planted(case, "transposed_w_hh")["h_n"]
    np.testing.assert_array_equal(
        planted(case, "transposed_w_hh", "gradient_of_h0_dropped")["h_n"], forward
    )
    assert planted(case, "transposed_w_hh", "gradient_of_h0_dropped")["grad_h0"] is None


def test_jacobians_not_chained_gives_the_numbers_of_the_published_question():
    """Q1: weight_ih_l0's gradient by the attempt's own formula, term by term."""
    problem = pose(Case(Spec("rnn_tanh", 1, 2, dtype="float64"), T=3, B=1))
    W, V = (problem.weights[n].astype(float) for n in ("weight_hh_l0", "weight_ih_l0"))
    b = sum(problem.weights[f"bias_{k}_l0"].astype(float) for k in ("ih", "hh"))
    x, h0 = np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), np.zeros((1, 1, 2))
    s, h = [], np.zeros(2)
    for x_t in x[:, 0, 0]:
        h = np.tanh(V[:, 0] * x_t + W @ h + b)
        s.append(1 - h * h)
    attempt = s[2] * 3 + (s[2] @ W) * s[1] * 2 + (s[2] @ W) * (s[1] @ W) * s[0] * 1
    upstream = {"output": np.zeros((3, 1, 2)), "h_n": np.ones((1, 1, 2))}
    got = answers(
        problem.case.spec, x, (h0,), problem.weights,
        mistakes=["jacobians_not_chained"], upstream=upstream,
    )  # fmt: skip
    np.testing.assert_allclose(got["grad_weight_ih_l0"][:, 0], attempt, rtol=1e-13)
    true = oracle(problem.case.spec, x, (h0,), problem.weights, upstream=upstream)
    assert np.abs(got["grad_weight_ih_l0"] - true["grad_weight_ih_l0"].astype(float)).max() > 1e-3


def test_time_loop_outside_gives_the_numbers_of_the_published_question():
    """Q3: both directions of layer 2 step in the iteration in which layer 1 does."""
    T, B, H = 5, 2, 4
    spec = Spec("rnn_tanh", 3, H, 2, 2, bias=False, dtype="float64")
    problem = pose(Case(spec, T, B))
    w = {name: value.astype(float) for name, value in problem.weights.items()}
    x, h = problem.x.astype(float), problem.state[0].astype(float)
    output = np.zeros((T, B, 2 * H))
    for t in range(T):
        reads = [x[t], x[T - 1 - t]]
        for layer in range(2):
            for d, suffix in enumerate(("", "_reverse")):
                name, k = f"_l{layer}{suffix}", 2 * layer + d
                recurrent = h[k] @ w["weight_hh" + name].T
                h[k] = np.tanh(reads[d] @ w["weight_ih" + name].T + recurrent)
            reads = [np.hstack(h[2 * layer : 2 * layer + 2])] * 2
        output[t, :, :H], output[T - 1 - t, :, H:] = h[2], h[3]
    got = planted(problem.case, "time_loop_outside")
    np.testing.assert_allclose(got["output"], output, rtol=1e-12)
    np.testing.assert_allclose(got["h_n"], h, rtol=1e-12)


def test_every_mistake_says_what_is_wrong():
    assert len(CATALOGUE) >= 28
    for name, mistake in CATALOGUE.items():
        assert name == mistake.id
        assert name.isidentifier()
        assert name.islower()
        assert mistake.sentence.endswith(".")
        assert all((mistake.where, mistake.wrong, mistake.right, mistake.touches, mistake.places))
        assert mistake.wrong != mistake.right
    sentences = [mistake.sentence for mistake in CATALOGUE.values()]
    assert len(set(sentences)) == len(sentences)


def test_unknown_mistake_is_refused_by_name():
    with pytest.raises(rnnbench.InputError, match="nosuch"):
        candidate(Spec("gru", 3, 4), "nosuch")
    with pytest.raises(rnnbench.InputError, match="nosuch"):
        variant(
            Spec("gru", 3, 4),
            torch.zeros(1, 1, 3),
            (torch.zeros(1, 1, 4),),
            {},
            mistakes=["nosuch"],
        )


@pytest.mark.parametrize("case", UNSORTED, ids=lambda case: case.name)
def test_state_not_permuted_is_red_on_unsorted_lengths(case):
    result = check(candidate(case.spec, "state_not_permuted"), [case])
    assert "h_n" in {row.quantity for row in result.failures}
    assert check(candidate(case.spec), [case]).passed
