"""Asking somebody's program: weights, layouts, what it must not harm, what is said of failure."""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

import rnnbench
from rnnbench import InputError, Spec
from rnnbench.diagnosis.layouts import Layout, storages
from rnnbench.mistakes import candidate
from rnnbench.spec import CELLS

SPEC = Spec("rnn_tanh", 3, 4)


class Named(nn.Module):
    """A tanh RNN whose weights are called as the test says."""

    def __init__(self, shapes, use):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))
        self.use = use

    def forward(self, x, h0):
        W_ih, W_hh, bias = self.use(self)
        h, ys = h0[0], []
        for x_t in x:
            h = torch.tanh(x_t @ W_ih.T + h @ W_hh.T + bias)
            ys.append(h)
        return torch.stack(ys), h[None]


def test_weights_are_matched_by_shape_where_that_is_unambiguous():
    net = Named(
        {"alpha": (4, 4), "beta": (4, 3), "gamma": (4,)}, lambda m: (m.beta, m.alpha, m.gamma)
    )
    found = rnnbench.diagnose(net, spec=SPEC)
    assert found.passed, found
    assert any("bias_hh_l0: taken for zero" in note for note in found.notes)


def test_weights_that_shapes_cannot_tell_are_told_by_numbers_or_a_mapping():
    square = Spec("rnn_tanh", 4, 4, bias=False)
    net = Named({"one": (4, 4), "two": (4, 4)}, lambda m: (m.two, m.one, 0.0))
    assert rnnbench.diagnose(net, spec=square).passed  # both ways are tried: numbers decide
    right = {"weight_ih_l0": "two", "weight_hh_l0": "one"}
    assert rnnbench.diagnose(net, spec=square, mapping=right).passed
    crossed = {"weight_ih_l0": "one", "weight_hh_l0": "two"}
    assert not rnnbench.diagnose(net, spec=square, mapping=crossed).passed


def test_a_mapping_names_the_place_in_a_list_and_renames_for_a_function():
    class Holder:
        def __init__(self):
            self.cells = [{"W": torch.randn(4, 3)}, {"W": torch.randn(4, 4)}]

        def __call__(self, x, h0):
            h, ys = h0[0], []
            for x_t in x:
                h = torch.tanh(x_t @ self.cells[0]["W"].T + h @ self.cells[1]["W"].T)
                ys.append(h)
            return torch.stack(ys), h[None]

    nobias = Spec("rnn_tanh", 3, 4, bias=False)
    places = {"weight_ih_l0": "cells[0]['W']", "weight_hh_l0": "cells.1.W"}
    assert rnnbench.diagnose(Holder(), spec=nobias, mapping=places).passed

    def function(x, state, weights):
        y, final = candidate(nobias)(
            x, state, {"weight_ih_l0": weights["W"], "weight_hh_l0": weights["U"]}
        )
        return y, final

    renamed = {"weight_ih_l0": "W", "weight_hh_l0": "U"}
    assert rnnbench.diagnose(function, spec=nobias, mapping=renamed).passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "spec must be given"),
        ({"spec": SPEC, "kind": "layer"}, "kind must be one of"),
        ({"spec": SPEC, "loss": "mse"}, "loss must be one of"),
        ({"spec": SPEC, "states": "sideways"}, "states must be one of"),
        ({"spec": Spec("gru", 3, 4), "gates": "ifgo"}, "letters of 'rzn'"),
        ({"spec": SPEC, "mapping": {"W": "weight_ih_l0"}}, "mapping must"),
        ({"spec": SPEC, "mapping": ["W"]}, "mapping must be a dict"),
        ({"spec": SPEC, "mapping": {"weight_ih_l0": 3}}, r"mapping\['weight_ih_l0'\] must be"),
        ({"spec": SPEC, "arrays": "jax"}, "arrays must be one of"),
        ({"spec": SPEC, "x": "abc"}, "x must be an array"),
        ({"spec": SPEC, "x": [[1, 2, 3], [4]]}, "x must be an array"),
        ({"spec": SPEC, "x": [[1, 2, float("nan")]]}, "x must have finite"),
        ({"spec": SPEC, "x": [[1, 2, 3]], "weights": [1]}, "weights must be a dict"),
        ({"spec": SPEC, "state": torch.zeros(1, 4)}, "x must be given"),
        ({"spec": SPEC, "x": torch.zeros(5, 2)}, r"x must have shape \(T, B, 3\).*\(5, 2\)"),
        ({"spec": SPEC, "x": torch.zeros(5, 3), "weights": {"W": 1}}, "torch's names; got W"),
        ({"spec": Spec("gru", 3, 4, 2), "kind": "cell"}, "one layer and direction"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, message):
    def function(x, state, weights):
        return candidate(SPEC)(x, state, weights)

    with pytest.raises(InputError, match=message):
        rnnbench.diagnose(function, **arguments)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (3, "candidate must be a module"),
        (torch.nn.GRU, "candidate must be a module"),
        ("nowhere.py", "must exist; got nowhere.py"),
    ],
)
def test_what_cannot_be_called_is_refused(what, said):
    with pytest.raises(InputError, match=said):
        rnnbench.diagnose(what, spec=SPEC)


