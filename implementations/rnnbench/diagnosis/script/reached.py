"""The reach of a training script's losses, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 12
"""Losses that are listed one by one."""


@dataclass(frozen=True)
class Reached:
    """One loss in one backward pass.

    backward  number of the pass, from 1, and ``line`` where it was called
    step      the last step of the data that went into the network before the loss was made
    steps     the steps that it reaches
    stale     updates of the weights since the earliest of these was computed
    """

    backward: int
    line: int
    step: int | None
    steps: tuple[int, ...]
    stale: int

    @property
    def back(self) -> int:
        """Return how many steps back it reaches, its own counted."""
        if self.step is None or not self.steps:
            return 0
        return self.step - min(self.steps) + 1


@dataclass
class Reach:
    """The findings: the data's name and length, a row for each loss, and sentences."""

    script: str
    data: str = ""
    size: int = 0
    losses: list[Reached] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Return "raised", "nothing" where there is no loss, or "measured"."""
        return "raised" if self.trouble else "measured" if self.losses else "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        lines = [f"{one[0].upper()}{one[1:]}." for one in self.trouble]
        if not self.losses:
            if not self.trouble:
                lines.append(f"{self.script}: no backward pass went through what is read by index.")
            return "\n".join(lines)
        lines.append(f"{self.script}: what each loss reaches of {self.data} ({self.size} steps).")
        rows = [f"  backward {r.backward} (line {r.line}): {_row(r)}" for r in self.losses[:SHOWN]]
        if len(self.losses) > SHOWN:
            rows.append(f"  … and {len(self.losses) - SHOWN} more")
        return "\n".join([*lines, *rows, *(f"{one[0].upper()}{one[1:]}." for one in self.said)])


def _row(r: Reached) -> str:
    loss = "a loss" if r.step is None else f"the loss of step {r.step}"
    if not r.steps:
        return f"{loss} reaches none"
    back = f", {r.back} back" if r.back else ""
    ago = f"{r.stale} update" + "s" * (r.stale != 1)
    stale = f"; the first of these was computed {ago} ago" if r.stale else ""
    return f"{loss} reaches {spans(r.steps)}{back}{stale}"


def spans(steps: Iterable[int]) -> str:
    """Return ``0–3, 7`` for steps in order."""
    found: list[list[int]] = []
    for step in sorted(set(steps)):
        if found and step == found[-1][-1] + 1:
            found[-1].append(step)
        else:
            found.append([step])
    return ", ".join(str(f[0]) if len(f) == 1 else f"{f[0]}–{f[-1]}" for f in found)
