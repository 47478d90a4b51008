r"""Chrono initialisation: gates that begin with memories as long as the task's lags.

A gated cell with a constant forget gate f forgets like f^t, over some 1/(1 − f) steps. With
f = σ(b) that is 1 + e^b, so that lags up to T_max are in reach from the first step on if the units'
time constants are spread over them:

    LSTM    b_f ~ ln U(1, T_max − 1),  b_i = −b_f
    GRU     b_z ~ ln U(1, T_max − 1)      (torch's z keeps: h' = n + z ⊙ (h − n))

Torch begins with b near 0, a memory of two steps, from which an LSTM does not find lags of hundreds
of steps. Source: Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
"""

from __future__ import annotations

import torch
from torch import nn


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
