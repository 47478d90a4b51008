"""Three programs, ours by their import line alone, have torch's loss curves on every backend.

float64: each loss of the curve within 1e-9 of torch's, absolutely and relatively.

float32: within a band that is measured on torch's own module. Training magnifies differences, so
rounding alone moves the curve, by an amount that depends on the program and grows with its steps.
How far is seen by moving the recurrent weights at the start by one eps, relative and of random
sign: s(t), the spread, is how far the loss of step t moves at most over `SEEDS`. A backend rounds
differently in every step, not in the first alone; what it does in step k has had t − k steps to
grow, so that all of them together move the loss of step t by no more than Σ s(k), k ≤ t:

    band(t) = FACTOR · (2 eps · |loss(t)| + Σ_{k≤t} s(k))

The first term is what s cannot show: it is the difference of two losses, each rounded to float32.
FACTOR is 2: one step of a backend may be off by `rnnbench.parity.check.FLOOR` = 4 unit roundoffs,
which are 2 eps. `test_band_has_teeth` shows what falls outside.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from command_line import CLASSES, run
from numpy.typing import NDArray
from support import skip_unless_supported, skip_what_jax_compiles
from torch.nn.utils.rnn import pack_padded_sequence

import rnnbench
from rnnbench.spec import Spec

HERE = Path(__file__).parent
IMPORT = "import torch.nn as recurrent"
OURS = "import rnnbench as recurrent"

EPS = torch.finfo(torch.float32).eps
FACTOR = 2.0
SEEDS = range(5)


class Program(NamedTuple):
    """One of the programs with the steps that its tests take.

    cell: what ``train`` is given as ``cell``; None where it has no choice
    """

    name: str
    cell: str | None
    steps: int
    has_dropout: bool

    def curve(self, recurrent: Any, dtype: torch.dtype, **options: Any) -> NDArray[np.float64]:
        """Loss of each step."""
        if self.cell is not None:
            options["cell"] = self.cell
        train = import_module(self.name).train
        return np.array(train(recurrent, dtype=dtype, steps=self.steps, **options))

    def __str__(self) -> str:
        return self.name if self.cell is None else f"{self.name}-{self.cell}"


PROGRAMS = (
    Program("char_language_model", "RNN", steps=24, has_dropout=True),
    Program("char_language_model", "GRU", steps=12, has_dropout=True),
    Program("sequence_tagging", None, steps=6, has_dropout=True),
    Program("sequence_to_sequence", "GRU", steps=30, has_dropout=False),
    Program("sequence_to_sequence", "LSTM", steps=30, has_dropout=False),
)
LANGUAGE, _, TAGGING, TRANSLATION, _ = PROGRAMS

SCRIPT_STEPS = 4
SCRIPTS = (LANGUAGE, TAGGING, TRANSLATION)

any_program = pytest.mark.parametrize("program", PROGRAMS, ids=str)


@cache
def torch_curve(program: Program, dtype: torch.dtype) -> tuple[NDArray[np.float64], torch.Tensor]:
    """torch.nn's losses, and the state in which it leaves the random numbers."""
    losses = program.curve(torch.nn, dtype)
    return losses, torch.get_rng_state()


def altered(alter: Any) -> SimpleNamespace:
    """torch.nn's recurrent classes, each new module handed to ``alter`` first."""

    def maker(name: str) -> Any:
        def make(*args: Any, **kwargs: Any) -> torch.nn.Module:
            module = getattr(torch.nn, name)(*args, **kwargs)
            alter(module)
            return module

        return make

    return SimpleNamespace(**{name: maker(name) for name in CLASSES})


def kicked(seed: int, size: float) -> SimpleNamespace:
    """torch.nn's recurrent classes, every weight at the start off by ``size``, relatively."""
    # of its own: the program's random numbers must stay what they are
    generator = torch.Generator().manual_seed(seed)

    def kick(module: torch.nn.Module) -> None:
        for weight in module.parameters():
            sign = torch.randint(2, weight.shape, generator=generator) * 2 - 1
            weight.data.mul_(1 + size * sign)

    return altered(kick)


@cache
def band(program: Program) -> NDArray[np.float64]:
    """How far a float32 curve may be from torch's at each step: see above."""
    losses, _ = torch_curve(program, torch.float32)
    kicks = [program.curve(kicked(seed, EPS), torch.float32) for seed in SEEDS]
    spread = np.max(np.abs(kicks - losses), axis=0)
    return FACTOR * (2 * EPS * np.abs(losses) + np.cumsum(spread))


def skip_if_costly(backend: str, program: Program, dtype: torch.dtype) -> None:
    """Spare the compile seconds of what another case covers, but for RNNBENCH_PROFILE=full.

    The compile backend takes 10 s and more for each cell and dtype when its cache is cold. The
    chunk it compiles is one code for both dtypes, so float64 goes over the first program only.
    jax compiles each length of a batch anew.
    """
    covered = dtype == torch.float64 and program != LANGUAGE
    if backend == "compile" and covered and os.environ.get("RNNBENCH_PROFILE") != "full":
        pytest.skip("compile seconds; set RNNBENCH_PROFILE=full to run it")
    skip_what_jax_compiles(backend, "each length of a batch is compiled anew")


def curve_on(backend: str, program: Program, dtype: torch.dtype) -> NDArray[np.float64]:
    """The losses on a backend; skips with its own reason where it cannot do the case."""
    try:
        losses = program.curve(rnnbench, dtype, backend=backend)
    except rnnbench.UnsupportedError as refusal:
        pytest.skip(str(refusal))
    # the same numbers were drawn, and as many: dropout's masks are torch's
    assert torch.equal(torch.get_rng_state(), torch_curve(program, dtype)[1])
    return losses


