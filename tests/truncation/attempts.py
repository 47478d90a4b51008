"""Q2's five attempts at a window of K steps over N inputs, with a loss from step K on.

Each is the loop as its author has it, as a generator: it yields each loss where the loop has it.
"""

from __future__ import annotations

from collections import deque

import torch


def start(cell, x):
    return torch.zeros(x.shape[1], cell.hidden_size, dtype=x.dtype)


def loss_of(h):
    return h.square().sum()


def one_graph(cell, x, K):
    """One graph over all steps, one backward for the sum."""
    h, total = start(cell, x), 0.0
    for t, x_t in enumerate(x):
        h = cell(x_t, h)
        if t >= K - 1:
            loss = loss_of(h)
            yield loss
            total = total + loss
    total.backward()


def detach_every_step(cell, x, K):
    """`detach()` at every step, and the graph retained, so that "the history is still there"."""
    h = start(cell, x)
    for t, x_t in enumerate(x):
        h = cell(x_t, h.detach())
        if t >= K - 1:
            loss = loss_of(h)
            yield loss
            loss.backward(retain_graph=True)


def deque_of_states(cell, x, K):
    """The last K states in a deque, and no detach: the older ones "fall out"."""
    states = deque([start(cell, x)], maxlen=K)
    for t, x_t in enumerate(x):
        states.append(cell(x_t, states[-1]))
        if t >= K - 1:
            loss = loss_of(states[-1])
            yield loss
            loss.backward(retain_graph=True)


def run_again(cell, x, K):
    """For each block of K: detach, run K steps again, backward; the block slides by one."""
    before = start(cell, x)
    for t in range(K - 1, len(x)):
        h = before.detach()
        for s in range(t - K + 1, t + 1):
            h = cell(x[s], h)
            if s == t - K + 1:
                before = h
        loss = loss_of(h)
        yield loss
        loss.backward()


def detach_every_k(cell, x, K):
    """`detach()` every K steps, a backward for every loss."""
    h = start(cell, x)
    for t, x_t in enumerate(x):
        if t % K == 0:
            h = h.detach()
        h = cell(x_t, h)
        if t >= K - 1:
            loss = loss_of(h)
            yield loss
            loss.backward(retain_graph=True)


def total(cell, x, K, cut):
    """One loss, the sum over the steps from K on, of a loop that detaches where ``cut(t)``."""
    h, sum_of_losses = start(cell, x), 0.0
    for t, x_t in enumerate(x):
        h = cell(x_t, h.detach() if cut(t) else h)
        if t >= K - 1:
            sum_of_losses = sum_of_losses + loss_of(h)
    yield sum_of_losses
    sum_of_losses.backward()
