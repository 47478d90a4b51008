"""A roofline is kept whole or not at all, and is taken for this machine's only if it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rnnbench.files import machine
from rnnbench.roofline import store
from rnnbench.roofline.store import Bandwidth, NoRooflineError, Rate, Roof, Roofline


@pytest.fixture
def made():
    roof = Roof(
        2,
        {"float32": Rate(230.0, 220.0)},
        (
            Bandwidth("L1", 16384, 65536, 400.0, 390.0),
            Bandwidth("memory", 1 << 26, None, 30.0, 29.0),
        ),
    )
    now = "2026-01-02T03:04:05+00:00"
    return Roofline(machine.identity(), machine.versions(), "AVX-512", now, (roof,))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "default_folder", lambda: tmp_path)


def test_what_is_read_is_what_was_saved(made, tmp_path):
    path = store.save(made, tmp_path)
    assert store.read(path) == made
    assert store.stored() == made
    assert made.of(2) is made.roofs[0]
    assert made.of(1) is None
    assert path.suffix == ".jsonl"  # a .json below asv's results is a result to asv
    assert len(path.read_text().splitlines()) == 1


def test_json_names_machine_versions_date_and_units(made):
    given = made.as_dict()
    assert set(given) == {"schema", "machine", "versions", "vectors", "at", "roofs"}
    assert set(given["machine"]) == {"host", "cpu", "cpu_id"}
    assert {"python", "os", "torch", "numba", "numpy"} <= set(given["versions"])
    (roof,) = given["roofs"]
    assert roof["peak_gflops"] == {"float32": {"best": 230.0, "median": 220.0}}
    assert roof["read_gbytes"][1] == {
        "name": "memory", "read": 1 << 26, "capacity": None, "best": 30.0, "median": 29.0,
    }  # fmt: skip


def test_a_write_that_fails_leaves_the_old_file_as_it_was(made, tmp_path, monkeypatch):
    path = store.save(made, tmp_path)

    def full(self, data):
        self.open("wb").write(data[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        store.save(replace(made, vectors="other"), tmp_path)
    assert store.read(path) == made


def test_a_number_that_json_lacks_is_not_written(made, tmp_path):
    bad = replace(made.roofs[0], peak_gflops={"float32": Rate(float("nan"), 1.0)})
    with pytest.raises(ValueError, match="JSON"):
        store.save(replace(made, roofs=(bad,)), tmp_path)
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_nothing_stored_says_what_makes_it():
    with pytest.raises(NoRooflineError, match="`rnnbench roofline` measures it"):
        store.stored()


def test_another_processor_is_not_this_one(made, tmp_path):
    store.save(replace(made, machine=made.machine | {"cpu": "Z80"}), tmp_path)
    with pytest.raises(NoRooflineError, match=r"another processor \(Z80\)"):
        store.stored()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: [],
        lambda d: d | {"schema": 99},
        lambda d: {k: v for k, v in d.items() if k != "roofs"},
        lambda d: d | {"roofs": [{}]},
        lambda d: d | {"roofs": None},
    ],
)
def test_a_file_that_is_something_else_is_said_to_be_unreadable(made, tmp_path, change):
    path = store.save(made, tmp_path)
    path.write_text(json.dumps(change(made.as_dict())))
    with pytest.raises(NoRooflineError, match="cannot be read"):
        store.stored()


def test_a_file_cut_short_is_unreadable(made, tmp_path):
    path = store.save(made, tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(NoRooflineError, match="cannot be read"):
        store.stored()
