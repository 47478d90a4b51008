"""Measure how far back each loss of a training program reaches; its code is not read.

A loss ℓ reaches step s if ∂ℓ/∂x_s is not zero: what of the input of step s could still be learned
from. It is asked of autograd for one loss at a time, whatever the program does to its states:
detaching, keeping them in a list, retaining graphs.

A loss that is itself a sum over several steps reaches all that any of its terms reaches, wherever
the graph is cut between them. Its terms are told apart by the second derivative: where no term
reaches both step s and step r, ℓ falls into a sum of a function of x_s and one of x_r, and

    ∂²ℓ/∂x_r∂x_s = 0.

So ℓ is one step's loss if its last step r goes with all that ℓ reaches; otherwise it is taken
apart, and what is lost at step r reaches back to the first s that r goes with.

Known shortcomings: a derivative that has vanished to exactly 0 (dead ReLUs, underflow over hundreds
of steps) reads as not reached. Use random x, and float64 for long sequences. A loss without a
second derivative (piecewise linear in x, from mode "sliding", on cuDNN) cannot be taken apart: if
it is the only one, or two end at the same step, that is said; else each is taken for one step's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.truncation.arguments import check_int


@dataclass(frozen=True)
class LossReach:
    """One loss, in the order of the program.

    norms   ‖∂ℓ/∂x_s‖₁ of each step s, (T,)
    terms   the steps reached by what is lost at one step, first to own: one range, or for a sum
            over steps that do not all go together one for each step; None where it cannot be told
    """

    norms: Tensor
    terms: tuple[range, ...] | None

    @property
    def reached(self) -> list[int]:
        """Return the steps that the loss reaches."""
        return self.norms.nonzero().flatten().tolist()

    @property
    def step(self) -> int | None:
        """Return the last step that it reaches, its own; None if it reaches none."""
        return self.reached[-1] if self.reached else None

    @property
    def first(self) -> int | None:
        """Return the first step that it reaches; None if it reaches none."""
        return self.reached[0] if self.reached else None

    @property
    def length(self) -> int:
        """Return how many steps that is, first and last counted; 0 if it reaches none."""
        return 0 if self.step is None or self.first is None else self.step - self.first + 1


@dataclass(frozen=True)
class Reach:
    """The result of `reach`; prints as a sentence and a line for each run of like losses."""

    losses: tuple[LossReach, ...]

    @property
    def summed(self) -> bool:
        """Return whether a loss was a sum over several steps, and has been taken apart."""
        return any(len(loss.terms or ()) > 1 for loss in self.losses)

    @property
    def terms(self) -> tuple[range, ...]:
        """Return the steps that each loss reaches, first to its own; of a sum, each step's loss."""
        found: list[range] = []
        for loss in self.losses:
            end = 0 if loss.step is None else loss.step + 1
            found += loss.terms or [range(end - loss.length, end)]
        return tuple(found)

    @property
    def lengths(self) -> list[int]:
        """Return how many steps each loss reaches, its own counted; of a sum, each step's loss."""
        return [len(term) for term in self.terms]

    @property
    def kind(self) -> str:
        """Return the kind of truncation.

        "full"     every loss reaches the first step
        "window"   every loss reaches `longest` steps, or to the first step where there are fewer
        "chunks"   every loss reaches back to a multiple of `longest` steps, 1 to `longest` of them
        "none"     no loss reaches any step
        "mixed"    anything else
        "unknown"  a loss has no second derivative, so that a sum over steps cannot be told from the
                   loss of one, and is the only one, or not the only one of its step
        """
        found, longest = self.terms, self.longest
        if longest == 0:
            return "none"
        alone = len({loss.step for loss in self.losses}) < max(2, len(self.losses))
        if alone and any(loss.terms is None for loss in self.losses):
            return "unknown"
        if not all(found):
            return "mixed"
        if all(term.start == 0 for term in found):
            return "full"
        if longest > 1 and all(term.start == term[-1] - term[-1] % longest for term in found):
            return "chunks"
        window = all(len(term) == min(term.stop, longest) for term in found)
        return "window" if window else "mixed"

    @property
    def longest(self) -> int:
        """Return the most steps that a loss reaches."""
        return max(self.lengths)

    def __str__(self) -> str:
        n, said = len(self.losses), self._said()
        count = f"{n} loss{'es' * (n != 1)}"
        if self.summed:
            count += f" over {len(self.terms)} steps, taken apart"
        return "\n".join([f"{count}; {said}", *self._lines()])

    def _said(self) -> str:
        steps = f"{self.longest} step{'s' * (self.longest != 1)}"
        return {
            "full": "full BPTT: nothing is cut off, every loss reaches back to the first step",
            "window": f"a sliding window: every loss reaches back {steps}, its own counted",
            "chunks": f"chunks of {steps}: a loss sees 1 to {self.longest}, by where it stands",
            "none": "nothing is reached: no loss has a gradient in the input of any step",
            "mixed": f"no one rule: losses reach back {min(self.lengths)} to {steps}",
            "unknown": f"{steps} are reached, but whether by a sum of losses that each reach fewer "
            "cannot be told without a second derivative: yield the loss of each step",
        }[self.kind]

    def _lines(self) -> Iterator[str]:
        """Yield a line for each run of losses that reach as many steps, or the same first step."""
        rest = self.terms
        while rest:
            same = _run([len(term) for term in rest])
            back = _run([term.start if term else None for term in rest])
            run, rest = rest[: max(same, back)], rest[max(same, back) :]
            if not run[0]:
                yield f"  {len(run)} loss{'es reach' if len(run) > 1 else ' reaches'} no step"
                continue
            where = f"step {run[0][-1]}"
            if len(run) > 1:
                where += f" to {run[-1][-1]}"
            if same >= back:
                yield f"  {where}: {len(run[0])} back"
            else:
                yield f"  {where}: {len(run[0])} to {len(run[-1])} back, to step {run[0].start}"


