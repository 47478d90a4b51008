"""What "auto" takes: by the measured table where that holds the case, else torch's kernels."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
import torch

import rnnbench
from rnnbench.backends import native
from rnnbench.interface import Conditions
from rnnbench.nn import auto
from rnnbench.nn import modules as nn
from rnnbench.spec import CELLS, PHASES, Spec

TABLE = json.loads(auto.TABLE.read_text(encoding="utf-8"))
POINTS = [auto.Point(*row["point"]) for row in TABLE["points"]]


def chosen_at(point, **changes):
    """Whether numba is taken exactly at a point of the grid, or beside it."""
    point = point._replace(**{k: v for k, v in changes.items() if k in auto.Point._fields})
    spec = Spec(point.cell, 8, point.H, dtype=point.dtype)
    T = changes.get("T", auto.STEPS)
    return auto.numba_is_faster(spec, point.phase, point.packed, T, point.B, point.threads)


def test_the_table_holds_its_whole_grid_for_one_thread_and_more():
    threads = {point.threads for point in POINTS}
    assert min(threads) == 1
    assert len(threads) > 1
    grid = product(threads, CELLS, PHASES, auto.DTYPES, (False, True), auto.BATCHES, auto.HIDDEN)
    assert sorted(map(tuple, POINTS)) == sorted(grid)
    assert {"machine", "cores", "torch", "numba", "T"} <= set(TABLE["about"])


def test_on_the_grid_it_never_takes_what_was_measured_slower():
    taken = [row for row, point in zip(TABLE["points"], POINTS, strict=True) if chosen_at(point)]
    assert taken
    assert all(row["ratio"] >= row["low"] >= 1 for row in taken)
    left = [row for row, point in zip(TABLE["points"], POINTS, strict=True) if not chosen_at(point)]
    assert all(row["low"] < 1 for row in left)


@pytest.fixture
def planted(monkeypatch):
    """A table in which numba is twice as fast but at B=8, H=64."""

    def plant(slow):
        low = {point: 0.5 if (point.B, point.H) in slow else 2.0 for point in POINTS}
        monkeypatch.setattr(auto, "_ratios", lambda: low)
        auto.numba_is_faster.cache_clear()

    yield plant
    auto.numba_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("B", "H", "faster"),
    [(1, 16, True), (8, 64, False), (8, 40, False), (5, 64, False), (9, 100, False), (1, 40, True),
     (64, 64, True), (200, 2000, True), (2, 600, True)],
)  # fmt: skip
def test_between_points_all_those_around_must_be_faster(planted, B, H, faster):
    planted({(8, 64)})
    spec = Spec("gru", 8, H)
    assert auto.numba_is_faster(spec, "training", False, auto.STEPS, B, 1) is faster


def test_other_cases_than_the_grids_are_torchs(planted):
    planted(set())
    spec = Spec("lstm", 8, 64)
    assert auto.numba_is_faster(spec, "training", False, auto.STEPS, 8, 1)
    for other in (replace(spec, dtype="bfloat16"), replace(spec, proj_size=3)):
        assert not auto.numba_is_faster(other, "training", False, auto.STEPS, 8, 1)
    assert not auto.numba_is_faster(spec, "training", False, auto.STEPS - 1, 8, 1)
    assert not auto.numba_is_faster(spec, "training", False, auto.STEPS, 0, 1)


def test_more_threads_than_measured_go_by_the_most_measured(planted):
    planted(set())
    assert auto.numba_is_faster(Spec("gru", 8, 64), "training", False, auto.STEPS, 8, 64)


@pytest.fixture
def seen(monkeypatch):
    """Names of the backends that modules took."""
    names = []
    real = nn.choose

    def choose(*args):
        names.append(real(*args))
        return names[-1]

    monkeypatch.setattr(nn, "choose", choose)
    return names


def test_a_module_takes_the_faster_backend_and_gives_the_same(planted, seen):
    module, x = rnnbench.GRU(8, 64, batch_first=True), torch.randn(3, auto.STEPS, 8)
    planted(set())
    fast, _ = module(x)
    planted(set(product(auto.BATCHES, auto.HIDDEN)))
    slow, _ = deepcopy(module)(x)  # the module itself remembers what it chose
    module(x[:, :4])
    assert seen == ["numba", "native", "native"]
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_packed_sequences_autocast_and_tangents(planted, seen):
    planted(set())
    module, x = rnnbench.RNN(8, 64), torch.randn(auto.STEPS, 3, 8)
    module(torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([auto.STEPS, 9, 2])))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(x)
    torch.func.jvp(lambda x: module(x)[0], (x,), (x,))
    assert seen == ["numba", "native", "native"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lengths", [None, (4, 4), (4, 2)], ids=["dense", "equal", "ragged"])
def test_under_autocast_it_takes_torch_where_torch_itself_can(seen, dtype, lengths):
    """No processor trains a dense LSTM in float16; whether it has bfloat16 is the processor's."""
    module, torchs = rnnbench.LSTM(3, 4), rnnbench.LSTM(3, 4, backend="native")
    x = torch.randn(4, 2, 3)
    if lengths is not None:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths))
    theirs = torch.nn.LSTM(3, 4)
    with torch.autocast("cpu", dtype=dtype):
        try:
            theirs(x)
        except RuntimeError:
            with pytest.raises(rnnbench.UnsupportedError, match="gradients"):
                torchs(x)
            taken = "numba"
        else:
            torchs(x)
            taken = "native"
        module(x)
    assert seen[-1] == taken
    assert taken == "numba" or dtype == torch.bfloat16 or lengths == (4, 2)


def test_asking_what_torch_can_do_leaves_random_numbers_and_modes_alone():
    native._refusal.cache_clear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    autocast = torch.autocast("cpu", dtype=torch.float16)
    with autocast, torch.device("meta"), native.Operators() as seen:
        said = rnnbench.get_backend("native").supports(Spec("lstm", 3, 4), Conditions())
    assert "float16 autocast with gradients" in said
    assert not seen.counts
    assert torch.equal(torch.get_rng_state(), before)
