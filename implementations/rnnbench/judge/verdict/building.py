"""Commits of a project, installed side by side.

A commit is built by asv itself, in one of its environments; the wheel that it leaves in its cache
is unpacked into ``.asv/verdict/ENVIRONMENT/COMMIT``, so that two commits share the dependencies of
one environment. In an *existing* environment, which asv does not install into, the configured build
command runs with this Python, without build isolation, so that it needs no network.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from rnnbench.errors import BrokenError, InputError
from rnnbench.judge.project import Project
from rnnbench.judge.verdict.answer import Commit
from rnnbench.judge.verdict.sides import Side

EXISTING = "existing"
FOLDER = Path(".asv") / "verdict"


class BuildError(BrokenError):
    """A commit, or the environment for it, can't be built."""


def install(
    project: Project,
    commit: Commit,
    environment: str | None = None,
    python: str | None = None,
    requirements: Mapping[str, str] | None = None,
) -> Side:
    """Install a commit, unless it is; raises BuildError with one sentence.

    ``environment`` is asv's (``existing``, ``virtualenv:3.11``, or a name of the matrix); the
    first of the configuration if None. ``python`` has the dependencies in an existing one, if
    they are not this Python's. ``requirements`` replace versions of the matrix.
    """
    from asv.environment import EnvironmentUnavailable
    from asv.repo import get_repo
    from asv.util import ProcessError, UserError

    with chdir(project.folder), _quiet():  # asv takes its paths from there
        try:
            env = _environment(project.conf, environment, python, requirements or {})
            env.create()
            path = _unpacked(env, project, get_repo(project.conf), commit)
        except (EnvironmentUnavailable, UserError) as error:
            raise BuildError(f"no environment for {commit.hash[:8]}: {error}") from error
        except ProcessError as error:
            raise BuildError(f"{commit.hash[:8]} can't be built: {_reason(error)}") from error
        except OSError as error:
            raise BuildError(f"{commit.hash[:8]} can't be installed: {error}") from error
        return Side(commit, env.find_executable("python"), path, {"ASV_ENV_NAME": env.name})


def _environment(
    conf: Any, named: str | None, python: str | None, requirements: Mapping[str, str]
) -> Any:
    from asv.environment import get_environments

    if named == EXISTING:
        return _here()(conf, python or sys.executable, {}, {})
    matrix = conf.matrix
    try:
        if requirements:
            changed = {name: [version] for name, version in requirements.items()}
            conf.matrix = dict(matrix) | {"req": dict(matrix.get("req", {})) | changed}
        found = list(get_environments(conf, [named] if named else None, verbose=False))
    finally:
        conf.matrix = matrix
    if not found:
        raise BuildError(f"asv has no environment {named or conf.environment_type!r} here")
    return found[0]


def _unpacked(env: Any, project: Project, repo: Any, commit: Commit) -> Path:
    """Return the folder that a commit's wheel is unpacked into."""
    key = sha256(env.name.encode()).hexdigest()[:12]
    target = project.folder / FOLDER / key / commit.hash
    if target.is_dir():
        return target
    env.install_project(project.conf, repo, commit.hash)
    cache = env._cache.get_cache_dir(commit.hash)
    wheels = list(Path(cache).glob("*.whl")) if cache else []
    if len(wheels) != 1:
        raise BuildError(
            f"the build_command must leave one wheel in {{build_cache_dir}}; for "
            f"{commit.hash[:8]} it left {len(wheels)}"
        )
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    command = ["-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target"]
    env.run_executable("python", [*command, str(part), str(wheels[0])])
    part.rename(target)
    return target


def _here() -> Any:
    """Return asv's existing environment, which builds the project but does not install it."""
    from asv.environment import ExistingEnvironment

    class Here(ExistingEnvironment):  # type: ignore[misc]
        tool_name = "existing-with-builds"

        def install_project(self, conf: Any, repo: Any, commit_hash: str) -> None:
            if self._cache.get_cache_dir(commit_hash):
                return
            self.checkout_project(repo, commit_hash)
            cache = self._cache.create_cache_dir(commit_hash)
            source = os.path.join(self._build_root, conf.repo_subdir or "")
            self._set_build_dirs(source, cache)
            self._build_project(repo, commit_hash, source)
            self._cache.finalize_cache_dir(commit_hash)

        def find_executable(self, executable: str) -> str:
            return str(
                self._executable if executable == "python" else super().find_executable(executable)
            )

        @property
        def build_env_vars(self) -> dict[str, str]:
            # pip reads 0 as "build isolation: no"
            return dict(super().build_env_vars) | {"PIP_NO_BUILD_ISOLATION": "0"}

    return Here


def _reason(error: Any) -> str:
    """Return why a command failed: the last line it wrote that says so."""
    said = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
    errors = [line for line in said if "error" in line.lower()]
    command = " ".join(map(str, error.args[0])) if error.args else "its build command"
    return f"{(errors or said or ['it said nothing'])[-1][:300]} ({command[:120]})"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep asv from writing the output of failed commands on the terminal."""
    import logging

    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def requirements(given: Sequence[str]) -> dict[str, str]:
    """Return name → version of ``name==version`` texts; raises InputError for anything else."""
    split = [text.partition("==") for text in given]
    for text, (name, _, version) in zip(given, split, strict=True):
        if not (name.strip() and version.strip()):
            raise InputError(f"base_requirements must be name==version; got {text!r}")
    return {name.strip(): version.strip() for name, _, version in split}
