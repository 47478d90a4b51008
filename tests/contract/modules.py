"""Pairs of torch's module and ours with the same weights, and how two results are compared."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence

KINDS = ("RNN", "RELU", "GRU", "LSTM")
CELL = {"RNN": "rnn_tanh", "RELU": "rnn_relu", "GRU": "gru", "LSTM": "lstm"}


class Pair(NamedTuple):
    theirs: torch.nn.Module
    ours: torch.nn.Module


def make(namespace, kind, *args, **kwargs):
    """A module of torch.nn or rnnbench; RELU is an RNN with the other nonlinearity."""
    if kind == "RELU":
        kwargs["nonlinearity"] = "relu"
    return getattr(namespace, "RNN" if kind == "RELU" else kind)(*args, **kwargs)


def tensors(result):
    """All tensors of a module's result, flat."""
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for part in result for t in tensors(part)]


def state_for(module, *shape, seed=1):
    """A random initial state of that shape (without the size), as the module takes it."""
    generator = torch.Generator().manual_seed(seed)
    dtype = module.weight_ih_l0.dtype

    def draw(size):
        return torch.randn(*shape, size, generator=generator, dtype=torch.float64).to(dtype)

    h = draw(module.proj_size or module.hidden_size)
    return (h, draw(module.hidden_size)) if module.mode == "LSTM" else h


def assert_same(got, expected, factor=1.0):
    """Same shapes and dtypes, and values as close as two orders of summation are."""
    got, expected = tensors(got), tensors(expected)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        eps = torch.finfo(a.dtype).eps
        scale = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=20 * factor * eps * scale)


def gradients(module, inputs, loss):
    """Gradient of every input that wants one and of every parameter."""
    sources = [t for t in tensors(inputs) if t.requires_grad] + list(module.parameters())
    return torch.autograd.grad(loss, sources, allow_unused=True)
