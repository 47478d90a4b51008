"""asv as a tool: list the benchmarks, measure, publish, in processes that end with this one."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnbench.files import atomic
from rnnbench.judge import commits, supervised
from rnnbench.judge.project import Project
from rnnbench.judge.supervised import Ended

APART, SHARED = ".asv-apart.json", ".asv-shared.json"
"""Configurations beside asv.conf.json: results go to a folder of their own, or where they belong.
asv takes its paths and plugins from where the file lies."""
RNNBENCH = [sys.executable, "-c", "from rnnbench.cli import app; app()"]
"""The command of this package, by this Python."""
SUITE = "benchmarks.json"
API_VERSION = 2
"""Of asv's result files and of its benchmarks.json."""


class ForeignError(ValueError):
    """A file is not what its name says."""


class EngineError(RuntimeError):
    """asv could not list the benchmarks; ``ended`` tells how it ended."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(f"asv ended with code {ended.code}")
        self.ended = ended


@dataclass
class Engine:
    """asv on one project."""

    project: Project
    log: Path
    """Takes asv's output; emptied by `opened`."""
    existing: bool = False
    """Measure in the environment that this runs in, HEAD only, instead of asv's own."""
    publisher: str | None = None
    """A command that publishes in asv's place; it is given ``--config FILE``. ``python`` and
    ``rnnbench`` are those of this process."""
    lock: int | None = None
    tick: Callable[[float], None] = lambda _: None
    """Called while a command runs, with the seconds passed."""

    @property
    def folder(self) -> Path:
        """The folder of a night's temporary files."""
        return self.project.folder / ".asv" / "nightly"

    @property
    def scratch(self) -> Path:
        """The folder of results that asv measures apart."""
        return self.folder / "results"

    @contextmanager
    def opened(self, branches: Sequence[str]) -> Iterator[Path | None]:
        """Write the configurations, and see that asv knows the machine, until the block ends.

        ``branches`` are those that results apart are of. Yields the path of asv's machine file, if
        it was broken and has been set aside.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        apart = os.path.relpath(self.scratch, self.project.folder)
        own = [b for b in self.project.conf.branches if commits.find(self.project.folder, b)]
        try:
            self.project.write_variant(APART, results_dir=apart, branches=list(branches))
            # a clone of a pull request or a tag has no local main
            self.project.write_variant(SHARED, branches=own or ["HEAD"])
            yield self._register_machine()
        finally:
            for name in (APART, SHARED):
                (self.project.folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Empty the folder of results apart."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def suite(self, head: str) -> list[dict[str, Any]]:
        """Return all benchmarks, and keep the list with the results, for publishing.

        Raises EngineError where the suite can't be imported.
        """
        ended = self.measure(head, ["just-discover"], conf=APART)
        listed = self.scratch / SUITE
        try:
            found = read_suite(listed)
        except ForeignError:
            raise EngineError(ended) from None
        atomic.write(self.project.results / SUITE, listed.read_bytes())
        return found

    def measure(
        self, commit: str, bench: Sequence[str], limit: float | None = None, *, conf: str
    ) -> Ended:
        """Measure the cases that match one of the patterns ``bench``, or all if there is none."""
        where = ["--environment", "existing", "--set-commit-hash", commit]
        if not self.existing:
            hashes = self.folder / "commit"
            atomic.write(hashes, f"{commit}\n")
            where = [f"HASHFILE:{hashes}"]
        options = ["--record-samples", "--show-stderr", "--launch-method", "forkserver"]
        options += [f"--bench={pattern}" for pattern in bench]
        return self._asv(conf, "run", *where, "--no-pull", *options, limit=limit)

    def publish(self, limit: float | None = None) -> Ended:
        """Write the site, by the publisher or by asv."""
        if self.publisher is None:
            return self._asv(SHARED, "publish", "--no-pull", limit=limit)
        first, *more = shlex.split(self.publisher)
        program = {"python": [sys.executable], "rnnbench": RNNBENCH}.get(first, [first])
        return self._supervised([*program, *more, "--config", SHARED], limit)

    def command(self, *arguments: str, limit: float, stdout: Path | None = None) -> Ended:
        """Run another command of this package."""
        return self._supervised([*RNNBENCH, *arguments], limit, stdout=stdout)

    def _asv(self, conf: str, *arguments: str, limit: float | None = None) -> Ended:
        own = {}
        if conf == APART:
            # compiling for all cases of a profile takes longer than the few of a unit do
            own = {"RNNBENCH_RESULTS_DIR": str(self.scratch), "RNNBENCH_WARM": "0"}
        program = [sys.executable, "-m", "asv", "--config", conf, *arguments]
        return self._supervised(program, limit, own)

    def _supervised(
        self,
        program: Sequence[str],
        limit: float | None,
        variables: Mapping[str, str] | None = None,
        stdout: Path | None = None,
    ) -> Ended:
        return supervised.run(
            program,
            self.log,
            cwd=self.project.folder,
            environment=os.environ | (variables or {}),
            limit=limit,
            lock=self.lock,
            stdout=stdout,
            tick=self.tick,
        )

    def _register_machine(self) -> Path | None:
        """Make asv know the machine, by a file in the home folder.

        asv writes that file anew in every run, in place: a kill can leave half of it, which no asv
        of this user can start from. So there is a copy of the last whole one.
        """
        from asv.machine import MachineCollection
        from asv.util import UserError

        file = Path(MachineCollection.get_machine_file_path())
        copy = self.project.folder / ".asv" / "machines.json"
        broken = None
        if file.exists() and not _is_json(file):
            broken = file.replace(file.with_name(f"{file.name}.broken"))
            if _is_json(copy):
                atomic.write(file, copy.read_bytes())
        try:
            MachineCollection.load(self.project.host)
        except UserError:
            self._asv(SHARED, "machine", "--yes")
        if _is_json(file):
            atomic.write(copy, file.read_bytes())
        return broken


def read_suite(file: Path) -> list[dict[str, Any]]:
    """Return the entries of asv's benchmarks.json; raises ForeignError."""
    try:
        given = json.loads(file.read_bytes())
        version = given.pop("version")
        entries = list(given.values())
        whole = all({"name", "params", "version"} <= entry.keys() for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeignError(f"no list of benchmarks: {type(error).__name__}: {error}") from error
    if version != API_VERSION or not whole:
        raise ForeignError(f"no list of benchmarks of version {API_VERSION}")
    return entries


def case_names(entry: Mapping[str, Any]) -> list[str]:
    """Return asv's names of all cases of a benchmark, ``benchmark(value, …)``, in asv's order."""
    if not entry["params"]:
        return [entry["name"]]
    combinations = itertools.product(*entry["params"])
    return [f"{entry['name']}({', '.join(values)})" for values in combinations]


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True
