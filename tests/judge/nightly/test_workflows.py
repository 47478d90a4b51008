"""The workflows ask for no more than they need; `tox run -e lint` has two linters read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def test_there_are_workflows() -> None:
    names = {file.stem for file in WORKFLOWS}
    assert names == {"test", "weekly", "nightly", "pull-request", "pull-request-comment"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_workflow_has_rights_as_a_whole(file: Path) -> None:
    assert re.search(r"^permissions: \{\}$", file.read_text(), re.MULTILINE)


def test_the_job_of_a_pull_request_can_only_read() -> None:
    text = (FOLDER / "pull-request.yml").read_text()
    assert "write" not in re.sub(r"#.*", "", text)
    assert "secrets." not in text


def test_the_job_that_comments_runs_nothing_of_the_pull_request() -> None:
    text = (FOLDER / "pull-request-comment.yml").read_text()
    assert "pip install" not in text
    assert "ref:" not in text  # checkout's default is the main branch here
    assert "pull_request_target" not in text


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_expression_is_pasted_into_a_script(file: Path) -> None:
    """Whatever a stranger can name (a branch, a title) reaches a shell as a variable only."""
    scripts = re.findall(r"run: (\|\n(?:\s{10,}.*\n|\n)+|.*\n)", file.read_text())
    assert scripts
    assert not [script for script in scripts if "${{" in script]
