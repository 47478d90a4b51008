"""The one list of cases: shapes, profiles, and the parameters of every benchmark.

A profile (`RNNBENCH_PROFILE`: smoke, quick, nightly or full) holds all that the smaller ones hold
and adds to it, under the same parameter names, so that the histories of a case join whatever
profile measured it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import package

PROFILES = ("smoke", "quick", "nightly", "full")
PROFILE = os.environ.get("RNNBENCH_PROFILE", "quick")
if PROFILE not in PROFILES:
    raise ValueError(f"RNNBENCH_PROFILE must be one of {', '.join(PROFILES)}; got {PROFILE!r}")

Added = dict[str, tuple[Any, ...]]
"""Profile → the values of a parameter that it adds to those of the smaller profiles."""


class Shape(NamedTuple):
    """Batch, input size, hidden size."""

    B: int
    I: int  # noqa: E741 (the field's name)
    H: int


SHAPES = {
    "single": Shape(1, 64, 64),
    "small": Shape(8, 32, 32),
    "medium": Shape(16, 128, 128),
    "large": Shape(32, 256, 256),
}

CELLS: Added = {"smoke": ("gru",), "quick": ("rnn_tanh", "rnn_relu", "lstm")}

NETWORKS: dict[str, Added] = {
    "cell": CELLS,
    "T": {"smoke": (16,), "quick": (128,), "nightly": (1024,), "full": (1, 512)},
    "layers": {"smoke": (1,), "quick": (2,), "full": (3,)},
    "directions": {"smoke": (1,), "quick": (2,)},
    "shape": {"smoke": ("medium",), "nightly": ("single", "large"), "full": ("small",)},
}
"""Timed, and checked for their errors."""

MEMORY: dict[str, Added] = NETWORKS | {
    "T": {"smoke": (128,), "nightly": (1024,)},
    "layers": {"smoke": (1,), "nightly": (2,)},
    "directions": {"smoke": (1,), "nightly": (2,)},
}

BY_NIGHT = ("onnxruntime", "jax", "numba-plain")
"""Backends to compare with, which a commit does not change: other libraries', and a reference."""

CACHES = ("empty", "warm")
COLD_CELLS: Added = {"smoke": ("gru",), "quick": ("rnn_tanh", "lstm"), "nightly": ("rnn_relu",)}
FIRST_CALL: dict[str, Added] = {"cell": COLD_CELLS, "cache": {"smoke": CACHES}}
COMPILE: dict[str, Added] = {"cell": COLD_CELLS, "T": {"smoke": (16,), "nightly": (1024,)}}
FIRST_CALL_STEPS = 16

TRUNCATION: dict[str, Added] = {
    "mode": {
        "smoke": ("chunks", "sliding"),
        "quick": ("k1_k2", "full", "checkpoints", "artbp", "windows"),
    },
    "cell": {"smoke": ("gru",), "nightly": ("rnn_tanh", "lstm"), "full": ("rnn_relu",)},
    "T": {"smoke": (256,), "full": (2048,)},
    "K": {"smoke": (16,), "nightly": (64,)},
    "shape": {"smoke": ("single",), "full": ("medium",)},
}
BIAS: dict[str, Added] = TRUNCATION | {
    "mode": {"smoke": ("chunks", "sliding"), "quick": ("k1_k2",)},
    "K": {"smoke": (16,), "quick": (1, 4, 64)},
}
"""Modes of truncated BPTT; those whose gradient has a bias, over K."""
LAGS: dict[str, Added] = {
    "cell": CELLS,
    "lag": {"smoke": (1, 16), "quick": (4, 64), "nightly": (2, 8, 32, 128)},
    "shape": {"smoke": ("single",)},
}
COLD_SHAPE = "medium"
TRAINING: dict[str, Added] = {
    "cell": {"smoke": ("gru",), "nightly": ("rnn_tanh", "rnn_relu", "lstm")},
}
TRAINED_BY_DAY = ("numba",)
"""Backends that the smaller profiles train; the others take minutes."""

COUNTED = ("manual", "numba")
"""Backends whose instructions are the same each time."""
INSTRUCTIONS: dict[str, Added] = {
    "cell": {"nightly": ("gru",), "full": ("rnn_tanh", "rnn_relu", "lstm")},
    "T": {"smoke": (16,)},
    "layers": {"smoke": (1,)},
    "directions": {"smoke": (1,)},
    "shape": {"smoke": ("medium",)},
}
"""Cases that are timed as well, so that the two can be compared."""


class Sampling(NamedTuple):
    """asv's attributes of a timing: (fewest, most samples, seconds), seconds, seconds, rounds."""

    repeat: tuple[int, int, float]
    sample_time: float
    warmup_time: float
    rounds: int


SAMPLING = {
    "smoke": Sampling((2, 5, 0.1), 0.005, 0.02, 1),
    "quick": Sampling((3, 9, 0.3), 0.01, 0.05, 1),
    "nightly": Sampling((5, 15, 1.5), 0.02, 0.1, 2),
    "full": Sampling((5, 25, 4.0), 0.02, 0.1, 2),
}[PROFILE]


@dataclass(frozen=True)
class Network:
    """One network and one run of it, in the words of the parameters and in their order."""

    phase: str
    backend: str
    cell: str
    T: int
    layers: int
    directions: int
    shape: str

    @property
    def sizes(self) -> Shape:
        return SHAPES[self.shape]


def values(added: Added, profile: str = PROFILE) -> list[Any]:
    """Values of one parameter in a profile: all that the smaller ones added, then its own."""
    upto = PROFILES[: PROFILES.index(profile) + 1]
    return [value for name in upto for value in added.get(name, ())]


def backends(profile: str = PROFILE) -> list[str]:
    """The backends that a profile measures: those `BY_NIGHT` in the large ones only."""
    nightly = PROFILES.index(profile) >= PROFILES.index("nightly")
    return [name for name in package.backends() if nightly or name not in BY_NIGHT]


def grid(axes: dict[str, Added], profile: str = PROFILE) -> list[list[Any]]:
    """asv's `params` of a benchmark that knows no backends: the values of each parameter."""
    return [values(added, profile) for added in axes.values()]


def params(axes: dict[str, Added], profile: str = PROFILE) -> list[list[Any]]:
    """asv's `params`: the backends, then the values of each parameter."""
    return [backends(profile), *grid(axes, profile)]


def training_params(profile: str = PROFILE) -> list[list[Any]]:
    """asv's `params` of a training: one backend by day, all of them by night."""
    everyone, *axes = params(TRAINING, profile)
    nightly = PROFILES.index(profile) >= PROFILES.index("nightly")
    return [[name for name in everyone if nightly or name in TRAINED_BY_DAY], *axes]


def names(axes: dict[str, Added]) -> list[str]:
    """asv's `param_names` that belong to `params`."""
    return ["backend", *axes]
