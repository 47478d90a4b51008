"""How far back each loss of a program really reaches: measured, not read off the code.

A loss ℓ reaches step s if ∂ℓ/∂x_s is not zero: what of the input of step s could still be learned
from. It is asked of autograd for one loss at a time, whatever the program does to its states:
detaching, keeping them in a list, retaining graphs.

Known shortcoming: a derivative that has vanished to exactly 0 (dead ReLUs, underflow over hundreds
of steps) reads as not reached. Use random x, and float64 for long sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbench.errors import InputError


@dataclass(frozen=True)
class LossReach:
    """One loss, in the order of the program.

    norms   ‖∂ℓ/∂x_s‖₁ of each step s, (T,)
    """

    norms: Tensor

    @property
    def reached(self) -> list[int]:
        """The steps that the loss reaches."""
        return self.norms.nonzero().flatten().tolist()

    @property
    def step(self) -> int | None:
        """The last step that it reaches: its own; None if it reaches none."""
        return self.reached[-1] if self.reached else None

    @property
    def first(self) -> int | None:
        """The first step that it reaches."""
        return self.reached[0] if self.reached else None

    @property
    def length(self) -> int:
        """Steps from the first to its own, both counted; 0 if it reaches none."""
        return 0 if self.step is None or self.first is None else self.step - self.first + 1


@dataclass(frozen=True)
class Reach:
    """What `reach` found; printed, it is a sentence and a line for each run of like losses."""

    losses: tuple[LossReach, ...]

    @property
    def lengths(self) -> list[int]:
        """Of each loss, how many steps it reaches, its own counted."""
        return [loss.length for loss in self.losses]

    @property
    def kind(self) -> str:
        """What truncation it is.

        "full"     every loss reaches the first step
        "window"   every loss reaches `longest` steps, or to the first step where there are fewer
        "chunks"   every loss reaches back to a multiple of `longest` steps, 1 to `longest` of them
        "none"     no loss reaches any step
        "mixed"    anything else
        """
        found = [(loss.step, loss.first, loss.length) for loss in self.losses]
        if not any(length for _, _, length in found):
            return "none"
        ordered = [(s, f, n) for s, f, n in found if s is not None and f is not None]
        if len(ordered) < len(found):
            return "mixed"
        if all(first == 0 for _, first, _ in ordered):
            return "full"
        if all(n == min(step + 1, self.longest) for step, _, n in ordered):
            return "window"
        if all(first == step - step % self.longest for step, first, _ in ordered):
            return "chunks"
        return "mixed"

    @property
    def longest(self) -> int:
        """The most steps that a loss reaches."""
        return max(self.lengths)

    def __str__(self) -> str:
        n = len(self.losses)
        steps = f"{self.longest} step{'s' * (self.longest != 1)}"
        said = {
            "full": "full BPTT: nothing is cut off, every loss reaches back to the first step",
            "window": f"a sliding window: every loss reaches back {steps}, its own counted",
            "chunks": f"chunks of {steps}: a loss sees 1 to {self.longest}, by where it stands",
            "none": "nothing is reached: no loss has a gradient in the input of any step",
            "mixed": f"no one rule: losses reach back {min(self.lengths)} to {steps}",
        }[self.kind]
        return "\n".join([f"{n} losses; {said}", *self._lines()])

    def _lines(self) -> Iterator[str]:
        """Runs of losses that reach the same number of steps, or the same first step."""
        rest = list(self.losses)
        while rest:
            same = _run([loss.length for loss in rest])
            back = _run([loss.first for loss in rest])
            run, rest = rest[: max(same, back)], rest[max(same, back) :]
            where = f"step {run[0].step}"
            if len(run) > 1:
                where += f" to {run[-1].step}"
            if run[0].first is None:
                yield f"  {len(run)} losses reach no step"
            elif same >= back:
                yield f"  {where}: {run[0].length} back"
            else:
                yield f"  {where}: {run[0].length} to {run[-1].length} back, to step {run[0].first}"


def _run(values: list[int | None]) -> int:
    """How many of the first values are the same."""
    return next((i for i, value in enumerate(values) if value != values[0]), len(values))


def reach(program: Callable[[Tensor], Iterable[Tensor]], x: Tensor, *, axis: int = 0) -> Reach:
    """Measure how far back each loss of a training program reaches.

    program   called with x; yields its losses, one scalar for each step that has one, each before
              its own ``backward()``. A training loop becomes one by ``yield loss`` in that place
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
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputError(f"x must be a floating-point tensor; got {getattr(x, 'dtype', type(x))}")
    if not 0 <= axis < x.dim():
        raise InputError(f"axis must be a dimension of x; got {axis}")
    x = x.detach().clone().requires_grad_()
    others = [d for d in range(x.dim()) if d != axis]
    found = []
    for loss in program(x):
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise InputError(
                "program must yield scalar losses, one for each step that has one; got "
                f"{tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__}"
            )
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(
                loss.reshape(()), x, retain_graph=True, allow_unused=True
            )
        gradient = torch.zeros_like(x) if gradient is None else gradient
        found.append(LossReach(gradient.abs().sum(others) if others else gradient.abs()))
    if not found:
        raise InputError("program must yield at least one loss; it yielded none")
    return Reach(tuple(found))
