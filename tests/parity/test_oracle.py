"""The oracle is proved three ways: torch.nn in float64, finite differences, and algebra."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnbench.parity.oracle import oracle
from rnnbench.parity.problem import pose
from rnnbench.spec import CELLS, Case, Spec

SPECS = [
    Spec(cell, 3, 4, layers, directions, bias, "float64", proj_size=proj)
    for cell, layers, directions, bias in itertools.product(CELLS, (1, 3), (1, 2), (True, False))
    for proj in ((0, 2) if cell == "lstm" else (0,))
]


def answers(problem, **changes):
    """The oracle on a problem, with some of its arguments replaced."""
    arguments = {
        "x": problem.x,
        "state": problem.state,
        "weights": problem.weights,
        "upstream": problem.upstream,
        "lengths": problem.case.lengths,
        "masks": problem.masks,
    } | changes
    x, state, weights = (arguments.pop(name) for name in ("x", "state", "weights"))
    return oracle(problem.case.spec, x, state, weights, **arguments)


def torch_answers(problem):
    """The same quantities from torch.nn and autograd, in float64."""
    spec = problem.case.spec
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}.get(spec.cell, torch.nn.RNN)
    extra = {"nonlinearity": spec.cell.removeprefix("rnn_")} if "rnn" in spec.cell else {}
    extra |= {"proj_size": spec.proj_size} if spec.proj_size else {}
    module = kind(
        spec.input_size, spec.hidden_size, spec.layers, bias=spec.bias,
        bidirectional=spec.directions == 2, dtype=torch.float64, **extra,
    )  # fmt: skip

    def tensor(a):
        return torch.tensor(a.astype(float), requires_grad=True)

    with torch.no_grad():
        for name, value in problem.weights.items():
            getattr(module, name).copy_(tensor(value))
    x, state = tensor(problem.x), tuple(tensor(part) for part in problem.state)
    y, final = module(x, state if len(state) > 1 else state[0])
    final = final if isinstance(final, tuple) else (final,)
    values = dict(zip(("output", "h_n", "c_n"), (y, *final), strict=False))
    loss = sum((values[n] * tensor(up)).sum() for n, up in problem.upstream.items())
    sources = {"grad_x": x} | dict(zip(("grad_h0", "grad_c0"), state, strict=False))
    sources |= {f"grad_{p.name}": getattr(module, p.name) for p in spec.parameters}
    gradients = torch.autograd.grad(loss, list(sources.values()))
    return values | dict(zip(sources, gradients, strict=True))


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_agrees_with_torch_in_float64(spec):
    problem = pose(Case(spec, T=6, B=3))
    expected = answers(problem)
    theirs = torch_answers(problem)
    assert set(theirs) == set(expected)
    for name, value in expected.items():
        got = theirs[name].detach().numpy()
        assert np.linalg.norm(got - value.astype(float)) <= 1e-14 * np.linalg.norm(got), name


@pytest.mark.parametrize("spec", SPECS[::3], ids=lambda s: s.name)
@pytest.mark.parametrize("lengths", [None, (5, 3)], ids=["dense", "packed"])
def test_gradients_agree_with_finite_differences(spec, lengths):
    """Along a random direction of every argument at once, in 80-bit arithmetic."""
    problem = pose(Case(replace(spec, dropout=0.5), T=5, B=2, lengths=lengths))
    rng = np.random.default_rng(0)
    gradients = answers(problem)
    step = {"x": rng.standard_normal(problem.x.shape)}
    step |= {
        n: rng.standard_normal(s.shape) for n, s in zip(("h0", "c0"), problem.state, strict=False)
    }
    step |= {n: rng.standard_normal(w.shape) for n, w in problem.weights.items()}

    def loss(h):
        moved = answers(
            problem,
            x=problem.x + h * step["x"],
            state=[s + h * step[n] for n, s in zip(("h0", "c0"), problem.state, strict=False)],
            weights={n: w + h * step[n] for n, w in problem.weights.items()},
            upstream=None,
        )
        return sum((moved[n] * up).sum() for n, up in problem.upstream.items())

    h = np.longdouble(1e-6)
    slope = (loss(h) - loss(-h)) / (2 * h)
    predicted = sum((gradients[f"grad_{n}"] * v).sum() for n, v in step.items())
    assert abs(slope - predicted) <= 1e-8 * max(1.0, abs(predicted))


@pytest.mark.parametrize("spec", SPECS[1::3], ids=lambda s: s.name)
def test_permuting_the_batch_permutes_the_answers(spec):
    problem = pose(Case(spec, T=4, B=3))
    order = [2, 0, 1]
    plain = answers(problem)
    permuted = answers(
        problem,
        x=problem.x[:, order],
        state=[part[:, order] for part in problem.state],
        upstream={n: up[:, order] for n, up in problem.upstream.items()},
    )
    for name, value in plain.items():
        batched = not name.startswith(("grad_w", "grad_b"))
        np.testing.assert_allclose(
            permuted[name], value[:, order] if batched else value, rtol=1e-12, atol=1e-14
        )


def test_the_reverse_direction_is_the_forward_one_on_reversed_time(cell):
    both = pose(Case(Spec(cell, 3, 4, directions=2, dtype="float64"), T=5, B=2))
    found = answers(both, upstream=None)
    one = Spec(cell, 3, 4, dtype="float64")
    reverse = oracle(
        one,
        both.x[::-1],
        [part[1:] for part in both.state],
        {p.name: both.weights[p.name + "_reverse"] for p in one.parameters},
    )
    np.testing.assert_allclose(found["output"][..., 4:], reverse["output"][::-1], rtol=1e-15)
    np.testing.assert_allclose(found["h_n"][1:], reverse["h_n"], rtol=1e-15)


def test_splitting_time_in_two_with_the_state_carried_over_changes_nothing(cell):
    spec = Spec(cell, 3, 4, layers=2, dtype="float64")
    problem = pose(Case(spec, T=7, B=2))
    whole = answers(problem)
    up = problem.upstream
    middle = answers(problem, x=problem.x[:3], upstream=None)
    carried = [middle["h_n"]] + ([middle["c_n"]] if spec.has_cell_state else [])
    second = answers(
        problem, x=problem.x[3:], state=carried, upstream=up | {"output": up["output"][3:]}
    )
    back = {"output": up["output"][:3], "h_n": second["grad_h0"]}
    back |= {"c_n": second["grad_c0"]} if spec.has_cell_state else {}
    first = answers(problem, x=problem.x[:3], upstream=back)
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(
        np.concatenate([first["output"], second["output"]]), whole["output"], **close
    )
    np.testing.assert_allclose(first["grad_h0"], whole["grad_h0"], **close)
    for p in spec.parameters:
        name = f"grad_{p.name}"
        np.testing.assert_allclose(first[name] + second[name], whole[name], **close)


def test_packed_sequences_are_the_sequences_one_at_a_time():
    spec = Spec("gru", 3, 4, layers=2, directions=2, dtype="float64")
    problem = pose(Case(spec, T=5, B=2, lengths=(5, 2)))
    found = answers(problem, upstream=None)
    short = oracle(spec, problem.x[:2, 1:], [s[:, 1:] for s in problem.state], problem.weights)
    np.testing.assert_array_equal(found["output"][:2, 1:], short["output"])
    np.testing.assert_array_equal(found["h_n"][:, 1:], short["h_n"])
    assert not found["output"][2:, 1].any()
