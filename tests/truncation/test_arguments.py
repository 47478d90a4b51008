"""Wrong arguments of truncated BPTT: one sentence for each, before any work is done."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from truncation.brute import assert_equal, doubled
from truncation.calls import CHUNKED, EVERY_MODE, gradients, problem

import rnnbench
from rnnbench import InputError, UnsupportedError
from rnnbench.truncation import modes

X = torch.zeros(6, 2, 3)
GRU = nn.GRU(3, 4)
H0 = torch.zeros(1, 2, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "windows"}, "mode must be one of 'chunks', 'k1_k2', .*; got 'windows'"),
        ({"mode": "chunks"}, "k must be given for mode 'chunks'"),
        ({"mode": "k1_k2", "k1": 2}, "k2 must be given for mode 'k1_k2'"),
        ({"mode": "full", "k": 2}, "k must be left out for mode 'full'; got 2"),
        ({"k": 0}, "k must be an int of at least 1; got 0"),
        ({"k": True}, "k must be an int of at least 1; got True"),
        ({"k": 2.0}, "k must be an int of at least 1; got 2.0"),
        ({"mode": "sliding", "k": 2, "start": 6}, "start must be below T=6; got 6"),
        ({"mode": "sliding", "k": 2, "start": -1}, "start must be an int of at least 0; got -1"),
        ({"mode": "sliding", "k": 2, "learn_state": True}, "learn_state must be False"),
        ({"mode": "artbp", "k": 1}, "k must be above every=1 for mode 'artbp'.*got 1"),
        ({"mode": "artbp", "k": 3, "every": 4}, "k must be above every=4"),
        ({"k": 2, "lengths": [6]}, r"lengths must be 2 ints between 0 and T=6; got \[6\]"),
        ({"k": 2, "lengths": [6, 7]}, "lengths must be 2 ints between 0 and T=6"),
        ({"k": 2, "lengths": [6, 1.5]}, "lengths must be 2 ints"),
        ({"k": 2, "reset": [1, 0]}, "reset must be 2 bools, one for each row; got torch.int64"),
        ({"k": 2, "reset": [True]}, r"reset must be 2 bools, .* shape \(1,\)"),
        ({"k": 2, "state": 3}, "state must be a tensor or tuples, lists or dicts of them; got int"),
        ({"k": 2, "x": [1, 2]}, "x must be a torch.Tensor or PackedSequence; got list"),
        ({"k": 2, "x": X[:0]}, "x must have at least one time step"),
        ({"k": 2, "x": X[:, 0], "lengths": [6]}, "lengths must be left out for an unbatched"),
        ({"k": 2, "x": X.requires_grad_() * 2}, "x must not come out of a graph in mode 'chunks'"),
        ({"mode": ["full"]}, r"mode must be one of .*; got \['full'\]"),
        (
            {"k": 2, "lengths": "abc"},
            "lengths must be a list or tensor with one number .* got 'abc'",
        ),
        ({"k": 2, "lengths": [True, True]}, "lengths must be 2 ints"),
        ({"k": 2, "reset": "abc"}, "reset must be a list or tensor with one number .* got 'abc'"),
        ({"mode": "artbp", "k": 3, "generator": 3}, "generator must be a torch.Generator; got 3"),
        ({"mode": "full", "checkpoint": "yes"}, "checkpoint must be a bool; got 'yes'"),
        ({"k": 2, "learn_state": 1}, "learn_state must be a bool; got 1"),
        ({"k": 2, "batch_first": "yes"}, "batch_first must be a bool; got 'yes'"),
        ({"k": 2, "per_step": "yes"}, "per_step must be a bool; got 'yes'"),
        ({"k": 2, "batch_first": True}, "batch_first must be False or left out for this GRU"),
        ({"k": 2, "per_step": True}, "per_step must be False or left out for this GRU; got True"),
        ({"k": 2, "batch_dim": 9}, "batch_dim must be 1 or left out for this GRU; got 9"),
        ({"k": 2, "batch_dim": "1"}, "batch_dim must be an int of at least 0; got '1'"),
        ({"k": 2, "model": None}, r"model must be callable as model\(x, state\); got NoneType"),
        ({"k": 2, "model": nn.GRU}, "model must be callable .* got the class GRU"),
        ({"k": 2, "model": nn.Linear(3, 4)}, r"got Linear, which takes \(input: .*Tensor\)"),
        ({"k": 2, "model": nn.GRUCell(3, 4), "per_step": False}, "per_step must be True or left"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_work(options, sentence):
    with pytest.raises(InputError, match=sentence):
        rnnbench.truncated_bptt(**({"model": GRU, "x": X.detach()} | options))


@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize(
    ("kind", "state", "sentence"),
    [
        (nn.GRU, (H0, H0), "state must be one tensor h0 for cell 'gru'; got tuple of 2"),
        (nn.GRU, (H0,), "state must be one tensor h0 for cell 'gru'; got tuple of 1"),
        (nn.LSTM, H0, r"state must be two tensors \(h0, c0\) .* got one tensor of shape \(1, 2, 4"),
        (nn.LSTM, (H0, None), r"state must be two tensors .* got tuple of 2"),
        (nn.LSTM, (H0, H0[..., 1:]), r"c0 must have shape \(1, 2, 4\) .* got \(1, 2, 3\)"),
        (nn.RNN, H0[:, :1], r"h0 must have shape \(1, 2, 4\) .* got \(1, 1, 4\)"),
        (nn.RNN, H0.double(), "h0 must have dtype float32; got torch.float64"),
        (nn.LSTMCell, H0[0], r"state must be two tensors \(h0, c0\)"),
        (nn.GRUCell, H0, r"h0 must have shape \(1, 2, 4\)"),
        (rnnbench.GRU, {"h": H0}, "state must be one tensor h0 for cell 'gru'; got dict of 1"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_any_work(mode, kind, state, sentence):
    with pytest.raises(InputError, match=sentence):
        rnnbench.truncated_bptt(kind(3, 4), X.detach(), state, mode=mode, **EVERY_MODE[mode])


@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (X.detach()[..., 1:], r"x must have shape \(T, B, 3\) with input_size 3; got \(6, 2, 2\)"),
        (X.detach().long(), "x must have dtype float32; got torch.int64"),
        (X.detach()[None], r"x must have shape \(T, B, 3\)"),
    ],
)
def test_an_x_that_does_not_fit_is_refused_before_any_work(mode, x, sentence):
    with pytest.raises(InputError, match=sentence):
        rnnbench.truncated_bptt(GRU, x, mode=mode, **EVERY_MODE[mode])


def test_the_batch_of_a_foreign_state_must_be_where_it_is_said():
    def model(x, state):
        return x, state

    for state in (torch.zeros(2, 4), torch.zeros(1, 3, 4)):
        with pytest.raises(InputError, match=r"batch_dim must be the dimension .* size B=2; got 1"):
            rnnbench.truncated_bptt(model, X.detach(), state, k=2, lengths=[6, 3])
    with pytest.raises(InputError, match=r"batch_dim must be .* got 9 for shape \(1, 2, 4\)"):
        rnnbench.truncated_bptt(model, X.detach(), H0, k=2, reset=[True, False], batch_dim=9)


def test_numbers_of_numpy_are_ints():
    k = np.int64(3)
    model, x, dy, state = problem("gru", 7)
    for mode in ({"mode": "chunks", "k": k}, {"mode": "sliding", "k": k, "start": np.int32(0)},
                 {"mode": "k1_k2", "k1": np.int64(1), "k2": k}):  # fmt: skip
        plain = {name: value if name == "mode" else int(value) for name, value in mode.items()}
        expected, _ = gradients(model, x, dy, state, **plain)
        assert_equal(gradients(model, x, dy, state, **mode)[0], expected)
    for value in (np.bool_(True), np.float64(3)):
        with pytest.raises(InputError, match="k must be an int of at least 1"):
            rnnbench.truncated_bptt(model, x, k=value)


@pytest.mark.parametrize("mode", CHUNKED)
@pytest.mark.parametrize("returns", ["state", "output and state", "dict"])
def test_a_foreign_cell_may_make_its_own_initial_state(mode, returns, monkeypatch):
    monkeypatch.setattr(modes, "_cut_here", lambda p, generator: False)
    cell, x, dy = nn.GRUCell(3, 4).double(), doubled(9, 2, 3), doubled(9, 2, 4)

    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, state):
            if state is None:
                h = x.new_zeros(len(x), 4)
            else:
                h = state if returns == "state" else state["h"]
            h = self.cell(x, h)
            return {"state": h, "dict": {"h": h}}.get(returns, (h, {"h": h}))

    options = {"mode": mode, "lengths": [9, 5]} | CHUNKED[mode]
    expected, output = gradients(cell, x, dy, **options)
    got, own = gradients(Foreign(), x, dy, per_step=True, **options)
    assert_equal([*got, own], [*expected, output])


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        (lambda x, state: x, {}, "Is it a cell. Then give per_step=True"),
        (
            lambda x, state: (x, x),
            {"per_step": True},
            "state must be given for a cell that returns two tensors, .* got None",
        ),
        (
            lambda x, state: x,
            {"per_step": True, "state": (torch.zeros(2, 4), torch.zeros(2, 4))},
            "must return the state or .output, state. .* got Tensor for tuple",
        ),
    ],
)
def test_a_model_that_returns_something_else_is_refused(model, options, sentence):
    with pytest.raises(InputError, match=sentence):
        list(rnnbench.truncated_bptt(model, X.detach(), mode="chunks", k=2, **options))


@pytest.mark.parametrize("options", [{"mode": mode} | EVERY_MODE[mode] for mode in EVERY_MODE])
def test_bidirectional_modules_can_be_run_whole_only(options):
    both, x = nn.GRU(3, 4, bidirectional=True), X.detach()
    if options["mode"] == "full":
        (part,) = rnnbench.truncated_bptt(both, x, **options)
        assert_equal([part.output], [both(x)[0]])
        options = options | {"lengths": [6, 3]}
    with pytest.raises(UnsupportedError, match="a bidirectional module can be run over whole"):
        rnnbench.truncated_bptt(both, x, **options)
