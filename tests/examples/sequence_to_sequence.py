"""Sequence to sequence: an encoder and a decoder learn to write dates as numbers.

After PyTorch's tutorial "Translation with a sequence to sequence network", in our own words and on
data of our own: "05 Mar 2024" is to become "2024-03-05". The encoder reads the source and hands its
final state over; the decoder starts from it. In training it is given the right answer so far
(teacher forcing); in `translate` it is called for one character at a time and reads its own.

    python sequence_to_sequence.py [--recurrent torch|rnnbench] [--backend NAME] [--cell GRU|LSTM]
                                   [--dtype float32|float64] [--steps N]
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn as recurrent  # the line to change: import rnnbench as recurrent
from command_line import on_backend, run
from torch import Tensor, nn

SEED = 22
BATCH = 32
EMBEDDING, HIDDEN = 16, 64
LEARNING_RATE = 0.01

FIRST_DAY, DAYS = datetime.date(1970, 1, 1), 30_000
START = ">"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
ALPHABET = sorted({*START, *"0123456789 -", *"".join(MONTHS)})


class Translator(nn.Module):
    """Encoder and decoder, each an embedding and a recurrent layer, and the scores of characters.

    source (B, S), answer so far (B, T) → scores of the next characters (B, T, alphabet)
    """

    def __init__(self, recurrent: Any, cell: str) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(len(ALPHABET), EMBEDDING)
        self.encoder = getattr(recurrent, cell)(EMBEDDING, HIDDEN, batch_first=True)
        self.answer_embedding = nn.Embedding(len(ALPHABET), EMBEDDING)
        self.decoder = getattr(recurrent, cell)(EMBEDDING, HIDDEN, batch_first=True)
        self.scores = nn.Linear(HIDDEN, len(ALPHABET))

    def forward(self, source: Tensor, so_far: Tensor) -> Tensor:
        _, state = self.encoder(self.source_embedding(source))
        output, _ = self.decoder(self.answer_embedding(so_far), state)
        return self.scores(output)

    @torch.no_grad()
    def translate(self, text: str, length: int = 10) -> str:
        """The likeliest answer, character by character."""
        _, state = self.encoder(self.source_embedding(numbers([text])))
        answer = START
        for _ in range(length):
            output, state = self.decoder(self.answer_embedding(numbers([answer[-1]])), state)
            answer += ALPHABET[int(self.scores(output).argmax())]
        return answer[1:]


def numbers(texts: list[str]) -> Tensor:
    """Texts of one length as numbers of characters, (texts, length)."""
    return torch.tensor([[ALPHABET.index(character) for character in text] for text in texts])


def in_words(date: datetime.date) -> str:
    """As strftime("%d %b %Y"), but the same in every locale."""
    return f"{date.day:02} {MONTHS[date.month - 1]} {date.year}"


def random_dates() -> list[datetime.date]:
    """A batch of them."""
    return [
        FIRST_DAY + datetime.timedelta(days=days) for days in torch.randint(DAYS, (BATCH,)).tolist()
    ]


def show(model: Translator) -> None:
    """Print two translations."""
    for text in ("05 Mar 2024", "31 Dec 1999"):
        print(f"{text} is {model.translate(text)}")


def train(
    recurrent: Any,
    *,
    dtype: torch.dtype,
    steps: int,
    backend: str | None = None,
    cell: str = "GRU",
    at_end: Callable[[Translator], None] = lambda model: None,
) -> list[float]:
    """Train with the recurrent classes of a module, torch.nn or rnnbench; the loss of each step.

    at_end: is handed the trained model
    """
    torch.manual_seed(SEED)
    model = Translator(on_backend(recurrent, backend), cell).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(steps):
        dates = random_dates()
        source = numbers([in_words(date) for date in dates])
        answer = numbers([START + date.isoformat() for date in dates])
        optimizer.zero_grad()
        scores = model(source, answer[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), answer[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    at_end(model)
    return losses


if __name__ == "__main__":
    run(partial(train, at_end=show), recurrent, steps=800, cells=("GRU", "LSTM"))
