"""Right implementations in the styles that people write, made by combining them.

Each builder gives (candidate, arguments of `rnnbench.diagnose`). Nothing here is copied from the
package: the cells are written out again, in several ways.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

import rnnbench
from rnnbench import Spec
from rnnbench.parity.oracle import oracle
from rnnbench.spec import CELLS

I, H = 3, 4  # noqa: E741
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}

# One product W x + b for a batch of rows, in four ways.
PRODUCTS: dict[str, Callable[..., torch.Tensor]] = {
    "matmul": lambda x, W, b: x @ W.T + (0 if b is None else b),
    "linear": nn.functional.linear,
    "einsum": lambda x, W, b: torch.einsum("bi,gi->bg", x, W) + (0 if b is None else b),
    "columns": lambda x, W, b: torch.addmm(W.new_zeros(len(W)) if b is None else b, x, W.T),
}


def _fused(cell, a, u, h, c):
    """All gates cut from one block."""
    if cell == "rnn_tanh":
        return torch.tanh(a + u), c
    if cell == "rnn_relu":
        return torch.relu(a + u), c
    if cell == "gru":
        r, z = torch.sigmoid(a[:, : 2 * H] + u[:, : 2 * H]).chunk(2, 1)
        n = torch.tanh(a[:, 2 * H :] + r * u[:, 2 * H :])
        return n + z * (h - n), c
    i, f, g, o = (a + u).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _by_gate(cell, a, u, h, c):
    """Each gate on its own, other names for the same functions."""
    a = [a[:, k * H : (k + 1) * H] for k in range(GATES[cell])]
    u = [u[:, k * H : (k + 1) * H] for k in range(GATES[cell])]
    logistic = lambda z: 1 / (1 + torch.exp(-z))  # noqa: E731
    if cell == "rnn_tanh":
        return a[0].add(u[0]).tanh(), c
    if cell == "rnn_relu":
        return (a[0] + u[0]).clamp(min=0), c
    if cell == "gru":
        r, z = logistic(a[0] + u[0]), logistic(a[1] + u[1])
        n = torch.tanh(a[2] + r * u[2])
        return (1 - z) * n + z * h, c
    i, f, o = (logistic(a[k] + u[k]) for k in (0, 1, 3))
    c = f * c + i * torch.tanh(a[2] + u[2])
    return o * torch.tanh(c), c


STEPS = {"fused": _fused, "by gate": _by_gate}


def _states(state, k):
    return state[0][k], state[1][k] if len(state) > 1 else None


def _final(hs, cs):
    return (torch.stack(hs),) if cs[0] is None else (torch.stack(hs), torch.stack(cs))


def layer_outside(cell, product, step, reverse):
    """Layer, direction, time; the input projected step by step or for the whole sequence."""

    def run(x, state, weights):
        hs, cs = [], []
        directions = 2 if "weight_ih_l0_reverse" in weights else 1
        for layer in range(len(state[0]) // directions):
            halves = []
            for d in range(directions):
                w = _named(weights, layer, d)
                h, c = _states(state, layer * directions + d)
                turned = x.flip(0) if d and reverse == "flip" else x
                order = range(len(x)) if not d or reverse == "flip" else range(len(x) - 1, -1, -1)
                ys = [None] * len(x)
                for t in order:
                    a = product(turned[t], w["weight_ih"], w.get("bias_ih"))
                    u = product(h, w["weight_hh"], w.get("bias_hh"))
                    h, c = step(cell, a, u, h, c)
                    ys[t] = h
                y = torch.stack(ys)
                halves.append(y.flip(0) if d and reverse == "flip" else y)
                hs.append(h)
                cs.append(c)
            x = torch.cat(halves, -1)
        return x, _final(hs, cs)

    return run


def time_outside(cell, product, step, _reverse):
    """Legal in one direction: every layer advances one step before time does."""

    def run(x, state, weights):
        L = len(state[0])
        hs, cs = map(list, zip(*(_states(state, k) for k in range(L)), strict=True))
        y = x.new_empty(*x.shape[:2], H)
        for t in range(len(x)):
            below = x[t]
            for k in range(L):
                w = _named(weights, k, 0)
                a = product(below, w["weight_ih"], w.get("bias_ih"))
                u = product(hs[k], w["weight_hh"], w.get("bias_hh"))
                hs[k], cs[k] = step(cell, a, u, hs[k], cs[k])
                below = hs[k]
            y[t] = below
        return y, _final(hs, cs)

    return run


def _named(weights, layer, d):
    end = f"_l{layer}" + ("_reverse" if d else "")
    return {name.removesuffix(end): w for name, w in weights.items() if name.endswith(end)}


def functions():
    """Loop order × product × gates × cell, bias and reversal alternating."""
    grid = itertools.product(CELLS, (layer_outside, time_outside), PRODUCTS, STEPS)
    for n, (cell, order, product, step) in enumerate(grid):
        D = 1 if order is time_outside else 1 + (n % 3 > 0)
        spec = Spec(cell, I, H, 2, D, bias=n % 5 > 0, dtype=("float32", "float64")[n % 7 == 0])
        reverse = "flip" if n % 2 else "index"
        f = order(cell, PRODUCTS[product], STEPS[step], reverse)
        yield f"{cell}-{order.__name__}-{product}-{step}".replace(" ", "_"), f, {"spec": spec}


class OwnStorage(nn.Module):
    """One layer, its weights stored in a way of its own: kernel (I, G·H), recurrent (H, G·H)."""

    def __init__(self, cell, order, interleaved, transposed, one_bias, registered=True):
        super().__init__()
        self.cell, self.order = cell, order
        self.interleaved, self.transposed = interleaved, transposed
        G = GATES[cell]
        wrap = nn.Parameter if registered else (lambda tensor: tensor)
        shapes = {"W": (G * H, I), "U": (G * H, H)}
        held = {k: torch.randn(s[::-1] if transposed else s) for k, s in shapes.items()}
        self.W, self.U = wrap(held["W"]), wrap(held["U"])
        self.b = wrap(torch.randn(G * H))
        if not one_bias:
            self.b_h = wrap(torch.randn(G * H))
        self.batch_first = True

    def _gates(self, z):
        """Blocks in torch's order, as `_fused` wants them."""
        torchs = {"gru": "rzn", "lstm": "ifgo"}.get(self.cell, "h")
        G = len(torchs)
        parts = z.reshape(len(z), H, G).unbind(2) if self.interleaved else z.chunk(G, 1)
        return torch.cat([parts[self.order.index(gate)] for gate in torchs], 1)

    def forward(self, x, hx):
        state = hx if isinstance(hx, tuple) else (hx,)
        h, c = _states(state, 0)
        ys = []
        W, U = (self.W, self.U) if self.transposed else (self.W.T, self.U.T)
        for t in range(x.shape[1]):
            a = self._gates(x[:, t] @ W + self.b)
            u = self._gates(h @ U + getattr(self, "b_h", 0.0))
            h, c = _fused(self.cell, a, u, h, c)
            ys.append(h)
        final = _final([h], [c])
        return torch.stack(ys, 1), final if len(final) > 1 else final[0]


