"""The modes of truncated BPTT: seconds, memory, how far off their gradient is from full BPTT, and
how much of a gradient there is at which lag.

One pass is the mode's forward and backward passes over a sequence, a loss on every step, weights
fixed. Besides the package's modes there is what one would do without ``sliding``: *windows*, all of
them side by side as one batch of torch's module, from the stored states, which is the strong
baseline; a loop over windows is slower by far.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from statistics import median_low
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import cases, package
from .base import Measured
from .memory import rise
from .network import MODULES

CALLS = 5
SAME = 1e-4
"""How far two float32 gradients of the same windows may be apart, relative to their norm."""


class Pass(NamedTuple):
    """One pass, in the words of the parameters and in their order."""

    mode: str
    cell: str
    T: int
    K: int
    shape: str


class Running:
    """A pass with its tensors; `step` is what is measured: the gradient of every weight."""

    def __init__(self, given: Pass) -> None:
        self.given = given
        self.run = package.public("truncated_bptt")
        B, I, H = cases.SHAPES[given.shape]  # noqa: E741
        name, keywords = MODULES[given.cell]
        torch.manual_seed(0)
        self.module = package.public(name)(I, H, **keywords)
        self.weights = list(self.module.parameters())
        self.x = torch.randn(given.T, B, I)
        self.dy = torch.randn(given.T, B, H)
        self.generator = torch.Generator().manual_seed(0)
        self.kernel = ""  # what ran the windows back, if the mode says it
        self.step = self.windows if given.mode == "windows" else self.truncated

    def options(self) -> dict[str, Any]:
        """The mode's own arguments."""
        K, every = self.given.K, max(1, self.given.K // 4)
        found: dict[str, dict[str, Any]] = {
            "chunks": {"k": K},
            "k1_k2": {"k1": max(1, K // 2), "k2": K},
            "sliding": {"k": K},
            "full": {},
            "checkpoints": {"mode": "full", "checkpoint": True},
            "artbp": {"k": K, "every": every, "generator": self.generator},
        }
        return found[self.given.mode]

    def truncated(self) -> list[Tensor]:
        """By the package."""
        total: list[Tensor] | None = None
        for part in self.run(self.module, self.x, **({"mode": self.given.mode} | self.options())):
            loss = (part.output * self.dy[part.slice]).sum()
            own = list(torch.autograd.grad(loss, self.weights))
            kernel = getattr(part, "kernel", None)
            self.kernel = f", windows on {kernel}" if kernel else ""
            total = own if total is None else [a + b for a, b in zip(total, own, strict=True)]
        assert total is not None
        return total

    def windows(self) -> list[Tensor]:
        """All full windows in one call; short ones, which the first K−1 losses have, in K−1."""
        K, T, module = self.given.K, self.given.T, self.module
        states = self._states()
        total = [torch.zeros_like(weight) for weight in self.weights]
        short = [(0, t + 1, self.dy[t]) for t in range(min(K, T) - 1)]
        for start, stop, dy in [*short, (0, min(K, T), self.dy[min(K, T) - 1 :])]:
            count = 1 if stop < K else T - K + 1
            x = self.x.unfold(0, stop, 1)[:count].permute(3, 0, 1, 2).flatten(1, 2)
            state = [part[start : start + count].flatten(0, 1)[None] for part in states]
            y, _ = module(x, tuple(state) if len(state) > 1 else state[0])
            own = torch.autograd.grad((y[-1] * dy.reshape(y[-1].shape)).sum(), self.weights)
            total = [a + b for a, b in zip(total, own, strict=True)]
        return total

    def _states(self) -> list[Tensor]:
        """The state before each step, (T, B, H) of each part. Of an LSTM c takes a loop."""
        with torch.no_grad():
            if self.given.cell != "lstm":
                y, _ = self.module(self.x)
                return [torch.cat([torch.zeros_like(y[:1]), y[:-1]])]
            zero = torch.zeros(1, *self.dy.shape[1:])
            state, found = (zero, zero), []
            for x in self.x:
                found.append(state)
                _, state = self.module(x[None], state)
            return [torch.cat(parts) for parts in zip(*found, strict=True)]


def distance(got: list[Tensor], expected: list[Tensor]) -> float:
    """‖got − expected‖ / ‖expected‖ over all weights."""
    apart = sum(float((a - b).norm()) ** 2 for a, b in zip(got, expected, strict=True))
    return math.sqrt(apart / sum(float(b.norm()) ** 2 for b in expected))


class Truncated(Measured):
    """A benchmark of one pass; sliding and windows have no figure unless they agree."""

    params = cases.grid(cases.TRUNCATION)
    param_names = cases.names(cases.TRUNCATION)[1:]

    @property
    @abstractmethod
    def what(self) -> str:
        """Return what is measured of a pass."""

    def prepare(self, *params: Any) -> dict[str, Any]:
        given = Pass(*params)
        self.running = Running(given)
        found = self.running.step()
        if given.mode in ("sliding", "windows"):
            other = {"sliding": "windows", "windows": "sliding"}[given.mode]
            apart = distance(found, Running(given._replace(mode=other)).step())
            if not apart < SAME:
                raise RuntimeError(f"{given.mode} is {apart:.1e} from {other}")
        return {"identity": {"kernel": f"{given.mode}, backend auto" + self.running.kernel}}


class Seconds(Truncated):
    """Of one pass, in the steady state."""

    version = "1"
    what = "time"
    repeat, sample_time, warmup_time, rounds = cases.SAMPLING

    def time_pass(self, *params: Any) -> None:
        self.running.step()


class Memory(Truncated):
    """Peak of one pass."""

    version = "1"
    what = "memory"
    unit = "bytes"

    def track_peak_bytes(self, *params: Any) -> int:
        return median_low(rise(self.running.step) for _ in range(CALLS))


class Bias(Truncated):
    """How far the gradient is from that of full BPTT, relative to its norm."""

    version = "1"
    what = "bias"
    unit = "relative"
    params = cases.grid(cases.BIAS)
    param_names = cases.names(cases.BIAS)[1:]

    def track_bias(self, *params: Any) -> float:
        full = Running(Pass(*params)._replace(mode="full"))
        return distance(self.running.step(), full.step())


class Lag(Measured):
    """‖∂h_T/∂s_t‖ at a lag T − t, weights as a new module has them, random inputs."""

    version = "1"
    unit = "norm"
    params = cases.grid(cases.LAGS)
    param_names = cases.names(cases.LAGS)[1:]

    def prepare(self, *params: Any) -> dict[str, Any]:
        cell, lag, shape = params
        self.norms = package.public("truncation").lag_norms
        self.running = Running(Pass("full", cell, lag + 1, 1, shape))
        return {"identity": {"kernel": "autograd, one pass for each output"}}

    def track_norm(self, *params: Any) -> float:
        return float(self.norms(self.running.module, self.running.x)[-1].mean())
