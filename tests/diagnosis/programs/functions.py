"""Functions, NumPy classes and hand-made gradients as people write and post them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

N, K = 3, 5  # input and hidden size


def _one(weights):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [weights[name] for name in names]


def unrolled_three(x, state, weights):
    """Written out for three steps, right."""
    W, U, b, c = _one(weights)
    h1 = torch.tanh(x[0] @ W.T + state[0][0] @ U.T + b + c)
    h2 = torch.tanh(x[1] @ W.T + h1 @ U.T + b + c)
    h3 = torch.tanh(x[2] @ W.T + h2 @ U.T + b + c)
    return torch.stack([h1, h2, h3]), h3[None]


def unrolled_three_wrong(x, state, weights):
    """Written out for three steps, without the second bias."""
    W, U, b, _ = _one(weights)
    h1 = torch.tanh(x[0] @ W.T + state[0][0] @ U.T + b)
    h2 = torch.tanh(x[1] @ W.T + h1 @ U.T + b)
    h3 = torch.tanh(x[2] @ W.T + h2 @ U.T + b)
    return torch.stack([h1, h2, h3]), h3[None]


def unrolled_gradient_three(x, state, weights):
    """Three steps by hand, each factor carried through U on its own."""
    W, U, b, c = _one(weights)
    h0 = state[0][0]
    h1 = torch.tanh(x[0] @ W.T + h0 @ U.T + b + c)
    h2 = torch.tanh(x[1] @ W.T + h1 @ U.T + b + c)
    h3 = torch.tanh(x[2] @ W.T + h2 @ U.T + b + c)
    s1, s2, s3 = 1 - h1**2, 1 - h2**2, 1 - h3**2
    d3 = s3
    d2 = (s3 @ U) * s2
    d1 = (s3 @ U) * (s2 @ U) * s1
    return {"weight_ih_l0": d3.T @ x[2] + d2.T @ x[1] + d1.T @ x[0]}


def state_alone(x, h0, weights):
    """An RNN's state as a tensor (B, H), not a tuple."""
    W, U, b, c = _one(weights)
    h, ys = h0, []
    B, H = h0.shape
    for x_t in x:
        h = torch.tanh(F.linear(x_t, W, b) + F.linear(h, U, c))
        assert h.shape == (B, H)
        ys.append(h)
    return torch.stack(ys), h


def state_alone_transposed(x, h0, weights):
    W, U, b, c = _one(weights)
    h, ys = h0.reshape(h0.shape[-2:]), []
    for x_t in x:
        h = torch.tanh(F.linear(x_t, W, b) + h @ U + c)
        ys.append(h)
    return torch.stack(ys), h


def backward_raises(x, state, weights):
    """In place on what the backward pass needs, and the wrong nonlinearity before that."""
    W, U, b, _ = _one(weights)
    h = state[0][0].clone()
    ys = []
    for x_t in x:
        z = F.linear(x_t, W, b) + F.linear(h, U)
        h = torch.tanh(z)
        ys.append(h.clone())
        h.mul_(1.0)
    return torch.stack(ys), h[None]