def storages():
    """Own names, so that the storage is recognised."""
    chosen = [
        ("rnn_tanh", "h", False, True, False), ("rnn_tanh", "h", False, False, True),
        ("rnn_relu", "h", False, True, True),
        ("gru", "rzn", False, True, False), ("gru", "zrn", False, False, False),
        ("gru", "zrn", True, True, False), ("gru", "rzn", True, False, False),
        ("lstm", "ifgo", False, True, True), ("lstm", "ifog", False, False, False),
        ("lstm", "iofg", True, True, False), ("lstm", "igfo", False, True, False),
        ("lstm", "figo", True, False, True),
    ]  # fmt: skip
    for cell, order, interleaved, transposed, one_bias in chosen:
        name = f"storage-{cell}-{order}" + "-interleaved" * interleaved
        name += "-transposed" * transposed + "-one_bias" * one_bias
        net = OwnStorage(cell, order, interleaved, transposed, one_bias)
        yield name, net, {"spec": Spec(cell, I, H)}


class Cells(nn.Module):
    """nn.RNNCell and its kin, looped; directions in two lists."""

    def __init__(self, cell, layers, directions, order):
        super().__init__()
        make = {"rnn_tanh": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell]
        sizes = [I, *[directions * H] * (layers - 1)]
        self.lstm, self.order = cell == "lstm", order
        self.forward_cells = nn.ModuleList(make(size, H) for size in sizes)
        if directions == 2:
            self.backward_cells = nn.ModuleList(make(size, H) for size in sizes)

    def forward(self, x, hx):
        state = hx if isinstance(hx, tuple) else (hx,)
        lists = [self.forward_cells, getattr(self, "backward_cells", None)]
        lists = [cells for cells in lists if cells is not None]
        finals = []
        for layer in range(len(self.forward_cells)):
            halves = []
            for d, cells in enumerate(lists):
                now = tuple(part[layer * len(lists) + d] for part in state)
                ys = []
                for x_t in x.flip(0) if d else x:
                    new = cells[layer](x_t, now if self.lstm else now[0])
                    now = new if self.lstm else (new,)
                    ys.append(now[0])
                halves.append(torch.stack(ys[::-1] if d else ys))
                finals.append(now)
            x = torch.cat(halves, 2)
        final = tuple(torch.stack(part) for part in zip(*finals, strict=True))
        return x, final if self.lstm else final[0]