def _run(values: list[int | None]) -> int:
    """Return how many of the first values are equal."""
    return next((i for i, value in enumerate(values) if value != values[0]), len(values))


def reach(program: Callable[[Tensor], Iterable[Tensor]], x: Tensor, *, axis: int = 0) -> Reach:
    """Measure how far back each loss of a training program reaches.

    program   called with x; yields its losses, scalars, each before its own ``backward()``: one
              for each step that has one, or their sum. A training loop becomes one by
              ``yield loss`` in that place
    x         the sequence, floating point, time in dimension ``axis``; random numbers will do

    >>> import torch, rnnbench
    >>> cell = torch.nn.GRUCell(3, 4)
    >>> def program(x):
    ...     h = torch.zeros(1, 4)
    ...     for t, x_t in enumerate(x):
    ...         h = cell(x_t, h)
    ...         yield h.sum()
    ...         if (t + 1) % 5 == 0:
    ...             h = h.detach()
    >>> print(rnnbench.truncation.reach(program, torch.randn(10, 1, 3)))
    10 losses; chunks of 5 steps: a loss sees 1 to 5, by where it stands
      step 0 to 4: 1 to 5 back, to step 0
      step 5 to 9: 1 to 5 back, to step 5

    Raises InputError if x is not a floating-point tensor or what is yielded not a scalar one.
    """
    if not callable(program):
        raise InputError(f"program must be callable with x; got {type(program).__name__}")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputError(f"x must be a floating-point tensor; got {getattr(x, 'dtype', type(x))}")
    if check_int("axis", axis, 0) >= x.dim():
        raise InputError(f"axis must be a dimension of x; got {axis}")
    x = x.detach().clone().requires_grad_()
    found = []
    losses = program(x)
    if not isinstance(losses, Iterable) or (isinstance(losses, Tensor) and losses.dim() == 0):
        raise InputError(
            "program must yield its losses, or return a list of them; "
            f"it returned {type(losses).__name__}"
        )
    for loss in losses:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise InputError(
                "program must yield scalar losses, one for each step that has one; got "
                f"{tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__}"
            )
        found.append(_loss_reach(loss.reshape(()), x, axis))
    if not found:
        raise InputError("program must yield at least one loss; it yielded none")
    return Reach(tuple(found))


def _loss_reach(loss: Tensor, x: Tensor, axis: int) -> LossReach:
    gradient = _gradient(loss, x)
    norms = _by_step(gradient, axis)
    return LossReach(norms, _terms(loss, x, axis, norms.nonzero().flatten().tolist()))


def _terms(loss: Tensor, x: Tensor, axis: int, reached: list[int]) -> tuple[range, ...] | None:
    """Return the steps that the loss of one step, or of each step, reaches: `LossReach.terms`."""
    if len(reached) < 2:
        return tuple(range(step, step + 1) for step in reached)
    try:
        with torch.enable_grad():
            slope = _gradient(loss, x, create_graph=True)
    except RuntimeError:  # what torch, and our own functions, raise where there is none
        return None
    generator = torch.Generator().manual_seed(0)  # not the program's own random numbers
    along = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    products = (slope * along).movedim(axis, 0).reshape(x.shape[axis], -1).sum(1)
    scale = torch.finfo(x.dtype).max ** 0.5  # so that it vanishes later than the first derivative

    def together(step: int) -> list[int]:
        """Return the steps s, of those reached, of which ∂²ℓ/∂x_step∂x_s is not zero."""
        row = _by_step(_gradient(scale * products[step], x), axis).tolist()
        return [s for s in reached if row[s] != 0]

    try:
        last = together(reached[-1])
        if last == reached:
            return (range(reached[0], reached[-1] + 1),)
        rows = [*map(together, reached[:-1]), last]
    except RuntimeError:
        return None
    if not all(step in row for step, row in zip(reached, rows, strict=True)):
        return None
    return tuple(range(row[0], step + 1) for step, row in zip(reached, rows, strict=True))


def _gradient(of: Tensor, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """Return ∂of/∂x, zero where there is no way from one to the other."""
    if not of.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(
        of, x, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    return torch.zeros_like(x) if found is None else found


def _by_step(tensor: Tensor, axis: int) -> Tensor:
    """Return ‖·‖₁ of each step's part, (T,)."""
    return tensor.detach().abs().movedim(axis, 0).reshape(tensor.shape[axis], -1).sum(1)