@any_program
def test_float64_curve_is_torchs(program: Program, backend: str) -> None:
    skip_if_costly(backend, program, torch.float64)
    expected, _ = torch_curve(program, torch.float64)
    losses = curve_on(backend, program, torch.float64)
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=0)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)


@any_program
def test_float32_curve_stays_in_the_band(program: Program, backend: str) -> None:
    skip_if_costly(backend, program, torch.float32)
    expected, _ = torch_curve(program, torch.float32)
    deviation = np.abs(curve_on(backend, program, torch.float32) - expected)
    # not `<` alone: a NaN must fail
    assert np.all(deviation <= band(program)), (deviation / band(program)).max()


@any_program
def test_programs_learn(program: Program) -> None:
    losses, _ = torch_curve(program, torch.float64)
    assert losses[-1] < 0.9 * losses[0]


def _float16_weights(module: torch.nn.Module) -> None:
    for weight in module.parameters():
        weight.data = weight.data.half().float()


def _other_masks(module: torch.nn.Module) -> None:
    """As if dropout between the layers drew its masks in another order."""
    torch.rand(1)


def _no_dropout(module: torch.nn.Module) -> None:
    module.dropout = 0.0


MISTAKES = {
    "float16 weights": altered(_float16_weights),
    "other masks": altered(_other_masks),
    "no dropout": altered(_no_dropout),
}


@pytest.mark.parametrize(
    ("program", "mistake"),
    [
        pytest.param(program, mistake, id=f"{program}-{mistake}")
        for program in PROGRAMS
        for mistake in MISTAKES
        if program.has_dropout or mistake == "float16 weights"
    ],
)
def test_band_has_teeth(program: Program, mistake: str) -> None:
    expected, _ = torch_curve(program, torch.float32)
    deviation = np.abs(program.curve(MISTAKES[mistake], torch.float32) - expected)
    assert not np.all(deviation <= band(program))


def _stacked(recurrent: Any, name: str, **options: Any) -> torch.nn.Module:
    torch.manual_seed(5)
    return getattr(recurrent, name)(64, 64, 3, dropout=0.5, bidirectional=True, **options)


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize("name", CLASSES)
def test_masks_are_torchs(name: str, packed: bool, backend: str) -> None:
    """One seed, one mask: another one would change the output at its first digit."""
    skip_unless_supported(backend, Spec("gru", 64, 64, 3, 2, dropout=0.5), packed=packed)
    if name != "GRU":
        skip_what_jax_compiles(backend, "the GRU shows it")
    x: Any = torch.randn(7, 4, 64)
    if packed:
        x = pack_padded_sequence(x, torch.tensor([3, 7, 1, 5]), enforce_sorted=False)
    outputs = []
    for module in (_stacked(torch.nn, name), _stacked(rnnbench, name, backend=backend)):
        torch.manual_seed(6)
        y, _ = module(x)
        outputs.append((y.data if packed else y, torch.get_rng_state()))
    (expected, random), (got, random_after) = outputs
    torch.testing.assert_close(got, expected, rtol=0, atol=64 * EPS)
    assert torch.equal(random_after, random)


def printed_losses(output: str) -> list[float]:
    """Losses of the steps, from what a program prints; the last line must repeat the last."""
    lines = output.splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step ")]
    assert lines[-1] == f"final loss {losses[-1]!r}"
    return losses


def _start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env=os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _losses_of(script: subprocess.Popen[str]) -> list[float]:
    output, errors = script.communicate()
    assert script.returncode == 0, errors
    return printed_losses(output)


@pytest.mark.parametrize("program", SCRIPTS, ids=str)
def test_script_changed_by_its_import_line_alone(program: Program, tmp_path: Path) -> None:
    path = HERE / f"{program.name}.py"
    source = path.read_text()
    assert sum(row.startswith(IMPORT) for row in source.splitlines()) == 1
    changed = tmp_path / path.name
    changed.write_text(source.replace(f"\n{IMPORT}", f"\n{OURS}"))
    arguments = ("--dtype", "float64", "--steps", str(SCRIPT_STEPS))
    # side by side: most of their time goes into importing torch
    scripts = [_start(path, *arguments), _start(changed, *arguments)]
    theirs, ours = map(_losses_of, scripts)
    expected, _ = torch_curve(program, torch.float64)
    np.testing.assert_allclose(theirs, expected[:SCRIPT_STEPS], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("program", SCRIPTS, ids=str)
def test_options_choose_the_backend(
    program: Program, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(program.name)
    chosen = []

    def train(recurrent: Any, **options: Any) -> list[float]:
        chosen.append((recurrent, options["backend"], options["dtype"]))
        return [3.0, 2.0, 1.0][: options["steps"]]

    arguments = ["--backend", backend, "--dtype", "float64", "--steps", "2"]
    run(train, module.recurrent, steps=3, arguments=arguments)
    assert chosen == [(rnnbench, backend, torch.float64)]
    assert printed_losses(capsys.readouterr().out) == [3.0, 2.0]


def test_translations_are_torchs(backend: str) -> None:
    """Calls of one step without gradients, the state handed from each to the next."""
    skip_if_costly(backend, TRANSLATION, torch.float64)
    skip_unless_supported(backend, Spec("gru", 64, 64, dtype="float64"))
    models: list[Any] = []
    options = {"dtype": torch.float64, "steps": 30, "at_end": models.append}
    train = import_module(TRANSLATION.name).train
    train(torch.nn, **options)
    train(rnnbench, backend=backend, **options)
    for text in ("05 Mar 2024", "31 Dec 1999"):
        assert models[1].translate(text) == models[0].translate(text)
