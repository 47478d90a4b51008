r"""A network for whole sequences: recurrent module, each sequence's own last step, linear head.

For sequence b of length n_b, in L layers and D directions,

    f_b = h^{(L,→)}_{n_b}            one direction
    f_b = (h^{(L,→)}_{n_b}, h^{(L,←)}_1)   two: either direction's state when it has read it all
    logits_b = W · dropout(f_b) + v

which is what h_n of a packed run holds. It is not the output at the last step: there the reverse
direction has read one step only, and in a padded batch that step is another sequence's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

Reading = Callable[[nn.RNNBase, Tensor, Tensor], Tensor]
"""Features (B, D·H) of a batch: of the module, x (T, B, I) padded with zeros, lengths (B,)."""


def hidden(final: Any) -> Tensor:
    """h_n of a module's final state, which is (h_n, c_n) for an LSTM."""
    return final if isinstance(final, Tensor) else final[0]


def own_last_step(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """The last layer's state after each sequence's own last step, the directions side by side."""
    _, final = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
    directions = 2 if rnn.bidirectional else 1
    return torch.cat(list(hidden(final)[-directions:]), dim=1)


class Classifier(nn.Module):
    """``rnn``, a reading of its states, dropout, and a linear head.

    rnn      any of rnnbench.RNN, GRU, LSTM or torch's own, batch_first=False
    classes  outputs of the head; 1 for regression
    dropout  in front of the head, while training
    """

    def __init__(
        self,
        rnn: nn.RNNBase,
        classes: int,
        dropout: float = 0.0,
        reading: Reading = own_last_step,
    ) -> None:
        super().__init__()
        features = (rnn.proj_size or rnn.hidden_size) * (2 if rnn.bidirectional else 1)
        self.rnn = rnn
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        self.reading = reading

    def forward(self, sequences: Sequence[Tensor]) -> Tensor:
        """Outputs (B, classes) for B sequences (T_b, I), in the order given."""
        lengths = torch.tensor([len(one) for one in sequences])
        x = pad_sequence(list(sequences)).to(self.head.weight.dtype)
        outputs: Tensor = self.head(self.dropout(self.reading(self.rnn, x, lengths)))
        return outputs
