"""Sequence tagging: a bidirectional LSTM learns to colour Python source, a tag for each character.

After the tagging tutorial of PyTorch ("Sequence models and LSTM networks") and the batched taggers
with packed sequences that grew out of it, in our own words. A sequence is a line of the standard
library's textwrap.py, as long as it is; the tags are what the standard library's tokenize says. The
lines of a batch come in no order of length, are packed for the LSTM and padded again for the loss,
which leaves the padding out.

    python sequence_tagging.py [--recurrent torch|rnnbench] [--backend NAME]
                               [--dtype float32|float64] [--steps N]
"""

from __future__ import annotations

import inspect
import io
import keyword
import textwrap
import tokenize
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn as recurrent  # the line to change: import rnnbench as recurrent
from command_line import on_backend, run
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

SEED = 21
BATCH = 16
EMBEDDING, HIDDEN, LAYERS, DROPOUT = 16, 64, 2, 0.3
LEARNING_RATE = 0.02

TAGS = ("space", "keyword", "name", "number", "string", "operator", "comment")
TOKENS = {
    tokenize.NAME: "name",
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.OP: "operator",
    tokenize.COMMENT: "comment",
}
PADDING = -100  # the target that cross_entropy leaves out by default


class Tagger(nn.Module):
    """Embedding, a bidirectional LSTM over packed lines, scores of the tags of each character.

    lines (B, T) padded, lengths (B,) → scores (B, T, tags)
    """

    def __init__(self, recurrent: Any, alphabet: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, EMBEDDING)
        self.lstm = recurrent.LSTM(
            EMBEDDING, HIDDEN, LAYERS, batch_first=True, dropout=DROPOUT, bidirectional=True
        )
        self.scores = nn.Linear(2 * HIDDEN, len(TAGS))

    def forward(self, lines: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(lines), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.scores(output)


def tagged_lines(source: str) -> list[tuple[str, list[int]]]:
    """Each line that is not empty, and the number of the tag of each of its characters."""
    lines = source.splitlines()
    tags = [[TAGS.index("space")] * len(line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = "keyword" if keyword.iskeyword(token.string) else TOKENS.get(token.type, "space")
        (first, begin), (last, end) = token.start, token.end
        # a string may run over several lines; line numbers count from one
        for row in range(first - 1, min(last, len(lines))):
            left = begin if row == first - 1 else 0
            right = end if row == last - 1 else len(lines[row])
            tags[row][left:right] = [TAGS.index(name)] * len(tags[row][left:right])
    return [(line, tag) for line, tag in zip(lines, tags, strict=True) if line.strip()]


def batches(source: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For ever: padded lines (B, T), their lengths (B,) and their tags (B, T)."""
    examples = tagged_lines(source)
    alphabet = {character: number for number, character in enumerate(sorted(set(source)))}
    while True:
        order = torch.randperm(len(examples)).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = [examples[k] for k in order[start : start + BATCH]]
            lines = [torch.tensor([alphabet[c] for c in line]) for line, _ in chosen]
            tags = [torch.tensor(tag) for _, tag in chosen]
            yield (
                pad_sequence(lines, batch_first=True),
                torch.tensor([len(line) for line in lines]),
                pad_sequence(tags, batch_first=True, padding_value=PADDING),
            )


def train(
    recurrent: Any, *, dtype: torch.dtype, steps: int, backend: str | None = None
) -> list[float]:
    """Train with the recurrent classes of a module, torch.nn or rnnbench; the loss of each step."""
    torch.manual_seed(SEED)
    source = inspect.getsource(textwrap)
    model = Tagger(on_backend(recurrent, backend), len(set(source))).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for lines, lengths, tags in islice(batches(source), steps):
        optimizer.zero_grad()
        scores = model(lines, lengths)
        loss = nn.functional.cross_entropy(
            scores.flatten(0, 1), tags.flatten(), ignore_index=PADDING
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    run(train, recurrent, steps=50)
