"""The character model learns in every mode, and its modes differ by their gradient alone."""

from __future__ import annotations

import json
from itertools import islice, pairwise

import char_truncated
import pytest
import torch

from rnnbench.training import characters as program

STEPS = 12


@pytest.fixture
def short(monkeypatch):
    """Smaller than the example, so that all modes take seconds."""
    monkeypatch.setattr(program, "SPAN", 32)
    monkeypatch.setattr(program, "LEARNING_RATE", 2e-2)


@pytest.mark.parametrize("cell", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("mode", program.MODES)
def test_every_mode_learns(short, mode, cell):
    points = list(islice(program.train(mode, cell), STEPS))
    assert [point.step for point in points] == list(range(1, STEPS + 1))
    assert points[-1].loss < 0.85 * points[0].loss
    assert all(a.seconds < b.seconds for a, b in pairwise(points))


def test_the_first_loss_is_the_same_whatever_the_mode(short):
    """One forward pass with the same weights; what follows depends on the gradient."""
    firsts = [next(program.train(mode)).loss for mode in program.MODES]
    torch.testing.assert_close(firsts, [firsts[0]] * len(firsts), rtol=1e-5, atol=0)


def test_the_streams_go_on_from_batch_to_batch(short):
    text, _ = program.read_text()
    first, second = islice(program.batches(text), 2)
    assert first.reset.all()
    assert not second.reset.any()
    characters, following = first.data
    assert torch.equal(characters[1:], following[:-1])
    assert torch.equal(second.data[0][0], following[-1])


def test_the_script_prints_its_curves(short, capsys):
    char_truncated.main(["--mode", "chunks", "sliding", "--steps", "2", "--json"])
    points = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(p["mode"], p["step"]) for p in points] == [
        ("chunks", 1), ("chunks", 2), ("sliding", 1), ("sliding", 2),
    ]  # fmt: skip
    char_truncated.main(["--mode", "full", "--seconds", "0"])
    assert capsys.readouterr().out.startswith("full     step    1 ")
