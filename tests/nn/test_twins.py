"""torch's modules for ours and back: the same parameters and objects, torch's exact classes."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close

import rnnbench
from rnnbench import InputError

KINDS = ("RNN", "GRU", "LSTM")
OPTIONS = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.3}


class Model(nn.Module):
    """With a network at the top, one in a list, one used twice, and one of a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(3, 4)
        self.more = nn.ModuleList([nn.LSTM(4, 4), nn.Linear(4, 4)])
        self.again = self.first
        self.other = Own(4, 4)

    def forward(self, x):
        y = self.more[0](self.first(x)[0])[0]
        return self.other(self.more[1](y))[0]


class Own(nn.GRU):
    pass


def tree(model):
    return [(name, id(module), type(module)) for name, module in model.named_modules()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, OPTIONS, {"bias": False}], ids=["plain", "all", "no bias"])
def test_a_twin_shares_parameters_and_computes_the_same(kind, options):
    theirs = getattr(nn, kind)(3, 4, **options).eval()
    ours = rnnbench.from_torch(theirs, backend="numba")
    back = ours.to_torch()
    assert type(ours) is getattr(rnnbench, kind)
    assert type(back) is getattr(nn, kind)
    x = torch.randn(5, 2, 3)
    for twin in (ours, back):
        assert [id(p) for p in twin.parameters()] == [id(p) for p in theirs.parameters()]
        assert twin.training is False
        assert_close(twin(x)[0], theirs(x)[0])
    with torch.no_grad():
        theirs.weight_hh_l0.mul_(2)
    assert_close(ours(x)[0], theirs(x)[0])
    ours.train()
    assert theirs.training is False
    assert "backend" not in vars(back)


def test_a_parameter_that_is_replaced_is_replaced_in_its_own_module():
    theirs = nn.GRU(3, 4)
    ours = rnnbench.from_torch(theirs)
    kept = theirs.weight_hh_l0
    ours.weight_hh_l0 = nn.Parameter(torch.zeros(12, 4))
    assert theirs.weight_hh_l0 is kept
    x = torch.randn(5, 2, 3)
    assert not torch.equal(ours(x)[0], theirs(x)[0])


def test_hooks_come_along_and_later_ones_do_not():
    seen = []
    theirs = nn.GRU(3, 4)
    theirs.register_forward_hook(lambda *_: seen.append("early"))
    ours = rnnbench.from_torch(theirs)
    theirs.register_forward_hook(lambda *_: seen.append("late"))
    ours(torch.randn(5, 2, 3))
    assert seen == ["early"]


@pytest.mark.parametrize("backend", ["numba", "manual", "auto"])
def test_a_model_swapped_and_swapped_back_is_the_same_objects(backend):
    model, x = Model(), torch.randn(5, 2, 3)
    before, keys = tree(model), list(model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    right = model(x)
    report = rnnbench.swap(model, backend=backend)
    assert type(model.first) is rnnbench.GRU
    assert model.again is model.first
    assert model.first.backend == backend
    assert list(model.state_dict()) == keys
    assert_close(model(x), right)
    model(x).sum().backward()
    optimiser.step()
    after = model(x)
    assert [(one.name, one.backend, bool(one.passed_over)) for one in report] == [
        ("first", backend, False), ("more.0", backend, False), ("other", None, True),
    ]  # fmt: skip
    assert str(report[0]) == f"first: torch.nn.GRU → rnnbench.GRU, backend {backend!r}"
    assert "other: stays" in str(report[2])
    rnnbench.swap(model, backend=None)
    assert tree(model) == before
    assert_close(model(x), after)


def test_ours_take_another_backend_and_forget_what_they_remembered():
    model = nn.Sequential(rnnbench.LSTM(3, 4, backend="manual"))
    model[0](torch.randn(5, 2, 3))
    rnnbench.swap(model, backend="numba")
    assert model[0].backend == "numba"
    assert "_memory" not in vars(model[0])


def test_a_module_alone_is_swapped():
    net = nn.GRU(3, 4)
    (one,) = rnnbench.swap(net, backend="numba")
    assert type(net) is rnnbench.GRU
    assert str(one).startswith("the model itself: ")


@pytest.mark.parametrize("made", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_twins_are_copied_and_pickled(made):
    ours = rnnbench.from_torch(nn.LSTM(3, 4), backend="numba")
    again = made(ours)
    x = torch.randn(5, 2, 3)
    assert again.backend == "numba"
    assert_close(again(x)[0], ours(x)[0])


def test_a_parametrised_module_is_passed_over():
    net = parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0")
    (one,) = rnnbench.swap(nn.Sequential(net))
    assert one.passed_over


@pytest.mark.filterwarnings("ignore")
def test_quantize_dynamic_finds_a_model_swapped_back():
    model = nn.Sequential(nn.LSTM(8, 8))
    rnnbench.swap(model, backend="numba")
    rnnbench.swap(model, backend=None)
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    assert type(quantised[0]) is torch.ao.nn.quantized.dynamic.LSTM


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["numba", "manual", "auto"])
def test_jit_script_gives_torchs_program(kind, backend):
    ours = getattr(rnnbench, kind)(3, 4, 2, backend=backend)
    model = nn.Sequential()
    model.add_module("net", ours)
    file = io.BytesIO()
    with pytest.warns(UserWarning, match=f"puts torch.nn.{kind} in the place of rnnbench.{kind}"):
        torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    x = torch.randn(5, 2, 3)
    assert_close(torch.jit.load(file)(x)[0], ours(x)[0])
    assert type(ours) is getattr(rnnbench, kind)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: rnnbench.from_torch(nn.Linear(2, 2)), "module must be a torch.nn.RNN, GRU"),
        (lambda: rnnbench.from_torch(Own(2, 2)), "of no other class derived"),
        (lambda: rnnbench.from_torch(rnnbench.GRU(2, 2)), "got rnnbench.GRU"),
        (lambda: rnnbench.from_torch(nn.GRU(2, 2), backend="none"), "none"),
        (lambda: rnnbench.swap([nn.GRU(2, 2)]), "model must be a torch.nn.Module; got .*list"),
        (lambda: rnnbench.swap(nn.GRU(2, 2), backend="none"), "none"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(call, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=sentence):
            call()
