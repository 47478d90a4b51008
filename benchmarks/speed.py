"""Seconds of one call, in the steady state: compiling, loading and packing lie behind it."""

from __future__ import annotations

from typing import Any

from . import cases
from .base import OnNetwork


class Sampled(OnNetwork):
    """How a phase is sampled."""

    params = cases.params(cases.NETWORKS)
    repeat, sample_time, warmup_time, rounds = cases.SAMPLING


class Inference(Sampled):
    """Forward; no gradient is kept."""

    version = "1"
    phase = "inference"

    def time_inference(self, *params: Any) -> None:
        self.running.step()


class Training(Sampled):
    """Forward and the full backward pass: gradients of x, h0, c0 and every weight."""

    version = "1"
    phase = "training"

    def time_training(self, *params: Any) -> None:
        self.running.step()
