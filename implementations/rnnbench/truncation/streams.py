"""Stateful training for `torch.utils.data`: each batch's rows continue those of the last.

A *stream* is one row of the batch over time. Each sequence is cut into chunks, and its chunks come
in consecutive batches in the same row; where it ends, the next sequence begins in that row, with
``reset``. So the state after one batch is the state before the next:

    >>> import torch, rnnbench
    >>> from torch.utils.data import DataLoader
    >>> from rnnbench.truncation import StreamSampler, WindowDataset, collate
    >>> pairs = [(torch.randn(n, 3), torch.randn(n, 4)) for n in (50, 20, 70, 90)]
    >>> data = WindowDataset(pairs, k=32)  # or [(memory map, memory map), …]
    >>> sampler = StreamSampler(data, rows=2, shuffle=True)
    >>> gru, state = rnnbench.GRU(3, 4), None
    >>> for batch in DataLoader(data, batch_sampler=sampler, collate_fn=collate):
    ...     x, target = batch.data
    ...     for part in rnnbench.truncated_bptt(
    ...         gru, x, state, mode="sliding", k=16, lengths=batch.lengths, reset=batch.reset
    ...     ):
    ...         part.mean((part.output - target[part.slice]) ** 2).backward()
    ...     state = part.state

One long text is cut into streams of its own by ``windows(text, len(text) // rows, last="drop")``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from rnnbench.errors import InputError
from rnnbench.truncation.arguments import check_int
from rnnbench.truncation.windowing import Windows, windows


class Window(NamedTuple):
    """One window of one sequence.

    data      the window, or a tuple of them where a sequence is a tuple (inputs, targets)
    sequence  number of the sequence; −1 for a row that has run out of them
    start     its first step
    """

    data: Any
    sequence: int
    start: int


class Batch(NamedTuple):
    """A batch of windows.

    data     (T, B, …), zero behind each window's end, or a tuple of such
    lengths  (B,) int64: steps of each window, 0 for a row that has run out of sequences
    reset    (B,) bool: the row begins a sequence
    """

    data: Any
    lengths: Tensor
    reset: Tensor


def _parts(data: Any) -> tuple[Any, ...]:
    return data if isinstance(data, tuple) else (data,)


class WindowDataset(Dataset[Window]):
    """The windows of several sequences, one sequence after the other, each made on demand.

    sequences  tensors, arrays or memory maps with time first, or tuples (inputs, targets) of them
    k, overlap, stride, last
               as for `rnnbench.windows`

    An index of None gives an empty window. Raises InputError if there is no sequence, or the parts
    of a tuple differ in length.
    """

    def __init__(
        self,
        sequences: Sequence[Any],
        k: int,
        *,
        overlap: int | None = None,
        stride: int | None = None,
        last: str = "keep",
    ) -> None:
        if not isinstance(sequences, Sequence) or not len(sequences):
            raise InputError(
                f"sequences must be a list of one or more sequences; got {type(sequences).__name__}"
            )
        self.cut: list[tuple[Windows, ...]] = [
            tuple(windows(part, k, overlap=overlap, stride=stride, last=last) for part in _parts(s))
            for s in sequences
        ]
        for number, parts in enumerate(self.cut):
            if len({part.length for part in parts}) > 1:
                raise InputError(
                    f"sequences[{number}] must have parts of one length; "
                    f"got {', '.join(str(part.length) for part in parts)}"
                )
        self._alone = not isinstance(sequences[0], tuple)
        self._ends = list(accumulate(len(parts[0]) for parts in self.cut))

    def __len__(self) -> int:
        return self._ends[-1]

    def indices(self, sequence: int) -> range:
        """Return the indices of a sequence's windows, first to last."""
        end = self._ends[sequence]
        return range(end - len(self.cut[sequence][0]), end)

    def __getitem__(self, index: int | None) -> Window:
        if index is None:
            empty = tuple(part.sequence[:0] for part in self.cut[0])
            return Window(empty[0] if self._alone else empty, -1, 0)
        if not 0 <= index < len(self):
            raise IndexError(f"index must be 0 to {len(self) - 1}; got {index}")
        sequence = bisect_right(self._ends, index)
        number = index - self.indices(sequence).start
        data = tuple(part[number] for part in self.cut[sequence])
        start = self.cut[sequence][0].steps(number).start
        return Window(data[0] if self._alone else data, sequence, start)


class StreamSampler(Sampler[list[int | None]]):
    """Batches of a `WindowDataset` that keep every row in step; for ``batch_sampler=``.

    rows     B, streams side by side
    shuffle  whether the order of the sequences is drawn anew in every epoch, see `set_epoch`;
             within a sequence there is an order already
    last     what becomes of the time when some rows have run out of sequences. "keep": they wait,
             empty (None), until all have; "drop": the epoch ends, and `dropped` windows with it

    A sequence goes to the row that is free first. Raises InputError for windows that overlap or
    leave steps out: a stream has each step once.
    """

    def __init__(
        self,
        dataset: WindowDataset,
        rows: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        last: str = "keep",
    ) -> None:
        rows, seed = check_int("rows", rows, 1), check_int("seed", seed, 0)
        if last not in ("keep", "drop"):
            raise InputError(f"last must be 'keep' or 'drop'; got {last!r}")
        stride, k = dataset.cut[0][0].stride, dataset.cut[0][0].k
        if stride != k:
            raise InputError(f"dataset must have a stride of k={k} to be streams; got {stride}")
        self.dataset, self.rows, self.last = dataset, rows, last
        self.shuffle, self.seed = shuffle, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of the sequences; the same for the same seed and epoch."""
        order = list(range(len(self.dataset.cut)))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        self._batches = list(self._plan(order))

    def _plan(self, order: list[int]) -> Iterator[list[int | None]]:
        waiting = iter([s for s in order if len(self.dataset.indices(s))])
        streams: list[Iterator[int]] = [iter(())] * self.rows
        while True:
            batch: list[int | None] = []
            for row in range(self.rows):
                index = next(streams[row], None)
                if index is None:
                    begun = next(waiting, None)
                    streams[row] = iter(() if begun is None else self.dataset.indices(begun))
                    index = next(streams[row], None)
                batch.append(index)
            idle = batch.count(None)
            if idle == self.rows or (idle and self.last == "drop"):
                return
            yield batch

    @property
    def dropped(self) -> int:
        """Return how many windows this epoch leaves out."""
        return len(self.dataset) - sum(len(b) - b.count(None) for b in self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int | None]]:
        return iter(self._batches)


def collate(items: Sequence[Window]) -> Batch:
    """Join windows of any lengths to a batch, time first, zeros behind their ends."""
    lengths = [len(_parts(item.data)[0]) for item in items]
    sides = []
    for side in zip(*(_parts(item.data) for item in items), strict=True):
        tensors = [
            part if isinstance(part, Tensor) else torch.from_numpy(np.array(part)) for part in side
        ]
        first = tensors[0]
        padded = first.new_zeros(max(lengths), len(items), *first.shape[1:])
        for row, tensor in enumerate(tensors):
            padded[: len(tensor), row] = tensor
        sides.append(padded)
    return Batch(
        tuple(sides) if isinstance(items[0].data, tuple) else sides[0],
        torch.tensor(lengths),
        torch.tensor([item.sequence >= 0 and item.start == 0 for item in items]),
    )
