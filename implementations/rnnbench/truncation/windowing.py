"""Cut a sequence into overlapping windows without copying it.

Chunks of a data set that each start from a fresh state are another thing than truncated BPTT over
the sequence: the state at a window's start is zero, not that after the steps before it. An overlap
gives the network steps to build a state up from: take the loss of the last k − overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from rnnbench.errors import InputError
from rnnbench.truncation.arguments import check_int

LAST = ("keep", "drop")


class Windows(Sequence[Any]):
    """The windows of one sequence, each made on demand; see `windows`."""

    def __init__(self, sequence: Any, k: int, stride: int, last: str, axis: int) -> None:
        self.sequence, self.k, self.stride, self.axis = sequence, k, stride, axis
        shape = getattr(sequence, "shape", None)
        self.length = len(sequence) if shape is None else int(shape[axis])
        full = range(0, self.length - k + 1, stride)
        count = len(full)
        start, covered = count * stride, full[-1] + k if count else 0
        if last == "keep" and covered < self.length and start < self.length:
            count += 1
        self._starts = range(0, count * stride, stride)

    def __len__(self) -> int:
        return len(self._starts)

    def steps(self, index: int) -> range:
        """Return the steps of the sequence that the window holds."""
        start = self._starts[index]
        return range(start, min(start + self.k, self.length))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        steps = self.steps(index)
        cut = slice(steps.start, steps.stop)
        return self.sequence[(*[slice(None)] * self.axis, cut) if self.axis else cut]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def windows(
    sequence: Any,
    k: int,
    *,
    overlap: int | None = None,
    stride: int | None = None,
    last: str = "keep",
    axis: int = 0,
) -> Windows:
    """Return the windows of k steps of a sequence: a `Sequence` of views, made on demand.

    >>> import rnnbench
    >>> list(rnnbench.windows("abcdefgh", 4, overlap=1))
    ['abcd', 'defg', 'gh']
    >>> rnnbench.windows("abcdefgh", 4, overlap=1, last="drop").steps(1)
    range(3, 7)

    sequence  tensor, NumPy array, memory map or whatever else has a length and can be sliced; a
              window of it is ``sequence[start:stop]`` and so a view wherever slicing gives views
    overlap   steps that a window shares with the one before it, 0 to k−1; default 0
    stride    steps from one start to the next, k − overlap; above k, steps between are skipped.
              Give one of the two
    last      "keep": what is left behind the last full window is a short window, with its overlap;
              "drop": it is left out. Nothing is padded
    axis      dimension of time

    Raises InputError for a window, overlap or stride that does not fit.
    """
    k = check_int("k", k, 1)
    if overlap is not None and stride is not None:
        raise InputError(f"overlap or stride must be left out; got {overlap!r} and {stride!r}")
    if overlap is not None:
        overlap = check_int("overlap", overlap, 0)
        if overlap >= k:
            raise InputError(f"overlap must be below k={k}, or windows stand still; got {overlap}")
    if stride is not None:
        stride = check_int("stride", stride, 1)
    if last not in LAST:
        raise InputError(f"last must be 'keep' or 'drop'; got {last!r}")
    axis = check_int("axis", axis, 0)
    shape = getattr(sequence, "shape", None)
    sliced = hasattr(sequence, "__len__") and hasattr(sequence, "__getitem__")
    if not sliced or isinstance(sequence, Mapping):
        raise InputError(f"sequence must have a length and slices; got {type(sequence).__name__}")
    if axis >= (1 if shape is None else len(shape)):
        raise InputError(f"axis must be a dimension of the sequence; got {axis}")
    return Windows(sequence, k, stride or k - (overlap or 0), last, axis)
