"""Mode "sliding" beside what one would do without it, in one process: python -m
benchmarks.sliding_window.

Every window of K steps that fits into T has a loss on its last step. The gradient of all weights is
taken of all windows,

    sliding   by ``rnnbench.truncated_bptt``, its forward pass counted
    batched   side by side in one call of torch.nn's module: (K, T−K+1, I); the strong baseline
    loop      one after the other, a call of torch.nn's module each

The baselines are given each window's initial state, which is not counted. They must agree before
anything is timed. *batched* alternates with *sliding*, a call each a round; *loop*, which takes
seconds, follows in rounds of its own. Ratios are of medians, with those of the quartiles' far ends
in brackets: the slowest quarter of one against the fastest of the other.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import package
from .network import MODULES
from .truncation import SAME, distance

Call = Callable[[], list[Tensor]]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Windows:
    """One cell's passes over the same windows; each returns the gradient of every weight."""

    def __init__(self, cell: str, T: int, K: int, B: int, H: int, backend: str) -> None:
        name, keywords = MODULES[cell]
        torch.manual_seed(0)
        self.K = K
        self.torchs = getattr(nn, name)(H, H, **keywords)
        self.ours = package.public(name)(H, H, backend=backend, **keywords)
        self.ours.load_state_dict(self.torchs.state_dict())
        self.x = torch.randn(T, B, H)
        self.dy = torch.randn(T - K + 1, B, H)
        self.before = self._states_before(cell == "lstm")
        self.run = package.public("truncated_bptt")
        self.kernel = "unknown"

    def _states_before(self, pair: bool) -> list[Tensor]:
        """(T−K+1, B, H) of each part of the state, before the first step of each window."""
        zero = torch.zeros(1, *self.dy.shape[1:])
        state, found = (zero, zero) if pair else zero, []
        with torch.no_grad():
            for x in self.x[: len(self.dy)]:
                found.append(state if isinstance(state, tuple) else (state,))
                _, state = self.torchs(x[None], state)
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _gradient(self, x: Tensor, state: list[Tensor], dy: Tensor) -> list[Tensor]:
        """Of windows side by side: x (K, W·B, I), state (W·B, H), dy (W·B, H)."""
        given = tuple(part[None] for part in state)
        y, _ = self.torchs(x, given if len(given) > 1 else given[0])
        return list(torch.autograd.grad(y[-1], list(self.torchs.parameters()), dy))

    def sliding(self) -> list[Tensor]:
        (part,) = self.run(self.ours, self.x, mode="sliding", k=self.K, start=self.K - 1)
        self.kernel = part.kernel
        return list(torch.autograd.grad(part.output, list(self.ours.parameters()), self.dy))

    def batched(self) -> list[Tensor]:
        x = self.x.unfold(0, self.K, 1).permute(3, 0, 1, 2).flatten(1, 2)
        return self._gradient(
            x, [part.flatten(0, 1) for part in self.before], self.dy.flatten(0, 1)
        )

    def loop(self) -> list[Tensor]:
        total = [torch.zeros_like(weight) for weight in self.torchs.parameters()]
        for w, dy in enumerate(self.dy):
            own = self._gradient(self.x[w : w + self.K], [part[w] for part in self.before], dy)
            total = [a + b for a, b in zip(total, own, strict=True)]
        return total


def seconds(
    calls: dict[str, Call], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Of each call in each round, in turn; the calls are warm."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            found[name].append(clock() - start)
    return found


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Of the medians, and the least and greatest that the quartiles allow."""
    (low, middle, high), (fast_low, fast_middle, fast_high) = map(_quartiles, (slow, fast))
    return middle / fast_middle, low / fast_high, high / fast_low


def _quartiles(samples: list[float]) -> list[float]:
    return statistics.quantiles(samples, n=4, method="inclusive") if samples[1:] else samples * 3


def measure(cell: str, options: argparse.Namespace) -> dict[str, Any]:
    """One cell's figures; raises RuntimeError if the three gradients are not the same."""
    windows = Windows(cell, options.T, options.K, options.B, options.H, options.backend)
    calls: dict[str, Call] = {"sliding": windows.sliding, "batched": windows.batched}
    if options.loops:
        calls["loop"] = windows.loop
    results = {name: call() for name, call in calls.items()}
    for name, result in results.items():
        apart = distance(results["sliding"], result)
        if not apart < SAME:
            raise RuntimeError(f"{cell}: sliding is {apart:.1e} from {name}, relative to its norm")
    clock = CLOCKS[options.clock]
    pair = {name: calls[name] for name in ("sliding", "batched")}
    found = {"batched": seconds(pair, options.rounds, clock)}
    if options.loops:
        pair = {name: calls[name] for name in ("sliding", "loop")}
        found["loop"] = seconds(pair, options.loops, clock)
    return {
        "cell": cell,
        "kernel": windows.kernel,
        "seconds": found,
        "ratios": {name: ratio(pair[name], pair["sliding"]) for name, pair in found.items()},
    }


def line(result: dict[str, Any]) -> str:
    """One cell on the terminal."""
    parts = [f"{result['cell']:9} windows on {result['kernel']}"]
    for name, samples in result["seconds"].items():
        fast, slow = (1e3 * statistics.median(samples[key]) for key in ("sliding", name))
        middle, low, high = result["ratios"][name]
        parts.append(
            f"{name} {slow:8.1f} / {fast:6.2f} ms = {middle:5.1f} ({low:.1f} to {high:.1f})"
        )
    return "   ".join(parts)


def say(text: str) -> None:
    """On stdout, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sliding_window", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, default in (("T", 2048), ("K", 64), ("B", 1), ("H", 64)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--cells", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--backend", default="auto", help="of our module's forward pass")
    parser.add_argument("--rounds", type=int, default=9, help="of sliding and batched; default 9")
    parser.add_argument(
        "--loops", type=int, default=3, help="rounds of loop, 0 for none; default 3"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; default 1")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu where other work shares the core"
    )
    parser.add_argument("--json", action="store_true", help="all samples, as JSON")
    options = parser.parse_args()
    if not 1 <= options.K <= options.T or min(options.B, options.H, options.rounds) < 1:
        parser.error(f"K must be 1 to T={options.T}, and B, H and rounds at least 1")
    torch.set_num_threads(options.threads)
    about = (
        f"T={options.T} K={options.K} B={options.B} H={options.H} float32, "
        f"{torch.get_num_threads()} thread, {options.clock} clock, torch {torch.__version__}, "
        f"{platform.processor() or platform.machine()}"
    )
    results = []
    if not options.json:
        say(f"{about}\nbaseline / sliding, medians, and their ratio")
    for cell in options.cells:
        try:
            results.append(measure(cell, options))
        except RuntimeError as error:
            sys.exit(str(error))
        if not options.json:
            say(line(results[-1]))
    if options.json:
        say(json.dumps({"about": about, "cells": results}))


if __name__ == "__main__":
    main()
