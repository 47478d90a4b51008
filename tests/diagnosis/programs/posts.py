"""More programs as they stand in posts and answers: other names, other shapes, other habits."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

N, K = 4, 6  # input and hidden size


class EmbeddingLM(nn.Module):
    """A language model: embedding, LSTM, decoder, dropout around."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(11, N)
        self.rnn = nn.LSTM(N, K, 2, dropout=0.2)
        self.decoder = nn.Linear(K, 11)

    def forward(self, x, hidden):
        emb = self.drop(self.encoder(x))
        output, hidden = self.rnn(emb, hidden)
        return F.log_softmax(self.decoder(self.drop(output)), dim=-1), hidden


class CellWithInit(nn.Module):
    """A cell that makes its own state, W_xh and W_hh as @ products."""

    def __init__(self):
        super().__init__()
        self.num_hiddens = K
        self.W_xh = nn.Parameter(torch.randn(N, K) * 0.3)
        self.W_hh = nn.Parameter(torch.randn(K, K) * 0.3)
        self.b_h = nn.Parameter(torch.zeros(K))

    def forward(self, inputs, state=None):
        if state is None:
            state = torch.zeros((inputs.shape[1], self.num_hiddens))
        outputs = []
        for X in inputs:
            state = self.act(X, state)
            outputs.append(state)
        return torch.stack(outputs), state

    def act(self, X, H):
        return torch.tanh(torch.matmul(X, self.W_xh) + torch.matmul(H, self.W_hh) + self.b_h)


class CellWithInitForgets(CellWithInit):
    def act(self, X, H):
        return torch.tanh(torch.matmul(X, self.W_xh) + torch.matmul(H, self.W_hh.T) + self.b_h)


class D2LGRU(nn.Module):
    """Triples of parameters by gate, z keeps the old state."""

    def __init__(self, num_inputs=N, num_hiddens=K, sigma=0.5):
        super().__init__()
        init = lambda *shape: nn.Parameter(torch.randn(*shape) * sigma)  # noqa: E731
        triple = lambda: (init(N, K), init(K, K), nn.Parameter(torch.zeros(K)))  # noqa: E731
        self.W_xz, self.W_hz, self.b_z = triple()
        self.W_xr, self.W_hr, self.b_r = triple()
        self.W_xh, self.W_hh, self.b_h = triple()

    def forward(self, inputs, H):
        outputs = []
        for X in inputs:
            H = self.update(X, H)
            outputs.append(H)
        return torch.stack(outputs), H

    def update(self, X, H):
        Z = torch.sigmoid(X @ self.W_xz + H @ self.W_hz + self.b_z)
        R = torch.sigmoid(X @ self.W_xr + H @ self.W_hr + self.b_r)
        H_tilde = torch.tanh(X @ self.W_xh + (R * H) @ self.W_hh + self.b_h)
        return Z * H + (1 - Z) * H_tilde


class D2LLSTM(nn.Module):
    """A triple for each gate, (H, C) as state."""

    def __init__(self, num_inputs=N, num_hiddens=K):
        super().__init__()
        for g in "ifoc":
            setattr(self, f"W_x{g}", nn.Parameter(torch.randn(N, K)))
            setattr(self, f"W_h{g}", nn.Parameter(torch.randn(K, K)))
            setattr(self, f"b_{g}", nn.Parameter(torch.randn(K)))

    def forward(self, inputs, H_C=None):
        if H_C is None:
            H = torch.zeros((inputs.shape[1], K))
            C = torch.zeros((inputs.shape[1], K))
        else:
            H, C = H_C
        outputs = []
        for X in inputs:
            H, C = self.one(X, H, C)
            outputs.append(H)
        return outputs, (H, C)

    def one(self, X, H, C):
        I = torch.sigmoid(X @ self.W_xi + H @ self.W_hi + self.b_i)  # noqa: E741
        Fg = torch.sigmoid(X @ self.W_xf + H @ self.W_hf + self.b_f)
        O = torch.sigmoid(X @ self.W_xo + H @ self.W_ho + self.b_o)  # noqa: E741
        Ct = torch.tanh(X @ self.W_xc + H @ self.W_hc + self.b_c)
        C = Fg * C + I * Ct
        return O * torch.tanh(C), C


