"""Slows the backends of a copy of rnnbench by a share of the time of a step, really spent.

`suite.plant` puts this file into the copy; nothing else imports it.

A step is all that a benchmark times: the module's own work, the backend's forward pass, and in
training the backward pass, which begins after the module has returned. So a step's duration is
taken from the beginning of one forward to that of the next, less what was spun in between;
benchmarks make one step after another. Each call then spins for the planted share of what a step
takes when little disturbs it, the lower quartile of the last durations, and what the clock makes it
overrun is taken off the next. What lies between two series of steps is no step, and the first of a
series, with cold caches, is not counted. A copy with share 0 does all of this but the spinning. The
clock is the thread's own: the spinning stretches as the work does, where other programs take the
processor away.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import torch

SIZES: dict[str, float] = {}
"""Key of a case (`suite.key`) → its share; a case that is not named is not slowed."""
_PLANTED = Path(__file__).with_name("planted.json")
if _PLANTED.is_file():
    SIZES |= json.loads(_PLANTED.read_text(encoding="utf-8"))
STEPS = 33
"""Durations that are remembered."""
PAUSE = 8.0
"""A duration of so many times the forward pass is a step and a pause."""

Forward = Callable[..., Any]
"""The forward of rnnbench's modules: module, input, initial state."""


class Steps:
    """The steps of one case in this process."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.begun = self.forward = self.spun = self.owed = 0.0
        self.first = True
        self.last: deque[float] = deque(maxlen=STEPS)

    def begin(self) -> None:
        """Note the duration of the step before, unless a pause lies in it."""
        now = thread_time()
        took = now - self.begun - self.spun
        paused = took > PAUSE * self.forward
        if not paused and not self.first:
            self.last.append(took)
        self.first = paused
        self.begun, self.spun = now, 0.0

    def spin(self) -> None:
        """Spend the share of a usual step, less what was overrun before."""
        begun = thread_time()
        self.forward = begun - self.begun
        if not self.last:
            return
        self.owed += self.share * sorted(self.last)[len(self.last) // 4]
        if not self.share:
            return
        while (now := thread_time()) - begun < self.owed:
            pass
        self.spun = now - begun
        self.owed -= self.spun


def slowing(forward: Forward, sizes: dict[str, float] = SIZES) -> Forward:
    """Return ``forward`` with the spinning after it; packed sequences are not slowed."""
    cases: dict[Any, Steps] = {}

    def slowed(module: Any, x: Any, hx: Any = None) -> Any:
        if not isinstance(x, torch.Tensor):  # packed
            return forward(module, x, hx)
        training = torch.is_grad_enabled()
        place = (id(module), x.shape, training)
        steps = cases.get(place)
        if steps is None:
            phase = "training" if training else "inference"
            parts = (
                phase, module.backend, module.mode.lower(), len(x), module.num_layers,
                1 + module.bidirectional,
            )  # fmt: skip
            steps = cases[place] = Steps(sizes.get("/".join(map(str, parts)), 0.0))
        steps.begin()
        found = forward(module, x, hx)
        steps.spin()
        return found

    return slowed
