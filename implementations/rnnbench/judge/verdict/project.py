"""A project that asv measures: its configuration, and its commits installed side by side.

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
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError
from rnnbench.judge.verdict.answer import Commit
from rnnbench.judge.verdict.process import Suite
from rnnbench.judge.verdict.sides import Side

EXISTING = "existing"
FOLDER = Path(".asv") / "verdict"


class BuildError(RuntimeError):
    """A commit, or the environment for it, can't be built."""


class Project:
    """What an ``asv.conf.json`` describes; all of asv runs in its folder."""

    def __init__(self, config: Path) -> None:
        """Raises InputError for a file that asv can't read or whose benchmark_dir is missing."""
        if not config.is_file():
            raise InputError(f"config must be an asv.conf.json; there is no file {config}")
        try:
            from asv.config import Config
            from asv.util import UserError
        except ImportError as error:
            raise InputError("asv is not installed: pip install 'rnnbench[bench]'") from error
        self.folder = config.resolve().parent
        with _working_in(self.folder):
            try:
                self.conf: Any = Config.load(config.name)
            except (UserError, ValueError) as error:
                raise InputError(f"config {config} can't be read by asv: {error}") from error
        suite = self.folder / self.conf.benchmark_dir
        if not (suite / "__init__.py").is_file():
            raise InputError(f"benchmark_dir must be a package of benchmarks; {suite} is none")
        self.suite = Suite(suite)
        self.results = self.folder / self.conf.results_dir

    def side(
        self,
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

        with _working_in(self.folder):
            try:
                repo = get_repo(self.conf)
                with _quiet():
                    env = self._environment(environment, python, requirements or {})
                    env.create()
                    path = self._installed(env, repo, commit)
            except (EnvironmentUnavailable, UserError) as error:
                raise BuildError(f"no environment for {commit.hash[:8]}: {error}") from error
            except ProcessError as error:
                raise BuildError(f"{commit.hash[:8]} can't be built: {_reason(error)}") from error
            except OSError as error:
                raise BuildError(f"{commit.hash[:8]} can't be installed: {error}") from error
            return Side(commit, env.find_executable("python"), path, {"ASV_ENV_NAME": env.name})

    def _environment(
        self, named: str | None, python: str | None, requirements: Mapping[str, str]
    ) -> Any:
        from asv.environment import get_environments

        if named == EXISTING:
            return _here()(self.conf, python or sys.executable, {}, {})
        matrix = self.conf.matrix
        try:
            if requirements:
                changed = {name: [version] for name, version in requirements.items()}
                self.conf.matrix = dict(matrix) | {"req": dict(matrix.get("req", {})) | changed}
            found = list(get_environments(self.conf, [named] if named else None, verbose=False))
        finally:
            self.conf.matrix = matrix
        if not found:
            raise BuildError(f"asv has no environment {named or self.conf.environment_type!r} here")
        return found[0]

    def _installed(self, env: Any, repo: Any, commit: Commit) -> Path:
        """The folder that a commit's wheel is unpacked into."""
        key = sha256(env.name.encode()).hexdigest()[:12]
        target = self.folder / FOLDER / key / commit.hash
        if target.is_dir():
            return target
        env.install_project(self.conf, repo, commit.hash)
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
    """asv's existing environment, but with a project of its own: built, not installed."""
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
    """Why a command failed: the last line it wrote that says so."""
    said = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
    errors = [line for line in said if "error" in line.lower()]
    command = " ".join(map(str, error.args[0])) if error.args else "its build command"
    return f"{(errors or said or ['it said nothing'])[-1][:300]} ({command[:120]})"


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """asv takes its paths from the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """asv writes the output of failed commands on the terminal; the sentence is enough."""
    import logging

    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def requirements(given: Sequence[str]) -> dict[str, str]:
    """``name==version``, as often as given; raises InputError for anything else."""
    split = [text.partition("==") for text in given]
    for text, (name, _, version) in zip(given, split, strict=True):
        if not (name.strip() and version.strip()):
            raise InputError(f"base_requirements must be name==version; got {text!r}")
    return {name.strip(): version.strip() for name, _, version in split}
