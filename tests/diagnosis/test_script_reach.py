"""Losses of a training script: the steps that each reaches, and what is said of its gradients."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.diagnosis.script.graph import Following, following
from rnnbench.diagnosis.script.process import reach_script
from rnnbench.diagnosis.script.reach import reach_of
from rnnbench.diagnosis.script.run import Run, execute
from rnnbench.diagnosis.script.source import Source
from rnnbench.diagnosis.script.watch import Watch

SETUP = """\
import torch
from torch import nn
torch.manual_seed(0)
steps, window, size = 9, 3, 4

class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.head = nn.Linear(2 + size, size), nn.Linear(size, 1)

    def forward(self, x, h):
        h = torch.tanh(self.into(torch.cat([x, h])))
        return self.head(h), h

cell = Step()
series, goal = torch.randn(steps, 2), torch.randn(steps, 1)
optimiser = torch.optim.SGD(cell.parameters(), lr=0.1)
error = nn.functional.mse_loss
"""
WHOLE = """\
h, loss = torch.zeros(size), 0
optimiser.zero_grad()
for i in range(steps):
    y, h = cell(series[i], h)
    if i >= window:
        loss = loss + error(y, goal[i])
loss.backward()
optimiser.step()
"""
EACH_STEP = """\
h = torch.zeros(size)
for i in range(steps):
    optimiser.zero_grad()
    y, h = cell(series[i], h.detach())
    error(y, goal[i]).backward()
    optimiser.step()
"""
EVERY = """\
h, loss = torch.zeros(size), 0
for i in range(steps):
    y, h = cell.forward(series[i], h)
    loss = loss + error(y, goal[i])
    if i % window == window - 1:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        h, loss = h.detach(), 0
"""
KEPT = """\
from collections import deque
h, states, loss = torch.zeros(size), deque(maxlen=2), 0
for i in range(steps):
    states.append(h)
    y, h = cell(series[i], h)
    loss = loss + error(y, goal[i])
    loss.backward(retain_graph=True)
    optimiser.step()
"""
TWICE = """\
h, total = torch.zeros(size), 0
for i in range(4):
    y, h = cell(series[i], h)
    total = total + error(y, goal[i])
    total.backward(retain_graph=True)
"""
THROWN = """\
h = torch.zeros(size)
for i in range(4):
    optimiser.zero_grad()
    y, h = cell(series[i], h.detach())
    error(y, goal[i]).backward()
"""


@pytest.fixture
def followed(tmp_path):
    """Return a function that follows a text after the set-up in this process."""
    setup = tmp_path / "setup.py"
    setup.write_text(SETUP)

    def follow(text, before=setup):
        source = Source(tmp_path / "train.py", text)
        follow = Following(source)
        return execute(Run(source, Watch(source), {}), following(follow), 60.0, before), follow

    return follow


@pytest.fixture
def reached(followed):
    """Return a function that says what the losses of a text reach."""
    return lambda text, **given: reach_of(*followed(text, **given), "train.py")


def test_one_pass_over_all_reaches_everything_before_each_loss(reached):
    found = reached(WHOLE)
    assert [(r.step, r.steps) for r in found.losses] == [
        (i, tuple(range(i + 1))) for i in range(3, 9)
    ]
    assert {r.backward for r in found.losses} == {1}
    assert "reaches back over all steps before it: nothing is truncated" in found.said[0]


def test_a_state_detached_at_every_step_leaves_a_window_of_one(reached):
    found = reached(EACH_STEP)
    assert [r.steps for r in found.losses] == [(i,) for i in range(9)]
    assert found.said == ["each loss reaches its own step only: a window of 1"]


def test_a_state_detached_every_k_steps_leaves_windows_of_one_to_k(reached):
    found = reached(EVERY)
    assert [r.back for r in found.losses] == [1, 2, 3] * 3
    assert found.losses[4].steps == (3, 4)
    assert found.said[0].startswith("the losses reach back over 1 to 3 steps, by where they stand")


def test_what_torch_refuses_is_explained_by_steps_and_updates(reached):
    found = reached(KEPT)
    assert found.status == "raised"
    assert [r.steps for r in found.losses] == [(0,), (0,), (0, 1)]
    assert [r.stale for r in found.losses] == [0, 1, 1]
    assert any(
        "torch refuses backward 2 (line 7): it goes through steps 0" in s for s in found.said
    )


def test_losses_that_are_differentiated_again_are_counted(reached):
    found = reached(TWICE)
    assert any(
        "3 of 4 losses are differentiated more than once: the loss of step 0 in backward 1–4, and "
        "its gradient is added each time" in s for s in found.said
    )  # fmt: skip
    assert any("no update uses the gradients of backward 1–4" in s for s in found.said)
    assert any("steps 4–8 of series never go into the network" in s for s in found.said)


def test_gradients_that_zero_grad_throws_away_are_said_so(reached):
    said = reached(THROWN).said
    assert (
        "the gradients of backward 1–3 are thrown away: zero_grad in line 3 comes before any update"
        in said
    )
    assert "no update uses the gradients of backward 4" in said


CHUNKS = """\
import torch
rnn = torch.nn.LSTM(2, 3)
optimiser = torch.optim.SGD(rnn.parameters(), lr=0.1)
series, state = torch.randn(12, 1, 2), None
for start in range(0, 12, 4):
    x, wanted = series[start:start + 3], series[start + 1:start + 4]
    out, state = rnn(x, state)
    state = tuple(part.detach() for part in state)
    optimiser.zero_grad()
    (out[..., :2] - wanted).pow(2).sum().backward()
    optimiser.step()
