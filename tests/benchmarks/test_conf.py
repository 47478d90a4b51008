"""asv.conf.json: unknown keys and wrong pins are accepted by asv in silence."""

from __future__ import annotations

import re

import pytest
from asv.config import Config
from asv.util import load_json
from benchmarks import suite as own
from benchmarks.records import ROOT

from rnnbench.judge.suite import KEY, load


@pytest.fixture(scope="module")
def conf():
    return load_json(str(ROOT / "asv.conf.json"), js_comments=True)


def _constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if re.match(r"[\w-]+==", line))


def test_every_key_is_one_that_asv_reads(conf):
    assert set(conf) - {"version", KEY} <= set(vars(Config()))


def test_our_own_key_names_modules_that_are_there(conf):
    assert set(conf[KEY]) <= {"suite", "pages"}
    suite = load(ROOT / "benchmarks", ROOT, conf)
    assert (suite.control, suite.plant) == (own.control, own.plant)


def test_the_matrix_pins_what_constraints_pin(conf):
    pinned = {name.removeprefix("pip+"): v for name, v in conf["matrix"]["req"].items()}
    assert pinned == {name: [_constraints()[name]] for name in pinned}
    assert {"torch", "numba", "numpy", "scipy", "asv_runner"} <= set(pinned)


def test_the_matrix_holds_every_dependency_of_the_package(conf):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert needed | {"threadpoolctl"} <= set(conf["matrix"]["req"])


def test_the_publisher_is_loaded_and_no_host_is_named(conf):
    assert conf["plugins"] == [".reports.publisher"]  # without the dot asv ignores it
    assert "://" not in (ROOT / "asv.conf.json").read_text()
    assert conf["launch_method"] == "forkserver"
