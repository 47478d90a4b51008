"""The classic mistakes with sequences of different lengths, planted to show what they cost.

Each is the reading (`classifier.own_last_step`) that a program with the mistake has, under its id
in `rnnbench.mistakes`. Such a network still trains, so nothing but the accuracy tells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnbench.training import settings
from rnnbench.training.classifier import Reading, own_last_step


def padded_last_step(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """``output[-1]`` after unpacking: zeros for every sequence but the longest of the batch."""
    output, _ = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
    last: Tensor = pad_packed_sequence(output)[0][-1]
    return last


def lengths_ignored(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """``output[-1]`` without packing: the state has run on over the padding of its batch."""
    output: Tensor = rnn(x)[0]
    return output[-1]


def reverse_starts_in_padding(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """The forward direction is read at each sequence's own end, but nothing was packed: the reverse
    direction begins in the padding and brings what it made of it.
    """
    output: Tensor = rnn(x)[0]
    H = output.shape[2] // 2
    rows = torch.arange(len(lengths))
    return torch.cat([output[lengths - 1, rows, :H], output[0, :, H:]], dim=1)


READINGS: dict[str, Reading] = dict(
    zip(
        settings.READINGS,
        (own_last_step, padded_last_step, lengths_ignored, reverse_starts_in_padding),
        strict=True,
    )
)
"""By the names that `settings.READINGS` gives them."""
