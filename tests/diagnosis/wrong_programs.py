"""The wrong programs of the published questions, written out from their description.

Q1  hand-made gradients of a tanh RNN, one layer, one direction, unbatched, loss = Σ h_T
Q3  a bidirectional two-layer tanh RNN without bias, time loop outside, layers inside
"""

from __future__ import annotations

import torch


def hand_made_gradient(x, state, weights):
    """Q1: ∂(Σ h_T)/∂weight_ih_l0, a sum over the steps; x (T, 1), state (1, 2)."""
    W_ih, W_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    h, s = state[0][0], []
    for x_t in x:
        h = torch.tanh(W_ih @ x_t + W_hh @ h + bias)
        s.append(1 - h**2)
    last = len(x) - 1
    gradient = s[last] * x[last]  # step 3
    for t in range(last):
        term = s[t]
        for k in range(t + 1, last + 1):  # each factor through W_hh on its own: the mistake
            term = (s[k] @ W_hh) * term
        gradient = gradient + term * x[t]
    return {"weight_ih_l0": gradient[:, None]}


def hand_made_gradient_with_a_large_h0(x, state, weights):
    """Q1's other slip: h0 with 64 columns for a hidden size of 2."""
    h0 = torch.zeros(1, 64)
    u = h0 @ weights["weight_hh_l0"].T
    return {"weight_ih_l0": (1 - torch.tanh(u) ** 2).T @ x[:1]}


class TimeOutsideLayers:
    """Q3: weights in plain lists, [layer][direction]; all layers of both directions in one loop
    over time, the second layer fed with the states of the same iteration.
    """

    def __init__(self, input_size=3, hidden_size=4, layers=2):
        self.hidden_size, self.layers = hidden_size, layers
        sizes = [input_size, *[2 * hidden_size] * (layers - 1)]
        self.weight_ih = [[torch.randn(hidden_size, n) for _ in range(2)] for n in sizes]
        self.weight_hh = [
            [torch.randn(hidden_size, hidden_size) for _ in range(2)] for _ in range(layers)
        ]

    def __call__(self, x, h0):
        """x (T, B, I), h0 kept as (directions, layers, B, H)."""
        T = x.shape[0]
        assert h0.shape[:2] == (2, self.layers)
        assert h0.dim() == 4
        h = [[h0[d, k] for k in range(self.layers)] for d in range(2)]
        outputs = [[None] * T, [None] * T]
        for t in range(T):
            inputs = [x[t], x[T - 1 - t]]
            for k in range(self.layers):
                for d in range(2):
                    a = inputs[d] @ self.weight_ih[k][d].T
                    h[d][k] = torch.tanh(a + h[d][k] @ self.weight_hh[k][d].T)
                inputs = [torch.cat([h[0][k], h[1][k]], dim=1)] * 2
            outputs[0][t], outputs[1][T - 1 - t] = h[0][-1], h[1][-1]
        y = torch.cat([torch.stack(half) for half in outputs], dim=2)
        return y, torch.stack([torch.stack(part) for part in h])


class LayersOutsideTime(TimeOutsideLayers):
    """Q3 put right: layer outside, direction, time inside."""

    def __call__(self, x, h0):
        final = [[None] * self.layers, [None] * self.layers]
        for k in range(self.layers):
            halves = []
            for d in range(2):
                h, outputs = h0[d, k], []
                for x_t in x.flip(0) if d else x:
                    h = torch.tanh(x_t @ self.weight_ih[k][d].T + h @ self.weight_hh[k][d].T)
                    outputs.append(h)
                halves.append(torch.stack(outputs[::-1] if d else outputs))
                final[d][k] = h
            x = torch.cat(halves, dim=2)
        return x, torch.stack([torch.stack(part) for part in final])