def no_grad_forward(x, state, weights):
    """A GRU without any graph, the update gate inverted."""
    with torch.no_grad():
        W, U, b, c = _one(weights)
        h, ys = state[0][0], []
        for x_t in x:
            xr, xz, xn = F.linear(x_t, W, b).chunk(3, 1)
            hr, hz, hn = F.linear(h, U, c).chunk(3, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            h = z * torch.tanh(xn + r * hn) + (1 - z) * h
            ys.append(h)
        return torch.stack(ys), h[None]


def lstm_float16(x, state, weights):
    """Two layers, pre-activations rounded to float16."""
    hs, cs = [], []
    for k in range(2):
        W, U, b, d = (
            weights[f"{n}_l{k}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, c, ys = state[0][k], state[1][k], []
        for x_t in x:
            z = (F.linear(x_t, W, b) + F.linear(h, U, d)).half().float()
            i, f, g, o = z.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            ys.append(h)
        x = torch.stack(ys)
        hs.append(h)
        cs.append(c)
    return x, (torch.stack(hs), torch.stack(cs))


def h_c_returned_exchanged(x, state, weights):
    W, U, b, d = _one(weights)
    h, c, ys = state[0][0], state[1][0], []
    for x_t in x:
        i, f, g, o = (F.linear(x_t, W, b) + F.linear(h, U, d)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        ys.append(h)
    return torch.stack(ys), (c[None], h[None])


class NumpyRNN:
    """Column vectors, x_t (I, 1), as in the hundred-line character models."""

    def __init__(self, hidden_size=K, vocab=N):
        self.hidden_size = hidden_size
        self.Wxh = np.random.randn(hidden_size, vocab) * 0.01
        self.Whh = np.random.randn(hidden_size, hidden_size) * 0.01
        self.Why = np.random.randn(vocab, hidden_size) * 0.01
        self.bh = np.zeros((hidden_size, 1))
        self.by = np.zeros((vocab, 1))

    def __call__(self, x, h):
        h = self.act(self.Wxh @ x + self.Whh @ h + self.bh)
        return self.Why @ h + self.by, h

    def act(self, z):
        return np.tanh(z)


class NumpyRNNRelu(NumpyRNN):
    def act(self, z):
        return np.maximum(z, 0)


class NumpyRows:
    """Rows, x (B, T, D), weights (D, H): the style of a course's assignment."""

    def __init__(self, D=N, H=K):
        self.Wx, self.Wh = np.random.randn(D, H), np.random.randn(H, H)
        self.b = np.random.randn(H)

    def __call__(self, x, h0):
        n, t, _ = x.shape
        h = np.zeros((n, t, self.b.size))
        prev = h0
        for k in range(t):
            prev = self.step(x[:, k], prev)
            h[:, k] = prev
        return h

    def step(self, x, h):
        return np.tanh(x @ self.Wx + h @ self.Wh + self.b)


class NumpyRowsWrong(NumpyRows):
    def step(self, x, h):
        return np.tanh(x @ self.Wx + h @ self.Wh.T + self.b)


def assignment_function(x, h0, Wx, Wh, b):
    """Weights as arguments: x (N, T, D), Wx (D, H)."""
    h, out = h0, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ Wx + h @ Wh + b)
        out.append(h)
    return np.stack(out, axis=1)


def assignment_function_torch(x, h0, w_ih, w_hh, b_ih, b_hh):
    """Weights as arguments, in torch's shapes; h0 forgotten."""
    h, out = torch.zeros_like(h0), []
    h = h.reshape(h.shape[-2:])
    for x_t in x:
        h = torch.tanh(F.linear(x_t, w_ih, b_ih) + F.linear(h, w_hh, b_hh))
        out.append(h)
    return torch.stack(out), h


def _run(x, state, weights):
    W, U, b, c = _one(weights)
    hs = [state[0][0]]
    for x_t in x:
        hs.append(torch.tanh(F.linear(x_t, W, b) + F.linear(hs[-1], U, c)))
    return W, U, hs


def bptt(x, state, weights, upstream, slip=None):
    """An RNN's backward pass by hand, with a slip or none."""
    W, U, hs = _run(x, state, weights)
    dW, dU, db = torch.zeros_like(W), torch.zeros_like(U), torch.zeros(len(U))
    dh_next = upstream["h_n"][0]
    dx = torch.zeros_like(x)
    for t in reversed(range(len(x))):
        dh = dh_next if slip == "no_output" else dh_next + upstream["output"][t]
        dz = dh if slip == "no_derivative" else dh * (1 - hs[t + 1] ** 2)
        if slip == "twice":
            dz = dh * (1 - torch.tanh(hs[t + 1]) ** 2)
        if slip == "last_only" and t < len(x) - 1:
            pass
        else:
            dW += dz.T @ x[t]
            dU += dz.T @ (hs[t + 1] if slip == "new_h" else hs[t])
            db += dz.sum(0)
        dx[t] = dz @ W
        dh_next = dz @ (U.T if slip == "transposed" else U)
    k = 0.5 if slip == "half" else 1.0
    return {
        "weight_ih_l0": k * dW, "weight_hh_l0": k * dU, "bias_ih_l0": k * db,
        "bias_hh_l0": k * db, "x": dx, "h0": dh_next,
    }  # fmt: skip


def slipped(slip):
    def gradient(x, state, weights, upstream):
        return bptt(x, state, weights, upstream, slip)

    gradient.__name__ = f"bptt_{slip}"
    return gradient


class _LSTMStep(torch.autograd.Function):
    """An LSTM step differentiated by hand; df takes the new cell state where slip is set."""

    @staticmethod
    def forward(ctx, z, c, slip):
        i, f, g, o = z.chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        new = f * c + i * g
        ctx.save_for_backward(i, f, g, o, c, new)
        ctx.slip = slip
        return o * new.tanh(), new

    @staticmethod
    def backward(ctx, dh, dc):
        i, f, g, o, c, new = ctx.saved_tensors
        squashed = new.tanh()
        dc = dc + dh * o * (1 - squashed**2)
        df = dc * (new if ctx.slip == "new_c" else c)
        dz = torch.cat(
            [
                dc * g * i * (1 - i),
                df * f * (1 - f),
                dc * i * (1 - g**2),
                dh * squashed * o * (1 - o),
            ],
            1,
        )
        return dz, dc if ctx.slip == "no_forget" else dc * f, None


def lstm_by_hand(slip):
    def run(x, state, weights):
        W, U, b, d = _one(weights)
        h, c, ys = state[0][0], state[1][0], []
        for x_t in x:
            h, c = _LSTMStep.apply(F.linear(x_t, W, b) + F.linear(h, U, d), c, slip)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])

    run.__name__ = f"lstm_by_hand_{slip}"
    return run


def gru_reset_detached(x, state, weights):
    W, U, b, c = _one(weights)
    h, ys = state[0][0], []
    for x_t in x:
        xr, xz, xn = F.linear(x_t, W, b).chunk(3, 1)
        hr, hz, hn = F.linear(h, U, c).chunk(3, 1)
        r, z = torch.sigmoid(xr + hr).detach(), torch.sigmoid(xz + hz)
        h = (1 - z) * torch.tanh(xn + r * hn) + z * h
        ys.append(h)
    return torch.stack(ys), h[None]


def aliased_function(x, state, weights):
    """The output tensor's rows all are the last state."""
    W, U, b, c = _one(weights)
    h, ys = state[0][0], []
    for x_t in x:
        h = torch.tanh(F.linear(x_t, W, b) + F.linear(h, U, c))
        ys.append(h)
    return torch.stack([ys[-1]] * len(ys)), h[None]


def first_step_only(x, state, weights):
    """Every step is computed from the initial state, and only the last is kept."""
    W, U, b, c = _one(weights)
    h = torch.tanh(F.linear(x[-1], W, b) + F.linear(state[0][0], U, c))
    return h[None].expand(len(x), -1, -1), h[None]


def slices(x, state, gates):
    """One fused matrix of [x, h] handed to a function."""
    h, c, ys = state[0][0], state[1][0], []
    for x_t in x:
        z = torch.cat([x_t, h], 1) @ gates["W"].T + gates["b"]
        i, f, g, o = z.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        ys.append(h)
    return torch.stack(ys), (h[None], c[None])


def stacked(x, state, weights):
    """Lists of weights by layer under names of the function's own; one bias, none for the input."""
    hs = []
    for k in range(2):
        h, ys = state[0][k], []
        for x_t in x:
            h = torch.tanh(x_t @ weights["w_ih"][k].T + h @ weights["w_hh"][k].T + weights["b"][k])
            ys.append(h)
        hs.append(h)
        x = torch.stack(ys)
    return x, torch.stack(hs)


def extra_constant(x, state, weights):
    """A slip that no catalogue has: 1.7 times the input product."""
    W, U, b, c = _one(weights)
    h, ys = state[0][0], []
    for x_t in x:
        h = torch.tanh(1.7 * F.linear(x_t, W, b) + F.linear(h, U, c))
        ys.append(h)
    return torch.stack(ys), h[None]


def gradient_third(x, state, weights, upstream):
    return {n: g / 3.7 for n, g in bptt(x, state, weights, upstream).items()}
