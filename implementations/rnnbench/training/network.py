r"""The network of a training: recurrent module, reading of its states, linear head.

For sequence b of length n_b, in L layers and D directions, the right reading is

    f_b = h^{(L,→)}_{n_b}            one direction
    f_b = (h^{(L,→)}_{n_b}, h^{(L,←)}_1)   two: either direction's state when it has read it all
    logits_b = W · dropout(f_b) + v

which is what h_n of a packed run holds. It is not the output at the last step: there the reverse
direction has read one step only, and in a padded batch that step is another sequence's. The other
readings are classic mistakes with sequences of different lengths, under their ids in
`rnnbench.mistakes`. Such a network still trains, so that the accuracy alone shows the mistake.

Chrono initialisation gives gates memories as long as the task's lags. A gated cell with a constant
forget gate f forgets like f^t, over some 1/(1 − f) steps. With f = σ(b) that is 1 + e^b, so that
lags up to T_max are in reach from the first step on if the units' time constants are spread over
them:

    LSTM    b_f ~ ln U(1, T_max − 1),  b_i = −b_f
    GRU     b_z ~ ln U(1, T_max − 1)      (torch's z keeps: h' = n + z ⊙ (h − n))

Torch begins with b near 0, a memory of two steps, from which an LSTM does not find lags of hundreds
of steps. Source: Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

Reading = Callable[[nn.RNNBase, Tensor, Tensor], Tensor]
"""Returns features (B, D·H) from the module, x (T, B, I) padded with zeros, and lengths (B,)."""


def hidden(final: Any) -> Tensor:
    """Return h_n of a module's final state, which is (h_n, c_n) for an LSTM."""
    return final if isinstance(final, Tensor) else final[0]


def own_last_step(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the last layer's state after each sequence's last step, directions side by side."""
    _, final = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
    directions = 2 if rnn.bidirectional else 1
    return torch.cat(list(hidden(final)[-directions:]), dim=1)


def padded_last_step(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """Return ``output[-1]`` after unpacking: zeros for all but the longest sequences of a batch."""
    output, _ = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
    last: Tensor = pad_packed_sequence(output)[0][-1]
    return last


def lengths_ignored(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """Return ``output[-1]`` without packing: the state has run on over the padding."""
    output: Tensor = rnn(x)[0]
    return output[-1]


def reverse_starts_in_padding(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    """Return each sequence's own ends without packing: the reverse direction read the padding."""
    output: Tensor = rnn(x)[0]
    H = output.shape[2] // 2
    rows = torch.arange(len(lengths))
    return torch.cat([output[lengths - 1, rows, :H], output[0, :, H:]], dim=1)


READINGS: dict[str, Reading] = {
    reading.__name__: reading
    for reading in (own_last_step, padded_last_step, lengths_ignored, reverse_starts_in_padding)
}
"""By the names in `settings.READINGS`."""


def chrono(rnn: nn.RNNBase, longest: int) -> None:
    """Draw the gates' biases of an LSTM or GRU anew, in every layer and direction.

    longest   T_max, at least 3
    """
    H = rnn.hidden_size
    with torch.no_grad():
        for name, bias in rnn.named_parameters():
            if not name.startswith("bias_"):
                continue
            drawn = torch.empty(H).uniform_(1, longest - 1).log()
            own = drawn if name.startswith("bias_ih") else torch.zeros(H)  # both are added up
            bias[H : 2 * H] = own  # torch's second gate: f of an LSTM, z of a GRU
            if rnn.mode == "LSTM":
                bias[:H] = -own


class Classifier(nn.Module):
    """A recurrent module, a reading of its states, dropout, and a linear head.

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
        """Return outputs (B, classes) for B sequences (T_b, I), in the order given."""
        lengths = torch.tensor([len(one) for one in sequences])
        x = pad_sequence(list(sequences)).to(self.head.weight.dtype)
        outputs: Tensor = self.head(self.dropout(self.reading(self.rnn, x, lengths)))
        return outputs
