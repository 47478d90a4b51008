"""Constructor, parameters, state_dict: torch's own, with one more keyword."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from contract.modules import make

import rnnbench

BAD = [
    ((3, 4), {"dropout": 1.5}),
    ((3, 4), {"dropout": -0.1}),
    ((3, 4), {"dropout": True}),
    ((0, 4), {}),
    ((3, 0), {}),
    ((3, 4, 0), {}),
    ((3, 4.0), {}),
    ((3, "4"), {}),
    ((3, 4), {"proj_size": 4}),
    ((3, 4), {"proj_size": -1}),
    ((3, 4), {"proj_size": 2}),
    ((3, 4), {"nonlinearity": "sigmoid"}),
    ((3, 4), {"batch_first": 1}),
    ((3, 4), {"bias": 1}),
    ((3,), {}),
    ((3, 4), {"nosuch": 1}),
]


def raised(build):
    try:
        build()
    except Exception as error:  # noqa: BLE001 (which one is what is compared)
        return type(error), str(error)
    return None


@pytest.mark.parametrize(("args", "kwargs"), BAD, ids=str)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_bad_argument_raises_what_torch_raises(kind, args, kwargs):
    theirs = raised(lambda: make(torch.nn, kind, *args, **kwargs))
    assert raised(lambda: make(rnnbench, kind, *args, **kwargs)) == theirs


def test_dropout_with_one_layer_warns_as_torch(kind):
    def message(namespace):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make(namespace, kind, 3, 4, dropout=0.5)
        return [str(w.message) for w in caught]

    assert message(rnnbench) == message(torch.nn) != []


def test_fourth_positional_argument_of_rnn_is_the_nonlinearity():
    assert rnnbench.RNN(3, 4, 2, "relu").mode == torch.nn.RNN(3, 4, 2, "relu").mode == "RNN_RELU"


OPTIONS = [
    {},
    {"num_layers": 3, "bidirectional": True},
    {"bias": False, "num_layers": 2},
    {"proj_size": 2, "bidirectional": True},
]


@pytest.mark.parametrize("kwargs", OPTIONS, ids=str)
def test_parameters_are_torchs_by_name_shape_order_and_value(kind, pair, kwargs):
    if "proj_size" in kwargs and kind != "LSTM":
        kwargs = {"num_layers": 2}
    theirs, ours = pair(3, 4, **kwargs)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [[w.shape for w in group] for group in ours.all_weights] == [
        [w.shape for w in group] for group in theirs.all_weights
    ]
    ours.flatten_parameters()


def test_state_dict_loads_both_ways_strictly(pair):
    options = {"num_layers": 2, "bidirectional": True}
    for source, target in (pair(3, 4, **options), reversed(pair(3, 4, **options))):
        torch.manual_seed(5)
        for parameter in source.parameters():
            parameter.data.normal_()
        own = {name: value.clone() for name, value in target.state_dict().items()}
        assert not any(map(torch.equal, own.values(), source.state_dict().values()))
        target.load_state_dict(source.state_dict(), strict=True)
        assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_repr_is_torchs_and_names_the_backend(pair):
    theirs, ours = pair(3, 4, num_layers=2, batch_first=True, dropout=0.5)
    assert repr(ours) == f"{repr(theirs)[:-1]}, backend={ours.backend!r})"


def test_is_an_instance_of_torchs_class(pair):
    theirs, ours = pair(3, 4)
    assert isinstance(ours, type(theirs))


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: torch.load(_saved(m), weights_only=False),
    ],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_duplicate_has_the_same_backend_and_answers(pair, duplicate):
    _, ours = pair(3, 4, num_layers=2)
    twin = duplicate(ours)
    x = torch.randn(5, 2, 3)
    assert twin.backend == ours.backend
    assert torch.equal(twin(x)[0], ours(x)[0])
    with torch.no_grad():
        twin.weight_hh_l0.zero_()
    assert not torch.equal(twin(x)[0], ours(x)[0])


def _saved(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return buffer


def test_state_dict_is_saved_and_loaded_with_weights_only(pair):
    _, ours = pair(3, 4)
    buffer = io.BytesIO()
    torch.save(ours.state_dict(), buffer)
    buffer.seek(0)
    ours.load_state_dict(torch.load(buffer, weights_only=True))


def test_unknown_backend_is_refused_at_construction():
    with pytest.raises(rnnbench.InputError, match="backend must be one of"):
        rnnbench.LSTM(3, 4, backend="fastest")


def test_auto_is_the_default_and_readable():
    assert rnnbench.GRU(3, 4).backend == "auto"
    y, _ = rnnbench.GRU(3, 4)(torch.zeros(5, 2, 3))
    assert y.shape == (5, 2, 4)