"""


def test_chunks_reach_themselves_and_targets_are_no_input(reached):
    found = reached(CHUNKS, before=None)
    assert [r.steps for r in found.losses] == [(0, 1, 2), (4, 5, 6), (8, 9, 10)]
    assert [(r.step, r.back, r.stale) for r in found.losses] == [(2, 3, 0), (6, 3, 0), (10, 3, 0)]
    assert found.said == [
        "each loss reaches back over 3 steps", "steps 3, 7, 11 of series never go into the network"
    ]  # fmt: skip


def test_samples_of_a_loader_are_no_steps(reached):
    text = """\
import torch
from torch.utils.data import DataLoader, TensorDataset
rnn = torch.nn.GRU(2, 3)
for (x,) in DataLoader(TensorDataset(torch.randn(8, 5, 2)), batch_size=4):
    rnn(x)[0].sum().backward()
"""
    assert reached(text, before=None).status == "nothing"


def test_an_update_by_hand_is_an_update(reached):
    text = THROWN.replace("    optimiser.zero_grad()\n", "") + (
        "    with torch.no_grad():\n        for p in cell.parameters():\n"
        "            p -= 0.1 * p.grad\n            p.grad.zero_()\n"
    )
    assert not any("update" in s for s in reached(text).said)


def test_a_fragment_lists_what_it_lacks(reached):
    found = reached(EACH_STEP, before=None)
    assert found.status == "raised"
    assert [s.split(" is ")[0] for s in found.trouble] == [
        "line 1: torch", "line 1: size", "line 2: steps", "line 3: optimiser", "line 4: cell",
        "line 4: series", "line 5: error", "line 5: goal",
    ]  # fmt: skip


def test_the_numbers_are_the_same_as_without_being_followed(followed):
    run, _ = followed(EVERY)
    names = {}
    exec(SETUP + EVERY, names)
    for one, other in zip(run.names["cell"].parameters(), names["cell"].parameters(), strict=True):
        assert one.equal(other)


def test_the_command_prints_losses_and_sentences(tmp_path):
    (tmp_path / "setup.py").write_text(SETUP)
    (tmp_path / "train.py").write_text(EVERY)
    arguments = ["reach", str(tmp_path / "train.py"), "--setup", str(tmp_path / "setup.py")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert (data["status"], data["data"], data["size"]) == ("measured", "series", 9)
    found = reach_script(tmp_path / "train.py", setup=tmp_path / "setup.py")
    assert [r.back for r in found.losses] == [
        r["steps"][-1] - r["steps"][0] + 1 for r in data["losses"]
    ]
    assert "backward 1 (line 7): the loss of step 2 reaches 0–2, 3 back" in str(found)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nosuch.py"], 2, "FILE must exist"),
        (["train.py", "--setup", "nosuch.py"], 2, "setup must be a file"),
        (["train.py"], 4, "no backward pass went through what is read by index"),
    ],
)
def test_what_cannot_be_followed_gets_one_sentence(tmp_path, monkeypatch, arguments, code, words):
    (tmp_path / "train.py").write_text("print('hello')\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["reach", *arguments])
    assert (result.exit_code, words in result.output) == (code, True), result.output
