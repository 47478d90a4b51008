"""What the example programs share that is no part of them: the choice of a backend, the options."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

MODULES = {"torch": "torch.nn", "rnnbench": "rnnbench"}
CLASSES = ("RNN", "GRU", "LSTM")


def on_backend(recurrent: Any, backend: str | None) -> Any:
    """The recurrent classes of ``recurrent``, tied to one backend of rnnbench if one is named."""
    if backend is None:
        return recurrent
    return SimpleNamespace(
        **{name: partial(getattr(recurrent, name), backend=backend) for name in CLASSES}
    )


def run(
    train: Callable[..., list[float]],
    recurrent: Any,
    *,
    steps: int,
    cells: Sequence[str] = (),
    arguments: Sequence[str] | None = None,
) -> None:
    """Train as the command line asks and print the loss of each step and the last.

    recurrent  what the program's own import line names; ``--recurrent`` takes another in its place
    steps      how many, unless ``--steps`` says otherwise
    cells      what ``--cell`` can be, the default first; none for a program that has no choice
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurrent", choices=MODULES, help="default: the program's import line")
    parser.add_argument("--backend", help="one of rnnbench.backends(); default: auto")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--steps", type=int, default=steps)
    if cells:
        parser.add_argument("--cell", choices=cells, default=cells[0])
    options = vars(parser.parse_args(arguments))
    # the products are so small that a second thread costs more than it gives
    torch.set_num_threads(1)
    chosen = options.pop("recurrent")
    if chosen is not None:
        recurrent = importlib.import_module(MODULES[chosen])
    elif options["backend"] is not None:
        recurrent = importlib.import_module("rnnbench")
    options["dtype"] = getattr(torch, options["dtype"])
    losses = train(recurrent, **options)
    for step, loss in enumerate(losses, start=1):
        print(f"step {step} loss {loss!r}")
    print(f"final loss {losses[-1]!r}")
