"""A character-level language model that every mode of truncated BPTT trains alike.

Python's own help texts are cut into as many streams as the batch has rows; every batch goes on in
each row where the last one stopped. One optimiser step per batch of `SPAN` steps: with the weights
fixed over the batch every mode has exactly the gradient that it says, so that the curves differ by
the gradient alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rnnbench.nn import modules
from rnnbench.truncation import Batch, StreamSampler, WindowDataset, collate
from rnnbench.truncation.modes import truncated_bptt
from rnnbench.truncation.windowing import windows

SEED = 20
ROWS, SPAN, K = 16, 128, 16
HIDDEN, LEARNING_RATE, CLIP = 64, 5e-3, 1.0

MODES: dict[str, dict[str, Any]] = {
    "chunks": {"k": K},
    "k1_k2": {"k1": K // 2, "k2": K},
    "sliding": {"k": K},
    "full": {},
    "artbp": {"k": K, "every": 4},
}


@dataclass(frozen=True)
class Point:
    """One step of a curve: ``seconds`` of training so far, ``loss`` in nats per character."""

    mode: str
    step: int
    seconds: float
    loss: float


def read_text() -> tuple[Tensor, int]:
    """Return the text as character numbers (T,), and how many different ones there are."""
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = {character: number for number, character in enumerate(sorted(set(text)))}
    return torch.tensor([alphabet[character] for character in text]), len(alphabet)


def batches(text: Tensor) -> Iterator[Batch]:
    """Yield batches of `SPAN` steps of `ROWS` streams, over and over."""
    streams = windows(text, len(text) // ROWS, last="drop")
    data = WindowDataset([(stream[:-1], stream[1:]) for stream in streams[:ROWS]], SPAN)
    sampler = StreamSampler(data, ROWS)
    for _ in count():
        yield from DataLoader(data, batch_sampler=sampler, collate_fn=collate)


def train(mode: str, cell: str = "GRU") -> Iterator[Point]:
    """Train in one mode for as long as points are taken."""
    torch.manual_seed(SEED)
    text, alphabet = read_text()
    recurrent, scores = getattr(modules, cell)(alphabet, HIDDEN), nn.Linear(HIDDEN, alphabet)
    weights = [*recurrent.parameters(), *scores.parameters()]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
    options = {"mode": mode} | MODES[mode]
    if mode == "artbp":
        options["generator"] = torch.Generator().manual_seed(SEED)
    state, seconds = None, 0.0
    for step, batch in enumerate(batches(text), start=1):
        began = time.perf_counter()
        characters, following = batch.data
        x = nn.functional.one_hot(characters, alphabet).float()
        optimizer.zero_grad()
        total = 0.0
        for part in truncated_bptt(
            recurrent, x, state, lengths=batch.lengths, reset=batch.reset, **options
        ):
            losses = nn.functional.cross_entropy(
                scores(part.output).transpose(1, 2), following[part.slice], reduction="none"
            )
            loss = part.mean(losses, over="sequence")
            torch.autograd.backward(loss)
            total += float(loss.detach())
        state = part.state
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        seconds += time.perf_counter() - began
        yield Point(mode, step, seconds, total)


def curve(mode: str, cell: str, steps: int | None, seconds: float | None) -> Iterator[Point]:
    """Yield points of one mode until so many steps, or seconds of training, are over."""
    for point in islice(train(mode, cell), steps):
        yield point
        if seconds is not None and point.seconds >= seconds:
            return
