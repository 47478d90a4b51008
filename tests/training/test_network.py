"""Each sequence's own last step: whatever it is padded with, in whatever company and order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.nn.modules import of_spec
from rnnbench.spec import Spec
from rnnbench.training.network import READINGS, Classifier
from rnnbench.training.settings import READINGS as NAMES
from rnnbench.training.settings import RIGHT, TWO_DIRECTIONS


def network(cell="gru", directions=2, reading=RIGHT, layers=1):
    torch.manual_seed(0)
    rnn = of_spec(Spec(cell, 3, 5, layers, directions), "manual")
    return Classifier(rnn, 4, reading=READINGS[reading]).eval()


def sequences(lengths):
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randn(n, 3, generator=generator) for n in lengths]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), directions=st.sampled_from([1, 2])
)
def test_the_answer_does_not_depend_on_the_batch(lengths, directions):
    net, given_ = network(directions=directions), sequences(lengths)
    alone = torch.cat([net([one]) for one in given_])
    assert torch.allclose(net(given_), alone, atol=1e-6)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_features_are_what_each_direction_knows_when_it_has_read_all(cell, directions, layers):
    net, given_ = network(cell, directions, layers=layers), sequences([4, 7, 2])
    features = []
    for one in given_:
        output, _ = net.rnn(one[:, None])
        parts = [output[-1, 0, :5], output[0, 0, 5:]][:directions]
        features.append(torch.cat(parts))
    assert torch.allclose(net(given_), net.head(torch.stack(features)), atol=1e-6)


def test_a_projected_lstm_has_a_head_of_its_size():
    torch.manual_seed(0)
    rnn = torch.nn.LSTM(3, 5, proj_size=2)
    assert Classifier(rnn, 4)(sequences([3, 1])).shape == (2, 4)


@pytest.mark.parametrize("reading", [name for name in READINGS if name != RIGHT])
def test_a_planted_mistake_depends_on_the_batch_and_the_longest_has_its_own(reading):
    net, given_ = network(reading=reading), sequences([8, 3])
    together, alone = net(given_), torch.cat([net([one]) for one in given_])
    assert torch.allclose(together[0], alone[0], atol=1e-6)  # nothing is padded
    assert not torch.allclose(together[1], alone[1], atol=1e-3)


@pytest.mark.parametrize("reading", TWO_DIRECTIONS)
def test_the_reverse_mistake_is_right_without_padding(reading):
    given_ = sequences([6, 6, 6])
    assert torch.allclose(network(reading=reading)(given_), network()(given_), atol=1e-6)


def test_dropout_stands_in_front_of_the_head_while_training_only():
    net = network()
    net.dropout.p = 0.5
    given_ = sequences([4, 2])
    assert torch.equal(net(given_), net(given_))
    net.train()
    assert not torch.equal(net(given_), net(given_))


def test_the_settings_name_every_reading():
    assert tuple(READINGS) == NAMES
