"""The part of a sequence that each turn of a training loop gets, and the mean of its losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.truncation.state import State


@dataclass(frozen=True)
class Part:
    """Outputs to take a loss of, with the graph that its gradient may go back through.

    output   of the steps ``steps``, as the model lays it out; zero in the padding
    steps    time steps of the output: ``target[part.slice]`` fits, time first
    first    the first step of the sequence that a gradient of this part reaches
    state    after the last step run, detached: what the next batch of a stream starts from
    mask     True where a step belongs to its sequence, (steps, B), or (B, steps) batch first;
             None when no lengths were given
    total    losses in all parts together, padding not counted: steps times rows
    kernel   what runs the windows of mode "sliding" back: "numba", or "torch" where that cannot;
             None in the other modes
    """

    output: Tensor
    steps: range
    first: int
    state: State
    mask: Tensor | None
    total: int
    rows: int
    kernel: str | None = None

    @property
    def slice(self) -> slice:
        """Return the steps as an index of time."""
        return slice(self.steps.start, self.steps.stop, self.steps.step)

    @property
    def count(self) -> int:
        """Return how many losses this part has, padding not counted."""
        if self.mask is None:
            return len(self.steps) * self.rows
        return int(self.mask.sum())

    def mean(self, losses: Tensor, *, over: str = "part") -> Tensor:
        """Return the mean of one loss per step and row, padding left out.

        losses   (steps, B) as the output is laid out, or (steps,) when it is unbatched; more
                 dimensions are averaged too
        over     "part": over this part's steps, for an optimiser step after each part;
                 "sequence": over all parts' steps, so that the parts add up to the mean over the
                 sequence, a short last part weighing less: for one optimiser step after the last

        Raises InputError if the losses are not one per step and row.
        """
        if over not in ("part", "sequence"):
            raise InputError(f"over must be 'part' or 'sequence'; got {over!r}")
        if not isinstance(losses, Tensor):
            raise InputError(f"losses must be a torch.Tensor; got {type(losses).__name__}")
        places = max(self.rows * len(self.steps), 1)
        layout = self.output.shape[:2] if self.mask is None else self.mask.shape
        unbatched = self.mask is None and self.rows == 1 and losses.shape[:1] == (len(self.steps),)
        fits = losses.shape[:2] == layout or unbatched
        if not fits:
            raise InputError(
                f"losses must be one for each of {len(self.steps)} steps and {self.rows} rows; "
                f"got shape {tuple(losses.shape)}"
            )
        if self.mask is not None:
            mask = self.mask.view(*self.mask.shape, *[1] * (losses.dim() - 2))
            losses = torch.where(mask, losses, 0)
        count = self.count if over == "part" else self.total
        return losses.sum() / max(count * losses.numel() // places, 1)