def test_one_cell_in_a_list_n_times_is_layers_that_share_weights():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.ModuleList([nn.RNNCell(4, 4)] * 2)

        def forward(self, x, h0):
            finals = []
            for cell, h in zip(self.cells, h0, strict=True):
                ys = []
                for x_t in x:
                    h = cell(x_t, h)  # noqa: PLW2901
                    ys.append(h)
                finals.append(h)
                x = torch.stack(ys)
            return x, torch.stack(finals)

    found = rnnbench.diagnose(Shared(), spec=Spec("rnn_tanh", 4, 4, 2))
    assert found.cause == "layers_share_weights"
    (said,) = [note for note in found.notes if "one tensor stands for two weights" in note]
    assert "Hold a tensor for each, equal or not, to have the rest compared" in said


def test_the_candidates_own_weights_and_gradients_stay_as_they_were():
    net = nn.LSTM(3, 4, 2, bidirectional=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    objects = [id(p) for p in net.parameters()]
    assert rnnbench.diagnose(net).passed
    assert [id(p) for p in net.parameters()] == objects
    assert all(p.grad is None for p in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    net(torch.randn(5, 2, 3))[0].sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_buffers_that_calls_change_are_put_back_and_said():
    class Normal(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.rnn = nn.BatchNorm1d(3), nn.RNN(3, 4)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x, h=None):
            self.calls = self.calls + 1
            self.norm(x.flatten(0, 1))
            return self.rnn(x, h)

    net = Normal()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = rnnbench.diagnose(net)
    assert found.passed, found
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    (said,) = [note for note in found.notes if "buffers" in note]
    assert "calls" in said
    assert "norm.running_mean" in said
    assert not [note for note in rnnbench.diagnose(net.eval().rnn).notes if "buffers" in note]


def test_what_a_candidate_changes_and_prints_is_put_back_and_said(capsys):
    right = candidate(SPEC)

    def rude(x, state, weights):
        y, final = right(x, state, weights)
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        x.detach().zero_()
        print("loss 0.5")
        return y, final

    torch.manual_seed(3)
    state = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    found = rnnbench.diagnose(rude, spec=SPEC)
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), torch.get_num_threads()) == state[1:]
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    said = " ".join(found.notes)
    for word in ("default dtype", "random state", "number of threads", "it prints, first: 'loss"):
        assert word in said


def test_more_of_what_a_candidate_changes_is_put_back(monkeypatch):
    monkeypatch.setenv("RNNBENCH_KEPT", "as it was")
    right = candidate(SPEC)

    def ruder(x, state, weights):
        torch.set_float32_matmul_precision("medium")
        torch.set_flush_denormal(True)
        torch.autograd.set_detect_anomaly(True)
        torch.set_default_device("meta")
        np.seterr(all="raise")
        os.environ["RNNBENCH_KEPT"], os.environ["RNNBENCH_NEW"] = "changed", "1"
        sys.setrecursionlimit(5000)
        return right(x, state, weights)

    before = np.geterr(), sys.getrecursionlimit(), torch.get_float32_matmul_precision()
    found = rnnbench.diagnose(right, spec=SPEC)
    assert not found.notes
    said = " ".join(rnnbench.diagnose(ruder, spec=SPEC).notes)
    after = np.geterr(), sys.getrecursionlimit(), torch.get_float32_matmul_precision()
    assert after == before
    assert not torch.is_anomaly_enabled()
    assert float(torch.full((1,), 1e-310, dtype=torch.float64) * 1.0) > 0
    assert torch.zeros(1).device.type == "cpu"
    assert os.environ["RNNBENCH_KEPT"] == "as it was"
    assert "RNNBENCH_NEW" not in os.environ
    for word in (
        "default device", "anomaly mode", "matmul precision", "denormals", "NumPy", "environment",
        "recursion limit",
    ):  # fmt: skip
        assert word in said


