"""`diagnose` on every mistake of the catalogue: the cause by its name, the place in its pass."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

import rnnbench
from rnnbench import Spec
from rnnbench.diagnosis.candidates import adapters_for
from rnnbench.diagnosis.trials import cases_for
from rnnbench.mistakes import CATALOGUE, candidate
from rnnbench.spec import CELLS

FULL = os.environ.get("RNNBENCH_PROFILE") == "full"
H = 4
FORWARD = ("output", "h_n", "c_n")


def shapes(cell: str, dtype: str) -> list[Spec]:
    """Networks between which every mistake has its place."""
    flat, stacked = Spec(cell, 3, H, dtype=dtype), Spec(cell, 3, H, 3, 2, dtype=dtype)
    square = Spec(cell, H, H, 2, dtype=dtype)
    found = [
        flat, stacked, square, replace(square, input_size=2 * H, directions=2),
        replace(stacked, layers=2, dropout=0.3), replace(flat, bias=False, directions=2),
    ]  # fmt: skip
    if cell == "lstm":
        found.append(replace(flat, proj_size=2, directions=2))
    return found


def applies(mistake, spec: Spec) -> bool:
    """Whether the mistake changes the numbers of a problem that `diagnose` would put."""
    stranger = adapters_for(candidate(spec), spec, None, None, {}, None)[0]
    return any(mistake.applies(case) for case in cases_for(stranger))


def tried() -> list[tuple[str, Spec]]:
    """Every mistake on one cell and shape, another for each; in full on all of them, the dtype
    changing from one to the next.
    """
    chosen = []
    for n, mistake in enumerate(CATALOGUE.values()):
        cells = (*CELLS[n % 4 :], *CELLS[: n % 4])
        specs = [spec for cell in cells for spec in shapes(cell, "float32")]
        for k, spec in enumerate(specs):
            dtypes = ("float32", "float64") if (n + k) % 2 else ("float64", "float32")
            own = [
                replace(spec, dtype=d) for d in dtypes if applies(mistake, replace(spec, dtype=d))
            ]
            chosen += [(mistake.id, one) for one in own[:1]]
            if own and not FULL:
                break
    return chosen


@pytest.mark.parametrize(("mistake", "spec"), tried(), ids=lambda v: getattr(v, "name", v))
def test_every_mistake_is_named(mistake, spec):
    found = rnnbench.diagnose(candidate(spec, mistake), spec=spec)
    assert not found.passed
    assert found.cause == mistake, found
    assert not found.same_numbers
    place = found.first_divergence
    assert place.backward == CATALOGUE[mistake].backward_only
    assert [e.wrong for e in found.explanations] == [CATALOGUE[mistake].wrong]
    if place.layer is not None:
        assert 0 <= place.layer < spec.layers
        assert 0 <= place.direction < spec.directions
    assert mistake in str(found)


def test_every_mistake_is_tried():
    needs_no_state = {"time_loop_over_batch"}  # in the programs: a function takes a state
    assert {mistake for mistake, _ in tried()} == set(CATALOGUE) - needs_no_state


PAIRS = [
    ("bias_hh_missing", "h0_ignored"),
    ("transposed_w_hh", "reverse_not_turned_back"),
    ("time_loop_outside", "gradient_of_h0_dropped"),
    ("weight_gradient_overwritten", "gradient_of_final_state_ignored"),
]


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
@pytest.mark.parametrize("cell", CELLS if FULL else ("gru",))
def test_pairs_are_named(cell, pair):
    spec = Spec(cell, 3, H, 2, 2)
    found = rnnbench.diagnose(candidate(spec, *pair), spec=spec)
    assert set(found.cause.split("+")) == set(pair)
    assert len(found.explanations) == 2


class _Slanted(torch.autograd.Function):
    """The identity, its gradient one per cent too large: in no catalogue."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * 1.01


def test_what_no_mistake_explains_has_a_place_and_no_cause():
    spec = Spec("rnn_tanh", 3, H)
    right = candidate(spec)

    def forward(x, state, weights):
        return right(x * 1.001, state, weights)

    def backward(x, state, weights):
        slanted = {n: _Slanted.apply(w) if "hh" in n else w for n, w in weights.items()}
        return right(x, state, slanted)

    for wrong, quantity in ((forward, "output"), (backward, "grad_weight_hh_l0")):
        found = rnnbench.diagnose(wrong, spec=spec)
        assert (found.passed, found.cause, found.explanations) == (False, None, [])
        assert found.first_divergence.quantity == quantity
        assert "none of the known mistakes" in str(found)


@pytest.mark.parametrize(
    ("cell", "mistake", "expected"),
    [
        # quantity, layer, direction, time step, gate, length that shows it
        ("gru", "gru_update_inverted", ("h_n", 0, 0, 0, "z", 1)),
        ("gru", "gru_reset_gate_unused", ("h_n", 0, 0, 0, "r", 1)),
        ("lstm", "forget_bias_one", ("h_n", 0, 0, 0, "f", 1)),
        ("lstm", "lstm_gates_coupled", ("h_n", 0, 0, 0, "i", 1)),
        ("lstm", "cell_state_not_carried", ("h_n", 0, 0, 1, None, 2)),
        ("rnn_tanh", "state_not_carried", ("h_n", 0, 0, 1, None, 2)),
        ("rnn_tanh", "reverse_not_turned_back", ("output", 1, 1, 0, None, 2)),
        ("rnn_tanh", "directions_swapped", ("output", 1, 0, 0, None, 1)),
        ("rnn_tanh", "jacobians_not_chained", ("grad_weight_ih_l1", 1, 0, 2, None, 3)),
        ("rnn_relu", "state_detached_each_step", ("grad_weight_ih_l1", 1, 0, 3, None, 2)),
        ("lstm", "gradient_of_h0_dropped", ("grad_h0", 1, 1, 4, None, 1)),
    ],
)
def test_the_place_is_where_the_mistake_was_planted(cell, mistake, expected):
    """Two layers, two directions: the lowest layer forward, the highest backward."""
    spec = Spec(cell, 3, H, 2, 2)
    place = rnnbench.diagnose(candidate(spec, mistake), spec=spec).first_divergence
    found = (place.quantity, place.layer, place.direction, place.time_step, place.gate, place.steps)
    assert found == expected
    assert place.error > 100 * place.budget


@pytest.mark.parametrize("n", range(1, 5))
def test_a_step_gone_wrong_alone_is_found_at_its_time(n):
    """A departure from step n on, in the second layer of one direction."""
    spec = Spec("gru", 3, H, 2)
    right = candidate(spec)

    def wrong(x, state, weights):
        y, final = right(x, state, weights)
        if len(x) <= n:
            return y, final
        late = torch.cat([y[:n], y[n:] * 1.01])
        return late, (torch.cat([final[0][:1], late[-1:]]),)

    place = rnnbench.diagnose(wrong, spec=spec).first_divergence
    assert (place.quantity, place.layer, place.time_step) == ("output", 1, n)
