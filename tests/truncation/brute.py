"""What the windows' gradients are, by autograd: one window after the other, or all as one batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS = {
    "rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
}


def network(cell, I, H, seed=0, dtype=torch.float64, **options):  # noqa: E741
    kind, own = CELLS[cell]
    torch.manual_seed(seed)
    return kind(I, H, **own, **options).to(dtype)


def state_of(module, *batch):
    """A random state for a module, as it takes it; ``batch`` is (B,), or () for unbatched."""
    depth = module.num_layers
    dtype = module.weight_ih_l0.dtype
    h = torch.randn(depth, *batch, module.proj_size or module.hidden_size, dtype=dtype)
    c = torch.randn(depth, *batch, module.hidden_size, dtype=dtype)
    return (h, c) if module.mode == "LSTM" else h


def parts(state):
    return [state] if isinstance(state, Tensor) else list(state)


def as_given(state):
    return state[0] if len(state) == 1 else tuple(state)


def states_before(module, x, state):
    """The states of all layers before each step: T lists of detached tensors."""
    found = []
    with torch.no_grad():
        for x_t in x:
            found.append(parts(state))
            _, state = module(x_t[None], state)
    return found


def one_by_one(module, x, state, dy, steps, k):
    """Σ over windows of the gradients of ⟨dy_t, y_t⟩: of x, then of every weight."""
    before = states_before(module, x, state)
    x = x.detach().requires_grad_()
    total = [torch.zeros_like(t) for t in (x, *module.parameters())]
    for upstream, t in zip(dy, steps, strict=True):
        start = max(0, t - k + 1)
        y, _ = module(x[start : t + 1], as_given(before[start]))
        found = torch.autograd.grad((y[-1] * upstream).sum(), [x, *module.parameters()])
        total = [a + b for a, b in zip(total, found, strict=True)]
    return total


def as_one_batch(module, x, state, dy, steps, k):
    """The same with the windows side by side in one packed batch: (K, W·B, I), a length each."""
    B = x.shape[1]
    before = states_before(module, x, state)
    x = x.detach().requires_grad_()
    starts = [max(0, t - k + 1) for t in steps]
    lengths = [t - start + 1 for t, start in zip(steps, starts, strict=True)]
    index = torch.tensor(starts)[None] + torch.arange(max(lengths))[:, None]
    windows = x[index.clamp(max=len(x) - 1)].flatten(1, 2)  # (K, W·B, I)
    initial = [torch.cat([before[s][p] for s in starts], 1) for p in range(len(before[0]))]
    each = torch.tensor(lengths).repeat_interleave(B)
    packed = pack_padded_sequence(windows, each, enforce_sorted=False)
    y, _ = pad_packed_sequence(module(packed, as_given(initial))[0])
    last = y[each - 1, torch.arange(len(each))]
    loss = (last * dy.flatten(0, 1)).sum()
    return list(torch.autograd.grad(loss, [x, *module.parameters()]))


def doubled(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def zero_state(module, B=2):
    zeros = torch.zeros(module.num_layers, B, module.hidden_size, dtype=torch.float64)
    return (zeros, zeros) if module.mode == "LSTM" else zeros


def assert_equal(got, expected, tolerance=1e-10):
    """Equal to ``tolerance``, relative to each number and to the largest."""
    for a, b in zip(got, expected, strict=True):
        atol = tolerance * max(1, float(b.detach().abs().max()))
        torch.testing.assert_close(a, b, rtol=tolerance, atol=atol)