class D2LLSTMSigmoidOut(D2LLSTM):
    def one(self, X, H, C):
        I = torch.sigmoid(X @ self.W_xi + H @ self.W_hi + self.b_i)  # noqa: E741
        Fg = torch.sigmoid(X @ self.W_xf + H @ self.W_hf + self.b_f)
        O = torch.sigmoid(X @ self.W_xo + H @ self.W_ho + self.b_o)  # noqa: E741
        Ct = torch.sigmoid(X @ self.W_xc + H @ self.W_hc + self.b_c)
        C = Fg * C + I * Ct
        return O * torch.tanh(C), C


class DeepWithCells(nn.Module):
    """Layers as cells of the poster's own in a ModuleList, the state a list."""

    class Cell(nn.Module):
        def __init__(self, n, h):
            super().__init__()
            self.ih = nn.Linear(n, 4 * h)
            self.hh = nn.Linear(h, 4 * h)

        def forward(self, x, h, c):
            i, f, o, g = (self.ih(x) + self.hh(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([self.Cell(N, K), self.Cell(K, K)])

    def forward(self, x):
        h = [torch.zeros(x.shape[1], K) for _ in self.layers]
        c = [torch.zeros(x.shape[1], K) for _ in self.layers]
        out = []
        for x_t in x:
            y = x_t
            for k, layer in enumerate(self.layers):
                h[k], c[k] = layer(y, h[k], c[k])
                y = h[k]
            out.append(y)
        return torch.stack(out)


class DeepSharesState(DeepWithCells):
    """One c for both layers."""

    def forward(self, x):
        h = [torch.zeros(x.shape[1], K) for _ in self.layers]
        c = torch.zeros(x.shape[1], K)
        out = []
        for x_t in x:
            y = x_t
            for k, layer in enumerate(self.layers):
                h[k], c = layer(y, h[k], c)
                y = h[k]
            out.append(y)
        return torch.stack(out)


class RightMany(nn.Module):
    """Many to one, the last hidden state from h_n."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(N, K, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * K, 3)

    def forward(self, x):
        _, h = self.gru(x)
        return self.linear(torch.cat([h[-2], h[-1]], dim=1))


class ManyLastStep(RightMany):
    def forward(self, x):
        out, _ = self.gru(x)
        return self.linear(out[:, -1, :])


class BackwardOnly:
    """A NumPy class whose forward stores states and whose step has a name of its own."""

    def __init__(self):
        self.U = np.random.randn(K, N)
        self.W = np.random.randn(K, K)
        self.V = np.random.randn(3, K)

    def forward(self, x):
        T = len(x)
        s = np.zeros((T + 1, K))
        o = np.zeros((T, 3))
        for t in range(T):
            s[t] = np.tanh(self.U.dot(x[t]) + self.W.dot(s[t - 1]))
            o[t] = self.V.dot(s[t])
        return o, s[:-1]


class FlaxStyle:
    """Dicts of kernels by gate, as flax has them, rows x (B, I)."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.params = {
            k: {"kernel": rng.standard_normal((N if k[0] == "i" else K, K))}
            for k in ("ii", "if", "ig", "io", "hi", "hf", "hg", "ho")
        }
        for k in ("hi", "hf", "hg", "ho"):
            self.params[k]["bias"] = rng.standard_normal(K)

    def __call__(self, x, state):
        h, c = state
        p = self.params
        d = lambda k, v: v @ p[k]["kernel"] + p[k].get("bias", 0)  # noqa: E731
        s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        i, f, o = (s(d("i" + g, x) + d("h" + g, h)) for g in "ifo")
        g = np.tanh(d("ig", x) + d("hg", h))
        c = f * c + i * g
        h = o * np.tanh(c)
        return h, (h, c)


class KerasStyle:
    """kernel (I, 4H), recurrent_kernel (H, 4H), bias; gates i, f, c, o; recurrent dropout none."""

    def __init__(self):
        self.units = K
        self.kernel = torch.randn(N, 4 * K)
        self.recurrent_kernel = torch.randn(K, 4 * K)
        self.bias = torch.randn(4 * K)

    def __call__(self, inputs, initial_state):
        h, c = initial_state
        out = []
        for t in range(inputs.shape[1]):
            z = inputs[:, t] @ self.kernel + h @ self.recurrent_kernel + self.bias
            z0, z1, z2, z3 = (z[:, k * K : (k + 1) * K] for k in range(4))
            c = self.hard(z1) * c + self.hard(z0) * torch.tanh(z2)
            h = self.hard(z3) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1), h, c

    def hard(self, z):
        return torch.sigmoid(z)


