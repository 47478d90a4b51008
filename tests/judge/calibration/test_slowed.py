"""A slowed kernel takes the planted share of a step more, whatever a step is made of."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import slowed
from benchmarks.suite import PARTS
from judge.calibration.simulated import CASES, SUITE, side
from torch.nn.utils.rnn import pack_sequence

import rnnbench
from rnnbench.judge.calibration import plant
from rnnbench.judge.verdict.answer import Commit
from rnnbench.judge.verdict.sides import TIME, Case, Side

MODULE = SimpleNamespace(backend="numba", mode="GRU", num_layers=1, bidirectional=False)
KEY = "inference/numba/gru/16/1/1"


class Clock:
    """Seconds that pass only when something is said to take them."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3  # reading it
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(slowed, "thread_time", made)
    return made


def steps(clock: Clock, sizes: dict[str, float], count: int, around: float = 0.5) -> float:
    """Seconds of so many steps of 1 s in the kernel and ``around`` outside of it."""
    x, state = torch.zeros(16, 2, 3), torch.zeros(1, 2, 4)

    def kernel(*_: object) -> tuple[object, ...]:
        clock.now += 1.0
        return ()

    run = slowed.slowing(kernel, sizes)
    begun = clock.now
    with torch.no_grad():
        for place in range(count + slowed.STEPS):
            if place == slowed.STEPS:
                clock.now += 100.0  # a pause between two series of steps
                begun = clock.now
            run(MODULE, x, state)
            clock.now += around  # backward, and what the module does itself
    return clock.now - begun


@pytest.mark.parametrize("size", plant.SIZES)
def test_the_planted_share_is_that_of_the_whole_step(clock: Clock, size: float) -> None:
    ratio = steps(clock, {KEY: size}, 50) / steps(clock, {}, 50)
    assert ratio == pytest.approx(1 + size, abs=2e-3)


def lasting(clock: Clock, durations: Iterable[float]) -> Callable[[], None]:
    """A step of a slowed kernel, each of whose own steps lasts as long as the next duration."""
    left = iter(durations)

    def kernel(*_: object) -> tuple[object, ...]:
        clock.now += next(left)
        return ()

    run, x = slowed.slowing(kernel, {KEY: 0.1}), torch.zeros(16, 2, 3)

    def step() -> None:
        with torch.no_grad():
            run(MODULE, x)

    return step


def test_a_slow_first_step_is_not_taken_for_the_usual_one(clock: Clock) -> None:
    step = lasting(clock, [100.0, 1.0, 1.0])
    for _ in range(2):
        step()
    begun = clock.now
    step()
    assert clock.now - begun == pytest.approx(1.1, abs=0.01)


def test_in_short_series_neither_the_pause_nor_the_cold_first_step_counts(clock: Clock) -> None:
    cold_and_warm = [2.0, 1.0, 1.0]
    step = lasting(clock, cold_and_warm * 20)
    spun = []
    for _ in range(20):
        begun = clock.now
        for _ in cold_and_warm:
            step()
        spun.append((clock.now - begun - sum(cold_and_warm)) / len(cold_and_warm))
        clock.now += 300.0
    assert spun[1:] == pytest.approx([0.1] * 19, abs=0.01)


def test_steps_that_were_disturbed_make_the_share_no_larger(clock: Clock) -> None:
    step = lasting(clock, [1.0, 1.0, 2.0] * 20)
    for _ in range(30):
        step()
    begun = clock.now
    for _ in range(30):
        step()
    assert clock.now - begun - 40.0 == pytest.approx(30 * 0.1, abs=0.3)


def test_other_cases_and_packed_sequences_are_left_alone(clock: Clock) -> None:
    plain = steps(clock, {}, 20)
    others = dict.fromkeys(("training/numba/gru/16/1/1", "inference/manual/gru/16/1/1"), 0.5)
    assert steps(clock, others, 20) == pytest.approx(plain, rel=1e-3)
    seen = slowed.slowing(lambda *given: given, {KEY: 0.5})
    packed = pack_sequence([torch.zeros(3, 2)])
    assert seen(MODULE, packed) == (MODULE, packed, None)


def test_a_copy_is_slowed_by_what_was_planted_and_the_original_is_not(tmp_path: Path) -> None:
    installed = side(tmp_path / "installed")
    copy = plant.copied(installed, tmp_path / "copy", SUITE, {CASES[0]: 0.1})
    assert copy.path == tmp_path / "copy"
    assert (copy.path / "rnnbench" / "planted.json").read_text() == (
        '{"inference/manual/gru/16/1/1": 0.1}'
    )
    assert "slowing(_Backed.forward)" in (copy.path / "rnnbench" / "nn.py").read_text()
    assert "slowing" not in (tmp_path / "installed" / "rnnbench" / "nn.py").read_text()
    own = runpy.run_path(str(copy.path / "rnnbench" / "slowed.py"))
    assert own["SIZES"] == {"inference/manual/gru/16/1/1": 0.1}


@pytest.mark.parametrize("backend", ["native", "numba"])  # numba's modules remember their calls
def test_the_real_package_can_be_slowed(tmp_path: Path, backend: str) -> None:
    package = Path(rnnbench.__file__).parent
    case = Case(
        "speed.Training.time_training",
        tuple(zip(PARTS, (backend, "gru", "16", "1", "1"), strict=True)),
        TIME,
    )
    shutil.copytree(package, tmp_path / "real" / "rnnbench")
    copy = plant.copied(
        Side(Commit("a", "a"), sys.executable, tmp_path / "real"),
        tmp_path / "copy",
        SUITE,
        {case: 0.2},
    )
    program = (
        "import torch, rnnbench, rnnbench.nn.modules as nn\n"
        f"net = rnnbench.GRU(3, 4, backend={backend!r}); x = torch.zeros(16, 2, 3)\n"
        "for _ in range(4): net(x)\n"
        "(steps,) = nn._Backed.forward.__closure__[0].cell_contents.values()\n"
        "print(steps.share, len(steps.last), steps.spun > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ) | {"PYTHONPATH": str(copy.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0.2", "2", "True"]  # four calls, the cold first not counted
