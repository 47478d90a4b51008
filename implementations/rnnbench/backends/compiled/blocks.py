"""A sequence cut into blocks as long as a chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from rnnbench.backends.compiled.steps import STEPS
from rnnbench.bptt.recurrence import Layout


class Block(NamedTuple):
    """`STEPS` steps of the first ``batch`` sequences, at rows start … start + STEPS·batch."""

    start: int
    batch: int
    going_on: int  # sequences that the next block has, too

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + STEPS * self.batch)


class Blocks:
    """A layout as blocks of `STEPS` steps: the N rows of a sequence at `place` in M ≥ N rows.

    Steps are counted as the recurrence goes: in reverse, step 0 of a sequence is its own last one.
    So all sequences begin in the first block and end where they end, in either direction, and what
    is left of a block behind the end of a sequence is padding. It is zero in dy and so in α; for
    dc_n, which has to reach the last step through it, see `_neutral`.

    place   (N,) of each row of the layout; a slice where that is the order already
    last    (B,) place of each sequence's last step
    """

    def __init__(self, layout: Layout, *, reverse: bool) -> None:
        widths = layout.batch_sizes[::STEPS]
        starts = [0, *accumulate(STEPS * b for b in widths)]
        self.N, self.M = layout.N, starts[-1]
        self.blocks = [
            Block(start, b, going_on)
            for start, (b, going_on) in zip(starts, pairwise([*widths, 0]), strict=False)
        ]
        self.place: slice | Tensor
        if layout.dense:
            rows = torch.arange(layout.N)
            self.place = slice(0, layout.N)
            if reverse:
                self.place = rows.view(layout.T, layout.B).flip(0).view(-1)
            self.last = rows[layout.N - layout.B :]
            return
        sizes = torch.tensor(layout.batch_sizes)
        step = torch.arange(layout.T).repeat_interleave(sizes)
        sequence = torch.arange(layout.N) - (sizes.cumsum(0) - sizes)[step]
        lengths = torch.bincount(sequence)
        if reverse:
            step = lengths[sequence] - 1 - step

        def place(step: Tensor, sequence: Tensor) -> Tensor:
            block = step // STEPS
            within = step % STEPS * torch.tensor(widths)[block] + sequence
            return torch.tensor(starts)[block] + within

        self.place = place(step, sequence)
        self.last = place(lengths - 1, torch.arange(layout.B))

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    @property
    def padding(self) -> slice | Tensor:
        """Places that no row of the layout has."""
        if isinstance(self.place, slice):
            return slice(self.N, self.M)
        free = torch.ones(self.M, dtype=torch.bool)
        free[self.place] = False
        return free

    def enter(self, rows: Tensor) -> Tensor:
        """Return a copy (M, ·) of rows (N, ·), the padding zero."""
        placed = rows.new_zeros(self.M, rows.shape[1])
        placed[self.place] = rows
        return placed

    def leave(self, pieces: Sequence[Tensor]) -> Tensor:
        """Return rows (N, ·) from those of the blocks, each (STEPS, b, ·)."""
        return torch.cat([piece.flatten(0, 1) for piece in pieces])[self.place]
