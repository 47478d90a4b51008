"""The modes with options of their own, and what a call of each gives."""

from __future__ import annotations

import torch
from truncation.brute import doubled, network, state_of

import rnnbench

CHUNKED = {
    "chunks": {"k": 3},
    "k1_k2": {"k1": 2, "k2": 5},
    "full": {},
    "artbp": {"k": 3},
}
EVERY_MODE = CHUNKED | {"sliding": {"k": 3}}


def gradients(model, x, dy, state=None, **options):
    """Gradient of ⟨dy, y⟩ in every weight, added up over the parts, and the output."""
    weights = list(model.parameters())
    total, outputs = [torch.zeros_like(w) for w in weights], []
    for part in rnnbench.truncated_bptt(model, x, state, **options):
        loss = (part.output * dy[part.slice]).sum()
        total = [a + b for a, b in zip(total, torch.autograd.grad(loss, weights), strict=True)]
        outputs.append(part.output.detach())
    return total, torch.cat(outputs)


def problem(cell, T, B=2, layers=2):
    model = network(cell, 3, 4, num_layers=layers)
    return model, doubled(T, B, 3), doubled(T, B, 4), state_of(model, B)
