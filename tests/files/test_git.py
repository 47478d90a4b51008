"""git is asked in one way, and its errors are its own sentences."""

from __future__ import annotations

import pytest

from rnnbench.files import git


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("one")
    git.run(folder, "init", "-q")
    git.run(folder, "add", ".")
    who = ("-c", "user.name=x", "-c", "user.email=x@y.z")
    git.run(folder, *who, "commit", "-qm", "First")
    return folder


def test_a_commit_is_asked_and_extracted(repository, tmp_path):
    head = git.ask(repository, "rev-parse", "HEAD")
    assert head is not None
    git.extract(repository, head, "sub", tmp_path / "into")
    assert (tmp_path / "into" / "sub" / "file").read_text() == "one"
    assert git.run(repository, "hash-object", "--stdin", stdin=b"x").strip()


def test_what_git_refuses_is_none_or_an_error_with_its_words(repository, tmp_path):
    assert git.ask(repository, "rev-parse", "--verify", "nothing") is None
    assert git.ask(tmp_path / "nowhere", "status") is None
    with pytest.raises(git.GitError, match="pathspec"):
        git.extract(repository, "HEAD", "other", tmp_path / "into")
    assert not (tmp_path / "into").exists()