def test_an_exit_is_told_and_an_interrupt_passes():
    def leaves(x, state, weights):
        sys.exit(3)

    class Odd(BaseException):
        pass

    def odd(x, state, weights):
        raise Odd("odd")

    def interrupted(x, state, weights):
        raise KeyboardInterrupt

    assert "SystemExit: 3" in str(rnnbench.diagnose(leaves, spec=SPEC))
    assert "Odd: odd" in str(rnnbench.diagnose(odd, spec=SPEC))
    with pytest.raises(KeyboardInterrupt):
        rnnbench.diagnose(interrupted, spec=SPEC)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: None, "missing: no value"),
        (lambda x: ("y", ()), "a str instead of a torch.Tensor"),
        (lambda x: (x[:, :, :1], ()), "instead of"),
        (lambda x: (x.new_full((*x.shape[:2], 4), float("nan")), ()), "nan"),
        (lambda x: (x.new_zeros((*x.shape[:2], 4)).double(), ()), "torch.float64 instead of"),
    ],
)
def test_rubbish_is_said_to_be_rubbish(answer, words):
    found = rnnbench.diagnose(lambda x, state, weights: answer(x), spec=SPEC)
    assert (found.status, found.cause) == ("departs", None)
    assert found.first_divergence.quantity == "output"
    assert words in str(found)


def test_what_raises_is_a_result_with_its_sentence():
    def raises(x, state, weights):
        raise KeyError("kernel")

    found = rnnbench.diagnose(raises, spec=SPEC)
    assert (found.passed, found.status, found.first_divergence) == (False, "raised", None)
    assert "KeyError: 'kernel'" in str(found)
    with pytest.raises(TypeError, match=r"\.passed"):
        bool(found)


def test_what_raises_in_some_problem_only_departs_there():
    def one_sequence_short(x, state, weights):
        if len(x) == 4:
            raise RuntimeError("four steps are too many")
        return candidate(SPEC)(x, state, weights)

    found = rnnbench.diagnose(one_sequence_short, spec=SPEC)
    assert found.status == "departs"
    assert "four steps are too many" in str(found)
    assert found.cause is None  # nothing that hides elsewhere is accused


@pytest.mark.parametrize("cell", CELLS)
def test_every_storage_and_back_is_the_identity(cell):
    spec = Spec(cell, 3, 4)
    for parameter in spec.parameters:
        weight = torch.randn(parameter.shape)
        for storage in storages(spec):
            layout = Layout(**storage)
            stored = layout.weight_out(parameter.name, weight, spec)
            assert torch.equal(layout.gradient_in(parameter.name, stored, spec), weight)


@pytest.mark.parametrize("gates", ["zrn", ""])
def test_under_torchs_names_another_order_of_the_gates_is_a_mistake_unless_it_is_given(gates):
    spec = Spec("gru", 3, 4)
    found = rnnbench.diagnose(candidate(spec, "gru_gates_zrn"), spec=spec, gates=gates or None)
    assert found.passed == bool(gates)
    assert found.cause == (None if gates else "gru_gates_zrn")


def test_own_numbers_are_a_problem_of_their_own():
    """An ignored h0 of zeros is wrong in its gradient alone; in our problems it is not zero."""
    spec = Spec("rnn_tanh", 1, 2)
    x, wrong = [[1.0], [2.0], [3.0]], candidate(spec, "h0_ignored")
    zero = rnnbench.diagnose(wrong, spec=spec, x=x, state=[[0.0, 0.0]])
    other = rnnbench.diagnose(wrong, spec=spec, x=x, state=[[0.5, 0.1]])
    assert zero.cause == other.cause == "h0_ignored"
    assert zero.T == other.T == 3
    assert zero.first_divergence.quantity == "grad_h0"
    assert other.first_divergence.quantity == "output"


def test_it_is_the_function_whatever_is_imported():
    import rnnbench.cli.diagnose
    import rnnbench.diagnosis

    assert callable(rnnbench.diagnose)


def test_what_raises_in_the_backward_pass_alone_is_said_once_and_gets_no_cause():
    def overwrites(x, state, weights):
        y, final = candidate(SPEC)(x, state, weights)
        squared = y**2
        y.detach().zero_()  # what the gradient of the square needs
        return squared, final

    found = rnnbench.diagnose(overwrites, spec=SPEC)
    assert (found.status, found.cause) == ("departs", None)
    said = str(found)
    assert "modified by an inplace operation" in said
    assert said.count("(in the backward pass)") == 1
    assert found.first_divergence.quantity == "output"  # the forward pass has a place all the same


def test_two_networks_in_one_module_are_layers_of_one_or_need_a_spec():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.LSTM(3, 4), nn.LSTM(4, 4)

        def forward(self, x):
            return self.b(self.a(x)[0])

    stacked = rnnbench.diagnose(Two())
    assert stacked.cause == "h_n_of_last_layer_only"
    assert (stacked.spec.layers, stacked.spec.cell) == (2, "lstm")
    with pytest.raises(InputError, match=r"mapping=\{'weight_ih_l0': 'a.weight_ih_l0'\}"):
        rnnbench.diagnose(Two(), spec=Spec("lstm", 3, 4))
    assert rnnbench.diagnose(Two(), spec=Spec("lstm", 3, 4, 2)).cause == "h_n_of_last_layer_only"
