"""Packed sequences: given to modules that take them, and said of those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnnbench

NOTE = "it takes no PackedSequence: sequences of different lengths are not compared"


class Padding(nn.GRU):
    """Runs a packed sequence padded, as if every row had all steps."""

    def forward(self, x, hx=None):
        if not isinstance(x, PackedSequence):
            return super().forward(x, hx)
        padded, lengths = pad_packed_sequence(x)
        y, h = super().forward(padded, hx)
        return pack_padded_sequence(y, lengths, enforce_sorted=False), h


class Dense(nn.GRU):
    def forward(self, x, hx=None):
        if not isinstance(x, torch.Tensor):
            raise TypeError("x must be a tensor")
        return super().forward(x, hx)


class Padded(Padding):
    """Returns what it was not given: a tensor for a packed sequence."""

    def forward(self, x, hx=None):
        y, h = super().forward(x, hx)
        return (pad_packed_sequence(y)[0] if isinstance(y, PackedSequence) else y), h


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM, rnnbench.LSTM])
def test_modules_that_take_packed_sequences_are_right_with_them(cell, batch_first):
    found = rnnbench.diagnose(cell(3, 4, 2, bidirectional=True, batch_first=batch_first))
    assert found.passed, found
    assert NOTE not in found.notes


def test_a_mistake_that_only_packed_sequences_show_is_found():
    found = rnnbench.diagnose(Padding(3, 4))
    assert found.status == "departs"
    assert found.cause == "lengths_ignored"
    assert all("-packed" in q.case for q in found.quantities if q.failed)
    assert found.first_divergence.quantity == "h_n"
    assert "Only a batch of sequences of different lengths shows it." in str(found)
    assert "Layer × time" not in str(found)  # where all of it would be right


@pytest.mark.parametrize("kind", [Dense, Padded])
def test_what_takes_none_is_not_accused_and_it_is_said(kind):
    found = rnnbench.diagnose(kind(3, 4))
    assert found.passed, found
    assert NOTE in found.notes