class Wrapped(nn.Module):
    """torch's module inside another, with a method of its own and a head that is not asked for."""

    def __init__(self):
        super().__init__()
        self.core = nn.LSTM(I, H, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, 7)

    def forward(self, x, hx=None):
        return self.core(x, hx)


class ListsOfTensors:
    """No module at all; weights in nested plain lists, [direction][layer], states (D, L, B, H)."""

    def __init__(self):
        self.W = [[torch.randn(H, n) for n in (I, 2 * H)] for _ in range(2)]
        self.U = [[torch.randn(H, H) for _ in range(2)] for _ in range(2)]

    def __call__(self, x, h0):
        h0.shape[3]
        final = [[None, None], [None, None]]
        for layer in range(2):
            halves = []
            for d in range(2):
                h, ys = h0[d][layer], []
                for x_t in x.flip(0) if d else x:
                    h = torch.tanh(x_t @ self.W[d][layer].T + h @ self.U[d][layer].T)
                    ys.append(h)
                halves.append(torch.stack(ys[::-1] if d else ys))
                final[d][layer] = h
            x = torch.cat(halves, 2)
        return x, torch.stack([torch.stack(part) for part in final])


class GateByGate(nn.Module):
    """A GRU of six Linear layers, without initial state."""

    def __init__(self):
        super().__init__()
        for gate in "rzn":
            setattr(self, f"x_{gate}", nn.Linear(I, H))
            setattr(self, f"h_{gate}", nn.Linear(H, H))

    def forward(self, x):
        h, ys = x.new_zeros(x.shape[1], H), []
        for x_t in x:
            r = torch.sigmoid(self.x_r(x_t) + self.h_r(h))
            z = torch.sigmoid(self.x_z(x_t) + self.h_z(h))
            h = (1 - z) * torch.tanh(self.x_n(x_t) + r * self.h_n(h)) + z * h
            ys.append(h)
        return torch.stack(ys)

    mapping = {  # noqa: RUF012
        f"{kind}_{side}_l0": [f"{axis}_{gate}.{kind}" for gate in "rzn"]
        for kind in ("weight", "bias")
        for side, axis in (("ih", "x"), ("hh", "h"))
    }


def numpy_lstm(x, state, weights):
    """Forward only, in NumPy."""
    h, c = state[0][0], state[1][0]
    ys = []
    for x_t in x:
        z = np.dot(x_t, weights["weight_ih_l0"].T) + weights["bias_ih_l0"]
        z = z + np.dot(h, weights["weight_hh_l0"].T) + weights["bias_hh_l0"]
        i, f, g, o = np.split(z, 4, axis=1)
        s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        c = s(f) * c + s(i) * np.tanh(g)
        h = s(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys), (h[None], c[None])