class KerasHard(KerasStyle):
    def hard(self, z):
        return torch.clamp(0.2 * z + 0.5, 0, 1)


class KerasGRU:
    """Keras's GRU with reset_after=False: z, r, h; the reset gate before the product."""

    def __init__(self):
        self.units = K
        self.kernel = torch.randn(N, 3 * K)
        self.recurrent_kernel = torch.randn(K, 3 * K)
        self.bias = torch.randn(3 * K)

    def __call__(self, inputs, h):
        out = []
        Wz, Wr, Wh = self.kernel.chunk(3, 1)
        Uz, Ur, Uh = self.recurrent_kernel.chunk(3, 1)
        bz, br, bh = self.bias.chunk(3)
        for t in range(inputs.shape[1]):
            x = inputs[:, t]
            z = torch.sigmoid(x @ Wz + h @ Uz + bz)
            r = torch.sigmoid(x @ Wr + h @ Ur + br)
            hh = torch.tanh(x @ Wh + (r * h) @ Uh + bh)
            h = z * h + (1 - z) * hh
            out.append(h)
        return torch.stack(out, 1), h


class Unbatched(nn.Module):
    """One sequence (T, I), vectors; every output through a list."""

    def __init__(self):
        super().__init__()
        self.wx = nn.Linear(N, K)
        self.wh = nn.Linear(K, K, bias=False)
        self.hidden_size = K

    def forward(self, x, h):
        ys = []
        for i in range(x.shape[0]):
            h = F.relu(self.wx(x[i]) + self.wh(h))
            ys.append(h)
        return torch.stack(ys, dim=0), h


class MinimalGated(nn.Module):
    """Column vectors W @ x + b for a whole batch by einsum, weights in a dict."""

    def __init__(self):
        super().__init__()
        self.p = nn.ParameterDict(
            {f"w_{a}{g}": nn.Parameter(torch.randn(K, N if a == "x" else K) / math.sqrt(K))
             for g in "rzn" for a in "xh"}
            | {f"b_{g}": nn.Parameter(torch.randn(K)) for g in "rzn"}
        )  # fmt: skip

    def forward(self, x, h):
        p = self.p
        lin = lambda g, v: torch.einsum("bi,hi->bh", x, p["w_x" + g]) + v @ p["w_h" + g].T  # noqa: E731
        r = torch.sigmoid(lin("r", h) + p["b_r"])
        z = torch.sigmoid(lin("z", h) + p["b_z"])
        n = torch.tanh(x @ p["w_xn"].T + r * (h @ p["w_hn"].T) + p["b_n"])
        return self.out(z, n, h)

    def out(self, z, n, h):
        return (1 - z) * n + z * h


class MinimalGatedInverted(MinimalGated):
    def out(self, z, n, h):
        return (1 - z) * h + z * n


class OutputsShort(nn.Module):
    """range(T − 1)."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(N, K)

    def forward(self, x, h0):
        h, ys = h0[0], []
        for t in range(x.size(0) - 1):
            h = self.cell(x[t], h)
            ys.append(h)
        return torch.stack(ys), h.unsqueeze(0)


class OutputsLong(OutputsShort):
    def forward(self, x, h0):
        ys = [h0[0]]
        for t in range(x.size(0)):
            ys.append(self.cell(x[t], ys[-1]))
        return torch.stack(ys), ys[-1].unsqueeze(0)


class OutputsLate(OutputsShort):
    def forward(self, x, h0):
        h, ys = h0[0], []
        for t in range(x.size(0)):
            ys.append(h)
            h = self.cell(x[t], h)
        return torch.stack(ys), h.unsqueeze(0)


class LastOfBatch(nn.Module):
    """Batch first, and output[-1]: the last sequence in place of the last step."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(N, K)
        self.fc = nn.Linear(K, 2)

    def forward(self, x):
        x = x.view(len(x), -1, N)
        out, _ = self.lstm(x)
        return self.fc(out[-1])


