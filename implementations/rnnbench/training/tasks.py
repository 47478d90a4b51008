"""Data of a training: sequences and targets of two tasks.

Japanese Vowels (Kudo, Toyama and Shimbo 1999): which of 9 speakers said /ae/, 12 LPC cepstrum
coefficients a step, 7 to 29 steps; 270 utterances to train on, 370 to test. The files are those
that the sktime distribution ships; they are read from where it is installed, without importing it.

Adding problem (Hochreiter and Schmidhuber 1997, in the form of Le, Jaitly and Hinton 2015): each
step has a number U(0, 1) and a mark; two steps are marked, one in either half, and the target is
the sum of their numbers. The best constant answer is 1, with a mean squared error of 1/6; to do
better a network must carry the first number over T/2 steps or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.errors import InputError
from rnnbench.training.settings import ADDING, VOWELS, Settings

CLASSIFICATION, REGRESSION = "classification", "regression"
BLIND_ERROR = 1 / 6
"""Mean squared error of the best constant answer to the adding problem, 1."""
ADDING_TEST = 512
VOWELS_FOLDER = Path("datasets", "data", "JapaneseVowels")


class MissingDataError(InputError, LookupError):
    """The distribution that ships the data is not installed; the message says how to get it."""


class Part(NamedTuple):
    """Sequences (T_b, I) in float32, and their targets: (B,) int64 classes, or (B,) float32."""

    sequences: list[Tensor]
    targets: Tensor

    def take(self, rows: Sequence[int]) -> Part:
        """Return those rows, in that order."""
        return Part([self.sequences[row] for row in rows], self.targets[list(rows)])


@dataclass(frozen=True)
class Task:
    """A task with its data.

    kind     classification or regression
    classes  number of outputs: the classes, or 1
    train    part to learn from
    test     part for scores alone; the normalisation does not see it
    """

    name: str
    kind: str
    classes: int
    train: Part
    test: Part

    @property
    def input_size(self) -> int:
        return self.train.sequences[0].shape[1]


def load(settings: Settings) -> Task:
    """Return the data of the settings' task; raises MissingDataError where it is not installed."""
    if settings.task == VOWELS:
        return japanese_vowels()
    return adding(settings.T, settings.size, settings.seed)


def japanese_vowels() -> Task:
    """Return the published set, each channel with mean 0 and variance 1 over the training part."""
    found = find_spec("sktime")
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise MissingDataError(
            "the Japanese Vowels set ships with sktime, which is not installed here: "
            "pip install 'rnnbench[train]'"
        )
    folder = Path(folders[0]) / VOWELS_FOLDER
    parts = [_read(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")]
    train, test = ([values for values, _ in part] for part in parts)
    labels = sorted({label for _, label in parts[0]})
    targets = [torch.tensor([labels.index(label) for _, label in part]) for part in parts]
    scaled = (normalised(train, part) for part in (train, test))
    return Task(VOWELS, CLASSIFICATION, len(labels), *map(Part, scaled, targets))


def normalised(
    fitted_on: Sequence[NDArray[np.float64]], sequences: Sequence[NDArray[np.float64]]
) -> list[Tensor]:
    """Return (x − mean) / deviation of each channel in float32, both over ``fitted_on``."""
    steps = np.concatenate(fitted_on)
    mean, deviation = steps.mean(0), steps.std(0)
    return [torch.tensor((x - mean) / deviation, dtype=torch.float32) for x in sequences]


def _read(path: Path) -> list[tuple[NDArray[np.float64], str]]:
    """Return sequences (T, I) and labels of a .ts file: channels between colons, the label last."""
    try:
        _, _, data = path.read_text(encoding="utf-8").partition("@data\n")
    except OSError as error:
        raise MissingDataError(f"the installed sktime does not ship {path.name}: {error}") from None
    found = []
    for line in data.splitlines():
        *channels, label = line.split(":")
        values = [np.array(channel.split(","), dtype=np.float64) for channel in channels]
        found.append((np.stack(values, axis=1), label))
    return found


def adding(T: int, size: int, seed: int) -> Task:
    """Return ``size`` sequences of T steps to train on and `ADDING_TEST` to test."""
    rng = np.random.default_rng([seed, T])
    return Task(ADDING, REGRESSION, 1, _sums(rng, size, T), _sums(rng, ADDING_TEST, T))


def _sums(rng: np.random.Generator, count: int, T: int) -> Part:
    numbers = rng.random((count, T), dtype=np.float32)
    marks = np.zeros_like(numbers)
    rows = np.arange(count)
    first, second = rng.integers(0, T // 2, count), rng.integers(T // 2, T, count)
    marks[rows, first] = marks[rows, second] = 1.0
    sums = numbers[rows, first] + numbers[rows, second]
    sequences = torch.from_numpy(np.stack([numbers, marks], axis=2))
    return Part(list(sequences), torch.from_numpy(sums))


def held_out(part: Part, every: int) -> tuple[Part, Part]:
    """Return a part without each class's ``every``-th sequence, and a part of those.

    Settings are chosen by the second, as the test part must not be used for that. Regression has
    one class.
    """
    seen: dict[float, int] = {}
    kept: list[int] = []
    held: list[int] = []
    for row, target in enumerate(part.targets.tolist()):
        group = 0.0 if part.targets.is_floating_point() else target
        seen[group] = seen.get(group, 0) + 1
        (held if seen[group] % every == 0 else kept).append(row)
    return part.take(kept), part.take(held)
