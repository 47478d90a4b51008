"""The same character-level language model trained by each mode of truncated BPTT.

    python char_truncated.py [--mode MODE ...] [--cell GRU|LSTM|RNN]
                             [--seconds S] [--steps N] [--json]

A line per step: mode, step, seconds of training so far, loss in nats per character. How it is
trained is in `rnnbench.training.characters`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import torch

from rnnbench.training.characters import MODES, curve


def main(arguments: list[str] | None = None) -> None:
    """Train in the modes asked for and print their curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--cell", choices=("GRU", "LSTM", "RNN"), default="GRU")
    parser.add_argument("--steps", type=int, help="steps of each mode; default: no limit")
    parser.add_argument("--seconds", type=float, help="training time of each mode; default: 20")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    seconds = options.seconds
    if options.steps is None and seconds is None:
        seconds = 20.0
    torch.set_num_threads(1)
    for mode in options.mode:
        for point in curve(mode, options.cell, options.steps, seconds):
            if options.json:
                print(json.dumps(asdict(point)))
            else:
                print(f"{mode:8} step {point.step:4} {point.seconds:7.2f} s loss {point.loss:.4f}")


if __name__ == "__main__":
    main()
