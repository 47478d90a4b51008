"""Small tasks and settings that train in a blink."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnnbench.training import tasks
from rnnbench.training.settings import ADDING, VOWELS, Settings
from rnnbench.training.tasks import Task

SMALL = Settings(hidden_size=8, epochs=2, batch=10)


@pytest.fixture(scope="session")
def vowels() -> Task:
    """The whole set."""
    return tasks.load(Settings(task=VOWELS))


@pytest.fixture(scope="session")
def few(vowels) -> Task:
    """Thirty utterances of different lengths to train on, ten to test."""
    rows = range(0, 270, 9)
    return replace(vowels, train=vowels.train.take(rows), test=vowels.test.take(range(0, 370, 37)))


@pytest.fixture(scope="session")
def sums() -> Task:
    """The adding problem of ten steps."""
    return tasks.load(Settings(task=ADDING, T=10, size=40))


@pytest.fixture
def small() -> Settings:
    return SMALL
