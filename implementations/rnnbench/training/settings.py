"""Settings of a training: equal settings give equal curves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rnnbench.errors import InputError
from rnnbench.spec import CELLS, Spec

VOWELS, ADDING = "japanese_vowels", "adding"
TASKS = (VOWELS, ADDING)
MAX_STEPS = 1000
DRAWS = 3
"""Runs with roundings, in either dtype, that measure a band."""
OPTIMISERS = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}
"""Name → the class of torch.optim."""
RIGHT = "own_last_step"
READINGS = (RIGHT, "padded_last_step", "lengths_ignored", "reverse_starts_in_padding")
"""Readings of the states: each sequence's own last step, or a mistake, by its id."""
TWO_DIRECTIONS = ("reverse_starts_in_padding",)
"""Readings that go wrong in the reverse direction only."""


@dataclass(frozen=True)
class Settings:
    """Settings of one run. Raises InputError, naming the argument, for what cannot be trained.

    clip       largest norm of the whole gradient, beyond which it is scaled down; 0: no clipping
    dropout    rate between layers, and in front of the head
    T, size    adding problem: length of the sequences, and how many there are to train on
    reading    the states that the head reads: each sequence's own last step, or a mistake
    chrono     longest lag in the initial memory of an LSTM's or GRU's gates; 0: torch's biases
    seed       for initial weights, order of the batches, dropout masks and the adding problem
    """

    task: str = VOWELS
    cell: str = "gru"
    hidden_size: int = 64
    layers: int = 1
    directions: int = 1
    dropout: float = 0.2
    optimiser: str = "adam"
    lr: float = 5e-3
    clip: float = 1.0
    epochs: int = 15
    batch: int = 27
    seed: int = 0
    T: int = 100
    size: int = 1000
    reading: str = RIGHT
    chrono: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("task", TASKS), ("cell", CELLS), ("optimiser", OPTIMISERS), ("reading", READINGS),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                known = ", ".join(map(repr, allowed))
                raise InputError(f"{name} must be one of {known}; got {getattr(self, name)!r}")
        for name, holds, must in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch", self.batch >= 1, "at least 1"),
            ("size", self.size >= 1, "at least 1"),
            ("T", 2 <= self.T <= MAX_STEPS, f"between 2 and {MAX_STEPS}"),
            ("dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            ("seed", self.seed >= 0, "at least 0"),
            ("lr", 0 < self.lr < math.inf, "a positive number"),
            ("clip", 0 <= self.clip < math.inf, "0 (no clipping) or a positive number"),
            ("chrono", self.chrono == 0 or self.chrono >= 3, "0 (torch's biases) or at least 3"),
        ):
            if not holds:
                raise InputError(f"{name} must be {must}; got {getattr(self, name)!r}")
        if self.reading in TWO_DIRECTIONS and self.directions != 2:
            raise InputError(f"reading {self.reading!r} needs directions=2; got {self.directions}")
        if self.chrono and self.cell not in ("lstm", "gru"):
            raise InputError(f"chrono must be 0 for cell {self.cell!r}, which has no such gate")
        self.spec(1)

    def spec(self, input_size: int, dtype: str = "float32") -> Spec:
        """Return the recurrent network; raises InputError for sizes that it cannot have."""
        return Spec(
            self.cell,
            input_size,
            self.hidden_size,
            self.layers,
            self.directions,
            dtype=dtype,
            dropout=self.dropout if self.layers > 1 else 0.0,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