class SumDirections(nn.Module):
    def __init__(self):
        super().__init__()
        self.forward_cell, self.backward_cell = nn.LSTMCell(N, K), nn.LSTMCell(N, K)

    def forward(self, x):
        B = x.shape[1]
        h, c = torch.zeros(B, K), torch.zeros(B, K)
        hb, cb = torch.zeros(B, K), torch.zeros(B, K)
        f, b = [], []
        for x_t in x:
            h, c = self.forward_cell(x_t, (h, c))
            f.append(h)
        for x_t in torch.flip(x, [0]):
            hb, cb = self.backward_cell(x_t, (hb, cb))
            b.append(hb)
        return torch.stack(f) + torch.flip(torch.stack(b), [0])


def rnn_forward(x, a0, parameters):
    """A course's shapes turned to rows: a0 forgotten after the first step."""
    a, ys = a0, []
    for t in range(x.shape[0]):
        a = torch.tanh(
            x[t] @ parameters["weight_ih_l0"].T + a0 @ parameters["weight_hh_l0"].T
            + parameters["bias_ih_l0"] + parameters["bias_hh_l0"]
        )  # fmt: skip
        ys.append(a)
    return torch.stack(ys).reshape(len(x), -1, a0.shape[-1]), a


def gru_cell(x, h, w):
    """A cell as a function, no kind given."""
    gi = F.linear(x, w["weight_ih_l0"], w["bias_ih_l0"])
    gh = F.linear(h, w["weight_hh_l0"], w["bias_hh_l0"])
    i_r, i_i, i_n = gi.chunk(3, 1)
    h_r, h_i, h_n = gh.chunk(3, 1)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_i + h_i)
    n = torch.tanh(i_n + r * h_n)
    return n + z * (h - n)


def lstm_args(x, h0, c0, w_ih, w_hh, b_ih, b_hh):
    """Weights one by one."""
    h, c, ys = h0[0], c0[0], []
    for x_t in x:
        i, f, g, o = (F.linear(x_t, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys), (h[None], c[None])


class ScriptedStyle(nn.Module):
    """A cell with torch's names of weights, input and forget gate exchanged."""

    def __init__(self):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * K, N))
        self.weight_hh = nn.Parameter(torch.randn(4 * K, K))
        self.bias_ih = nn.Parameter(torch.randn(4 * K))
        self.bias_hh = nn.Parameter(torch.randn(4 * K))

    def forward(self, x, state):
        hx, cx = state
        gates = x @ self.weight_ih.t() + self.bias_ih + hx @ self.weight_hh.t() + self.bias_hh
        f, i, g, o = gates.chunk(4, 1)
        cy = torch.sigmoid(f) * cx + torch.sigmoid(i) * torch.tanh(g)
        hy = torch.sigmoid(o) * torch.tanh(cy)
        return hy, (hy, cy)


class ListsOfLinears(nn.Module):
    """Linear layers by kind in two ModuleLists, time outside."""

    def __init__(self, n_layers=2):
        super().__init__()
        self.i2h = nn.ModuleList([nn.Linear(K if k else N, K) for k in range(n_layers)])
        self.h2h = nn.ModuleList([nn.Linear(K, K, bias=False) for _ in range(n_layers)])

    def forward(self, x, h):
        h, ys = list(h.unbind(0)), []
        for below in x:
            for k, (own, recurrent) in enumerate(zip(self.i2h, self.h2h, strict=True)):
                h[k] = torch.tanh(own(h[k - 1] if k else below) + recurrent(h[k]))
            ys.append(h[-1])
        return torch.stack(ys), torch.stack(h)
