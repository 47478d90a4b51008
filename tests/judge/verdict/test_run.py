"""A real repository, built commit by commit: regression, bisection, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judge.verdict.planted import Repository, package
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.files import records
from rnnbench.judge.verdict.answer import Verdict
from rnnbench.judge.verdict.bisection import narrow

SLOW = "Make it (really) slower `|` <b>@all</b> \x1b[31m"


def invoke(repository: Repository, *arguments: str):
    config = str(repository.folder / "asv.conf.json")
    fixed = ["--config", config, "--environment", "existing", "--budget", "3"]
    return CliRunner().invoke(app, ["verdict", *arguments, *fixed])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Four commits; the third spins 1.6 times as long and doubles what it holds."""
    made = Repository(tmp_path_factory.mktemp("project") / "made")
    made.commit(package(20000), "First")
    made.commit(package(20000) + "# nothing\n", "Nothing")
    made.commit(package(32000, held=8192), SLOW)
    made.commit(package(32000, held=8192) + "# nothing\n", "Nothing more")
    return made


@pytest.fixture(scope="module")
def regressed(repository: Repository):
    """The whole path, with one process-time case and one number."""
    return invoke(
        repository, "HEAD~3", "HEAD", "--bisect", "--json", "--threshold", "20",
        "--case", "work.Spin.time_spin(a)", "--case", "work.Spin.track_held(a)",
    )  # fmt: skip


def test_a_slower_commit_exits_1_and_is_named(repository: Repository, regressed):
    assert regressed.exit_code == 1, regressed.output
    found = Verdict.from_dict(json.loads(regressed.stdout))
    assert {case.benchmark for case in found.of("regression")} >= {"work.Spin.track_held"}
    assert found.commits == (repository.git("rev-parse", "HEAD~1"),)
    assert found.attribution["dependencies"]["differs"] is False
    assert "same at both commits" in found.attribution["tool"]["says"]


def test_the_verdict_is_kept(repository: Repository, regressed):
    results = repository.folder / ".asv" / "results"
    (kept,) = records.read(results, records.VERDICTS, Verdict.from_dict)
    assert kept.value == Verdict.from_dict(json.loads(regressed.stdout))


def test_time_really_spent_is_a_regression(repository: Repository):
    result = invoke(
        repository, "HEAD~3", "HEAD", "--threshold", "20%", "--no-save", "--bench", "time_spin",
        "--markdown",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "`work.Spin.time_spin(a)`" in result.stdout
    assert "of 3 commits" in result.stdout
    assert "rnnbench verdict" in result.stdout


def test_nothing_changed_exits_0(repository: Repository):
    result = invoke(repository, "HEAD~3", "HEAD~2", "--bench", "track_", "--no-save")
    assert result.exit_code == 0, result.output
    assert "No regression in 4 cases" in result.output


def test_a_commit_that_does_not_build_exits_5_with_one_sentence(repository: Repository):
    repository.git("checkout", "-q", "-b", "broken")
    (repository.folder / "pyproject.toml").rename(repository.folder / "kept.toml")
    try:
        repository.commit(package(), "Lose the project file")
        result = invoke(repository, "HEAD~1", "HEAD", "--no-save")
    finally:
        repository.git("checkout", "-q", "-f", "-")
    assert result.exit_code == 5, result.output
    assert "can't be built" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_working_tree_is_judged_as_a_dot(repository: Repository):
    source = repository.folder / "planted.py"
    before = source.read_text()
    source.write_text(package(held=99999))
    try:
        result = invoke(repository, "HEAD", ".", "--bench", "track_held", "--no-save")
    finally:
        source.write_text(before)
    assert result.exit_code == 1, result.output
    assert repository.git("stash", "list") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "HEAD"], "base must be a commit of this repository; got 'nowhere'"),
        (["HEAD", "--", "--version"], "head must be a commit"),
        (["HEAD", "HEAD"], "the same commit"),
        (["HEAD~1", "HEAD", "--threshold", "much"], "threshold"),
        (["HEAD~1", "HEAD", "--threshold", "0.5%"], "threshold"),
        (["HEAD~1", "HEAD", "--bench", "("], "bench must be a regular expression"),
        (["HEAD~1", "HEAD", "--bench", "no_such_case"], "no case is chosen"),
        (["HEAD~1", "HEAD", "--case", "x(y)"], "there is no 'x(y)'"),
        (["HEAD~1", "HEAD", "--base-requirement", "torch"], "name==version"),
        (["HEAD~1", "HEAD", "--json", "--markdown"], "exclude each other"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(repository: Repository, arguments, said: str):
    config = str(repository.folder / "asv.conf.json")
    options = ["--config", config, "--environment", "existing"]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    result = CliRunner().invoke(app, ["verdict", *arguments[:place], *options, *arguments[place:]])
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_budget_must_be_positive(repository: Repository):
    config = str(repository.folder / "asv.conf.json")
    result = CliRunner().invoke(app, ["verdict", "HEAD~1", "--config", config, "--budget", "0"])
    assert result.exit_code == 2
    assert "budget" in result.stderr


def test_no_configuration_is_one_sentence(tmp_path: Path):
    result = CliRunner().invoke(app, ["verdict", "a", "b", "--config", str(tmp_path / "no.json")])
    assert result.exit_code == 2
    assert "there is no file" in result.stderr


def test_a_broken_configuration_is_one_sentence(tmp_path: Path):
    (tmp_path / "asv.conf.json").write_text("{")
    result = CliRunner().invoke(
        app, ["verdict", "a", "b", "--config", str(tmp_path / "asv.conf.json")]
    )
    assert result.exit_code == 2
    assert "can't be read by asv" in result.stderr


def test_no_benchmarks_is_one_sentence(tmp_path: Path):
    made = Repository(tmp_path / "made")
    (made.folder / "benchmarks" / "__init__.py").unlink()
    result = invoke(made, "HEAD~1", "HEAD")
    assert result.exit_code == 2
    assert "benchmark_dir must be a package of benchmarks" in result.stderr


def test_a_shallow_clone_is_told_apart(repository: Repository, tmp_path: Path):
    clone = tmp_path / "clone"
    repository.git("clone", "-q", "--depth", "1", f"file://{repository.folder}", str(clone))
    config = str(clone / "asv.conf.json")
    result = CliRunner().invoke(
        app, ["verdict", "HEAD~1", "--config", config, "--environment", "existing"]
    )
    assert result.exit_code == 2
    assert "shallow" in result.stderr


@pytest.mark.parametrize("culprit", range(7))
@pytest.mark.parametrize("unknown", [(), (2,), (2, 3, 4)])
def test_narrowing_keeps_the_culprit(culprit: int, unknown: tuple[int, ...]):
    commits = tuple("abcdefg")
    asked = []

    def bad(commit: str) -> bool | None:
        asked.append(commit)
        place = commits.index(commit)
        return None if place in unknown else place >= culprit

    left = narrow(commits, bad)
    assert commits[culprit] in left
    assert len(left) <= 1 + len(unknown)
    assert len(asked) == len(set(asked))
