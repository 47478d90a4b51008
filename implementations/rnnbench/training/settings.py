"""Everything that determines a run: the same settings, the same curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
"""What is taken of each sequence: its own last step, or a planted mistake, by its id."""
TWO_DIRECTIONS = ("reverse_starts_in_padding",)
"""What needs a reverse direction to go wrong."""


@dataclass(frozen=True)
class Settings:
    """One run. Raises InputError, naming the argument, for what cannot be trained.

    clip       largest norm of the whole gradient, beyond which it is scaled down; 0: no clipping
    dropout    between layers, and in front of the head
    T, size    of the adding problem: its length, and how many sequences it has to train on
    reading    what is taken of each sequence: its own last step, or one of the planted mistakes
    chrono     longest lag that an LSTM's or GRU's gates begin with a memory for; 0: torch's biases
    seed       of the initial weights, the batches' order, the dropout masks and the adding problem
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
        for name in ("epochs", "batch", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)!r}")
        if not 2 <= self.T <= MAX_STEPS:
            raise InputError(f"T must be between 2 and {MAX_STEPS}; got {self.T!r}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1); got {self.dropout!r}")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0; got {self.seed!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"lr must be a positive number; got {self.lr!r}")
        if not (self.clip >= 0 and math.isfinite(self.clip)):
            raise InputError(f"clip must be 0 (no clipping) or a positive number; got {self.clip}")
        if self.reading in TWO_DIRECTIONS and self.directions != 2:
            raise InputError(f"reading {self.reading!r} needs directions=2; got {self.directions}")
        if self.chrono and self.cell not in ("lstm", "gru"):
            raise InputError(f"chrono must be 0 for cell {self.cell!r}, which has no such gate")
        if self.chrono != 0 and self.chrono < 3:
            raise InputError(f"chrono must be 0 (torch's biases) or at least 3; got {self.chrono}")
        self.spec(1)

    def spec(self, input_size: int, dtype: str = "float32") -> Spec:
        """The recurrent network; sizes that it cannot have raise InputError."""
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

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Settings:
        """Raises KeyError for a field that is missing."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})
