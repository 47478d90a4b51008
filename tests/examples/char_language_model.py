"""Character-level language model: a stacked RNN learns to continue Python's own help texts.

After the word-level language model of pytorch/examples and Karpathy's min-char-rnn, in our own
words. The text is cut into as many streams as the batch has rows. Each batch goes on in every
stream where the last one stopped: so does the state, detached, which is what makes this truncated
backpropagation through time.

    python char_language_model.py [--recurrent torch|rnnbench] [--backend NAME] [--cell RNN|GRU]
                                  [--dtype float32|float64] [--steps N]
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pydoc_data.topics import topics
from typing import Any

import torch
import torch.nn as recurrent  # the line to change: import rnnbench as recurrent
from command_line import on_backend, run
from torch import Tensor, nn

SEED = 20
STREAMS, WINDOW = 16, 24
HIDDEN, LAYERS, DROPOUT = 64, 2, 0.2
LEARNING_RATE, CLIP = 2.0, 0.5


class CharacterModel(nn.Module):
    """Embedding, stacked recurrent layers with dropout between them, scores of the next character.

    characters (T, B) → scores (T, B, alphabet), state (layers, B, hidden)
    """

    def __init__(self, recurrent: Any, cell: str, alphabet: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.recurrent = getattr(recurrent, cell)(HIDDEN, HIDDEN, LAYERS, dropout=DROPOUT)
        self.scores = nn.Linear(HIDDEN, alphabet)

    def forward(self, characters: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        output, state = self.recurrent(self.dropout(self.embedding(characters)), state)
        return self.scores(self.dropout(output)), state


def read_text() -> str:
    """Python's help topics, one after the other."""
    return "\n".join(topics[name] for name in sorted(topics))


def streams_of(text: str) -> tuple[Tensor, int]:
    """The text as character numbers in `STREAMS` columns (length, streams), and how many differ."""
    alphabet = {character: number for number, character in enumerate(sorted(set(text)))}
    numbers = torch.tensor([alphabet[character] for character in text])
    length = len(numbers) // STREAMS
    return numbers[: length * STREAMS].view(STREAMS, length).T, len(alphabet)


def windows(streams: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive pieces of all streams and the characters that follow, each (WINDOW, STREAMS)."""
    for start in range(0, len(streams) - WINDOW, WINDOW):
        yield streams[start : start + WINDOW], streams[start + 1 : start + WINDOW + 1]


def train(
    recurrent: Any,
    *,
    dtype: torch.dtype,
    steps: int,
    backend: str | None = None,
    cell: str = "RNN",
) -> list[float]:
    """Train with the recurrent classes of a module, torch.nn or rnnbench; the loss of each step."""
    torch.manual_seed(SEED)
    streams, alphabet = streams_of(read_text())
    model = CharacterModel(on_backend(recurrent, backend), cell, alphabet).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses, state = [], None
    for characters, following in islice(windows(streams), steps):
        if state is not None:
            state = state.detach()
        optimizer.zero_grad()
        scores, state = model(characters, state)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), following.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    run(train, recurrent, steps=200, cells=("RNN", "GRU"))
