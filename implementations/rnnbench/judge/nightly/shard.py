"""Which cases belong to which machine of a fleet.

Case c belongs to shard 1 + (SHA-256(c) mod n): every case to exactly one, whatever other cases
there are, and the same on every machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from rnnbench.errors import InputError


@dataclass(frozen=True)
class Shard:
    """The ``i``-th of ``n`` parts of the cases, counted from 1."""

    i: int = 1
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """``i/n``; InputError unless 1 ≤ i ≤ n."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"shard must be i/n with 1 <= i <= n, like 2/3; got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, case: str) -> bool:
        """Whether the case, by its name ``benchmark(value, …)``, is of this shard."""
        digest = int.from_bytes(sha256(case.encode()).digest())
        return digest % self.n == self.i - 1

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"

    @property
    def slug(self) -> tuple[str, ...]:
        """Part of a file's name; none where there is one shard."""
        return () if self.n == 1 else (f"{self.i}of{self.n}",)
