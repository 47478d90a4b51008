"""Data: as published, normalised by the training part alone, made by seed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.training import tasks
from rnnbench.training.settings import ADDING, Settings


def test_japanese_vowels_are_as_published(vowels):
    lengths = [len(one) for part in (vowels.train, vowels.test) for one in part.sequences]
    assert (len(vowels.train.sequences), len(vowels.test.sequences)) == (270, 370)
    assert (min(lengths), max(lengths)) == (7, 29)
    assert (vowels.input_size, vowels.classes) == (12, 9)
    assert vowels.train.targets.bincount().tolist() == [30] * 9
    assert vowels.test.targets.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_the_files_are_read_as_sktime_reads_them(vowels):
    datasets = pytest.importorskip("sktime.datasets", reason="sktime without its dependencies")
    for split, part in (("train", vowels.train), ("test", vowels.test)):
        x, y = datasets.load_japanese_vowels(split=split, return_X_y=True)
        assert [int(label) - 1 for label in y] == part.targets.tolist()
        raw = [np.stack([np.asarray(channel) for channel in row], axis=1) for row in x.to_numpy()]
        if split == "train":
            steps = np.concatenate(raw)
        for ours, theirs in zip(part.sequences, raw, strict=True):
            scaled = (theirs - steps.mean(0)) / steps.std(0)
            np.testing.assert_allclose(ours, scaled, rtol=1e-5, atol=1e-6)


def test_sktime_itself_is_not_imported(vowels):
    import subprocess

    code = (
        "import sys; from rnnbench.training import tasks; tasks.japanese_vowels();"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'sktime']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_normalisation_knows_the_training_part_only(vowels):
    steps = torch.cat(vowels.train.sequences).double()
    assert steps.mean(0).abs().max() < 1e-6
    assert (steps.std(0, correction=0) - 1).abs().max() < 1e-6
    test_steps = torch.cat(vowels.test.sequences).double()
    assert test_steps.mean(0).abs().max() > 1e-3


def test_data_that_is_not_installed_is_said_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    with pytest.raises(tasks.MissingDataError, match=r"pip install 'rnnbench\[train\]'"):
        tasks.japanese_vowels()


@settings(max_examples=20, deadline=None)
@given(T=st.integers(2, 60), seed=st.integers(0, 9))
def test_adding_marks_one_step_of_either_half_and_sums_them(T, seed):
    task = tasks.load(Settings(task=ADDING, T=T, size=5, seed=seed))
    for part in (task.train, task.test):
        for x, target in zip(part.sequences, part.targets, strict=True):
            numbers, marks = x.T
            assert x.shape == (T, 2)
            assert marks[: T // 2].sum() == marks[T // 2 :].sum() == 1
            assert torch.isclose((numbers * marks).sum(), target)


def test_who_does_not_look_has_a_sixth_for_an_error():
    task = tasks.load(Settings(task=ADDING, T=10, size=20_000))
    assert float(((task.train.targets - 1) ** 2).mean()) == pytest.approx(
        tasks.BLIND_ERROR, rel=0.03
    )


def test_one_seed_one_set(sums):
    again = tasks.load(Settings(task=ADDING, T=10, size=40))
    other = tasks.load(Settings(task=ADDING, T=10, size=40, seed=1))
    assert torch.equal(torch.stack(again.train.sequences), torch.stack(sums.train.sequences))
    assert not torch.equal(other.train.targets, sums.train.targets)


def test_a_fifth_of_each_class_is_held_out_and_nothing_lost(vowels, sums):
    kept, held = tasks.held_out(vowels.train, 5)
    assert held.targets.bincount().tolist() == [6] * 9
    assert kept.targets.bincount().tolist() == [24] * 9
    ids = {id(one) for one in [*kept.sequences, *held.sequences]}
    assert ids == {id(one) for one in vowels.train.sequences}
    kept, held = tasks.held_out(sums.train, 5)
    assert (len(kept.sequences), len(held.sequences)) == (32, 8)