def unbatched_rnn(x, state, weights):
    """One sequence, vectors on the right: W @ x."""
    h, ys = state[0][0], []
    assert x.dim() == 2
    for x_t in x:
        h = torch.tanh(
            weights["weight_ih_l0"] @ x_t + weights["bias_ih_l0"]
            + weights["weight_hh_l0"] @ h + weights["bias_hh_l0"]
        )  # fmt: skip
        ys.append(h)
    return torch.stack(ys), (h[None],)


def batch_first_gru(x, state, weights):
    """(B, T, I) in and out, by torch's own kernel."""
    flat = [weights[p] for p in weights]
    y, h = torch._VF.gru(x.contiguous(), state[0], flat, True, 1, 0.0, False, False, True)
    return y, h


def cell_function(x_t, state, weights):
    """One step of an LSTM as a function."""
    h, c = state
    z = nn.functional.linear(x_t, weights["weight_ih_l0"], weights["bias_ih_l0"])
    z = z + nn.functional.linear(h, weights["weight_hh_l0"], weights["bias_hh_l0"])
    return _fused("lstm", z, torch.zeros_like(z), h, c)


def hand_made_gradients(x, state, weights):
    """BPTT of a GRU by hand, of the sum of the final state: the float64 oracle's, rounded."""
    names, spec = list(weights), Spec("gru", I, H)
    wide = {n: w.double().numpy() for n, w in weights.items()}
    up = {"output": np.zeros((*x.shape[:2], H)), "h_n": np.ones((1, x.shape[1], H))}
    found = oracle(spec, x.double().numpy(), [state[0].double().numpy()], wide, upstream=up)
    return {n: torch.tensor(found[f"grad_{n}"], dtype=x.dtype) for n in (*names, "x", "h0")}


def others():
    """Modules and functions that are one of a kind."""
    for cell, cls in (("RNN", "RNN"), ("GRU", "GRU"), ("LSTM", "LSTM")):
        yield f"torch-{cell}", getattr(nn, cls)(I, H, 2, bidirectional=True), {}
        yield f"ours-{cell}", getattr(rnnbench, cls)(I, H, batch_first=True, backend="numba"), {}
    yield "torch-relu", nn.RNN(I, H, nonlinearity="relu", batch_first=True), {}
    yield "torch-projected", nn.LSTM(I, H, proj_size=2, bidirectional=True).double(), {}
    for cell, D in (("rnn_tanh", 2), ("gru", 2), ("lstm", 1), ("lstm", 2)):
        yield f"cells-{cell}-D{D}", Cells(cell, 2, D, "layer"), {"spec": Spec(cell, I, H, 2, D)}
    yield "cell-RNNCell", nn.RNNCell(I, H, nonlinearity="relu"), {}
    yield "cell-LSTMCell", nn.LSTMCell(I, H).double(), {}
    yield "cell-GRUCell", nn.GRUCell(I, H, bias=False), {}
    yield "cell-function", cell_function, {"spec": Spec("lstm", I, H), "kind": "cell"}
    yield "wrapped", Wrapped(), {"spec": Spec("lstm", I, H, 2, 2)}
    lists = ListsOfTensors()
    yield "lists", lists, {"spec": Spec("rnn_tanh", I, H, 2, 2, bias=False)}
    yield "gates", GateByGate(), {"spec": Spec("gru", I, H), "mapping": GateByGate.mapping}
    yield "numpy", numpy_lstm, {"spec": Spec("lstm", I, H)}
    yield "unbatched", unbatched_rnn, {"spec": Spec("rnn_tanh", I, H)}
    yield "batch-first", batch_first_gru, {"spec": Spec("gru", I, H)}
    spec = replace(Spec("gru", I, H), dtype="float32")
    yield "gradients", hand_made_gradients, {"spec": spec, "kind": "gradient"}


def everything() -> list[tuple[str, Any, dict[str, Any]]]:
    """Every style: a name, the candidate, how it is asked."""
    torch.manual_seed(0)
    return [*functions(), *storages(), *others()]
