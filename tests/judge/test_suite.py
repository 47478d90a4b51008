"""What a project says of its suite is taken from the module that its configuration names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnbench.errors import InputError
from rnnbench.judge.project import Project
from rnnbench.judge.suite import Suite, own_module
from rnnbench.judge.verdict.sides import Case

CASES = [Case("work.time_it", (("n", value),), "time") for value in ("1", "2")]


def project(folder: Path, **own: str) -> Project:
    conf = {"version": 1, "project": "p", "repo": ".", "benchmark_dir": "speeds"}
    (folder / "asv.conf.json").write_text(json.dumps(conf | ({"rnnbench": own} if own else {})))
    (folder / "speeds").mkdir()
    (folder / "speeds" / "__init__.py").touch()
    return Project(folder / "asv.conf.json")


def test_a_project_that_says_nothing_gets_the_defaults(tmp_path: Path) -> None:
    suite = project(tmp_path).suite
    assert suite == Suite(tmp_path / "speeds")
    assert suite.choose(CASES) == suite.calibrated(CASES) == CASES
    assert (suite.control, suite.key, suite.plant) == (None, None, None)


def test_what_the_named_module_defines_is_taken_and_the_rest_is_default(tmp_path: Path) -> None:
    (tmp_path / "a_suite_of_its_own.py").write_text(
        "control = 'work.time_nothing'\nfolder = 'elsewhere'\n"
        "def choose(cases):\n    return cases[1:]\n"
    )
    suite = project(tmp_path, suite="a_suite_of_its_own").suite
    assert (suite.folder, suite.control) == (tmp_path / "speeds", "work.time_nothing")
    assert suite.choose(CASES) == CASES[1:]
    assert suite.plant is None


def test_pages_are_a_module_of_the_project_too(tmp_path: Path) -> None:
    (tmp_path / "its_pages.py").write_text("def pages(site):\n    return {'a.html': site}\n")
    made = project(tmp_path, pages="its_pages")
    pages = own_module("pages", made.folder, made.settings)
    assert pages is not None
    assert pages.pages("a page") == {"a.html": "a page"}
    assert own_module("suite", made.folder, made.settings) is None


def test_a_module_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    made = project(tmp_path, suite="no_such_module")
    with pytest.raises(InputError, match=r"rnnbench\.suite must be a module below .*no_such"):
        _ = made.suite
