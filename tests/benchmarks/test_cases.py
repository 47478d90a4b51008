"""Profiles: what a case is called, and who holds what."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
from benchmarks import cases

from rnnbench import interface
from rnnbench.spec import CELLS

GRIDS = {
    "networks": cases.NETWORKS,
    "memory": cases.MEMORY,
    "first call": cases.FIRST_CALL,
    "compile": cases.COMPILE,
    "truncation": cases.TRUNCATION,
    "bias": cases.BIAS,
    "lags": cases.LAGS,
    "training": cases.TRAINING,
}


def _names(axes, profile):
    """Every case as asv writes it."""
    return {tuple(map(repr, case)) for case in itertools.product(*cases.params(axes, profile))}


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_each_profile_holds_the_smaller_ones_under_the_same_names(axes):
    held = [_names(axes, profile) for profile in cases.PROFILES]
    assert held[0]
    for smaller, larger in itertools.pairwise(held):
        assert smaller <= larger


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_no_value_is_listed_twice_or_for_an_unknown_profile(axes):
    for added in axes.values():
        everything = cases.values(added, "full")
        assert len(everything) == len(set(everything))
        assert set(added) <= set(cases.PROFILES)


def test_quick_covers_every_cell_backend_and_direction():
    backends, *values = cases.params(cases.NETWORKS, "quick")
    quick = dict(zip(cases.NETWORKS, values, strict=True))
    assert set(backends) == set(interface.backends()) - set(cases.BY_NIGHT)
    assert set(quick["cell"]) == set(CELLS)
    assert set(quick["T"]) == {16, 128}
    assert set(quick["layers"]) == set(quick["directions"]) == {1, 2}


def test_trainings_are_one_backend_by_day_and_all_by_night():
    assert cases.training_params("smoke") == [["numba"], ["gru"]]
    assert cases.training_params("quick") == [["numba"], ["gru"]]
    backends, cells = cases.training_params("nightly")
    assert set(backends) == set(interface.backends())
    assert set(cells) == set(CELLS)


def test_peers_are_measured_by_night_and_named_as_the_package_names_them():
    assert set(cases.BY_NIGHT) == {*interface.PEERS, "numba-plain"}
    for profile in ("nightly", "full"):
        assert set(cases.params(cases.NETWORKS, profile)[0]) == set(interface.backends())


def test_a_new_backend_appears_by_registering_it(monkeypatch):
    monkeypatch.setattr(cases.package, "backends", lambda: ("manual", "mine"))
    assert cases.params(cases.NETWORKS)[0] == ["manual", "mine"]


def test_an_unknown_profile_is_refused_by_name():
    done = subprocess.run(
        [sys.executable, "-c", "import benchmarks.cases"],
        cwd=cases.__file__.rsplit(os.sep, 2)[0],
        env=os.environ | {"RNNBENCH_PROFILE": "quik"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "RNNBENCH_PROFILE must be one of smoke, quick, nightly, full; got 'quik'" in done.stderr
