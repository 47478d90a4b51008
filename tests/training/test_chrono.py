"""Chrono initialisation gives gates the memories that it says, and refuses cells without them."""

from __future__ import annotations

import pytest
import torch

import rnnbench
from rnnbench.errors import InputError
from rnnbench.training.network import chrono
from rnnbench.training.settings import ADDING, Settings

H, LONGEST = 400, 200


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_time_constants_are_spread_up_to_the_longest_lag(cell: str) -> None:
    torch.manual_seed(0)
    rnn = getattr(rnnbench, cell)(3, H, 2, bidirectional=True)
    before = {name: bias.clone() for name, bias in rnn.named_parameters()}
    chrono(rnn, LONGEST)
    for name, bias in rnn.named_parameters():
        if not name.startswith("bias_ih"):
            continue
        total = bias + getattr(rnn, name.replace("bias_ih", "bias_hh"))
        keep = torch.sigmoid(total[H : 2 * H])
        steps = 1 / (1 - keep)  # 1 + e^b, with e^b uniform on (1, LONGEST - 1)
        assert steps.min() >= 2
        assert steps.max() <= LONGEST * 1.001
        assert abs(steps.mean() - (LONGEST + 2) / 2) < 4 * LONGEST / (12 * H) ** 0.5
        if cell == "LSTM":
            assert torch.equal(total[:H], -total[H : 2 * H])
        rest = slice(2 * H, None)
        assert torch.equal(bias[rest], before[name][rest])


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu"])
def test_cells_without_such_a_gate_are_refused(cell: str) -> None:
    with pytest.raises(InputError, match="chrono must be 0 for cell"):
        Settings(cell=cell, chrono=100)


@pytest.mark.parametrize("chrono", [-1, 1, 2])
def test_lags_too_short_to_draw_from_are_refused(chrono: int) -> None:
    with pytest.raises(InputError, match="at least 3"):
        Settings(task=ADDING, chrono=chrono)
