"""asv as a tool: list the suite, run a unit into a folder of its own, publish.

It runs in processes tied to the night. Nothing here imports the benchmarks or the reports.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError
from rnnbench.judge.nightly import result_files, supervised
from rnnbench.judge.nightly.night import Trouble
from rnnbench.judge.nightly.supervised import Ended
from rnnbench.judge.nightly.units import Unit

OWN_CONF, PUBLISH_CONF = ".asv-nightly.json", ".asv-nightly-publish.json"
"""Beside asv.conf.json, since asv takes its paths and plugins from where its file lies."""


class EngineError(RuntimeError):
    """asv could not do what every night needs; ``ended`` tells how it ended."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(f"asv ended with code {ended.code}")
        self.ended = ended


def nothing(_: float) -> None:
    """No progress wanted."""


@dataclass
class Engine:
    """asv on one repository, as one night drives it."""

    root: Path
    conf: str = "asv.conf.json"
    existing: bool = False
    """Measure in the environment that this runs in, HEAD only, instead of asv's own."""
    publisher: str | None = None
    """A command that publishes in asv's place; it is given ``--config FILE``."""
    lock: int | None = None
    tick: Callable[[float], None] = nothing
    """Called while a command runs, with the seconds passed."""
    settings: dict[str, Any] = field(init=False)
    host: str = field(init=False)

    def __post_init__(self) -> None:
        try:
            from asv.config import Config
            from asv.machine import Machine
            from asv.util import UserError
        except ImportError:
            raise InputError(
                "nightly drives asv, which is not installed: pip install 'rnnbench[bench]'"
            ) from None
        try:
            loaded = Config.load(str(self.root / self.conf))
        except UserError as error:
            raise InputError(f"{self.conf} must be asv's configuration: {error}") from None
        known = {name: value for name, value in vars(loaded).items() if value is not None}
        self.settings = known | {"version": Config.api_version}
        self.host = Machine.get_unique_machine_name() or platform.node()

    @property
    def results(self) -> Path:
        return self.root / str(self.settings["results_dir"])

    @property
    def html(self) -> Path:
        return self.root / str(self.settings["html_dir"])

    @property
    def folder(self) -> Path:
        """Where a night keeps what is not to outlive it."""
        return self.root / ".asv" / "nightly"

    @property
    def scratch(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> Path:
        return self.folder / "night.log"

    def open(self, head: str, base: str | None) -> list[Trouble]:
        """Write the configurations of this night, and see that asv knows the machine."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        # where head can't be built to list the suite, asv falls back on the branches that there are
        branches = [head] if base is None else [head, base]
        own = {"results_dir": os.path.relpath(self.scratch, self.root), "branches": branches}
        result_files.place(json.dumps(self.settings | own).encode(), self.root / OWN_CONF)
        shown = {"branches": [b for b in self.settings["branches"] if self._has(b)] or ["HEAD"]}
        result_files.place(json.dumps(self.settings | shown).encode(), self.root / PUBLISH_CONF)
        return self._register_machine()

    def close(self) -> None:
        """Remove what `open` wrote."""
        for name in (OWN_CONF, PUBLISH_CONF):
            (self.root / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Empty the folder that asv writes to."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def suite(self, head: str) -> list[dict[str, Any]]:
        """All benchmarks with their parameters; EngineError where the suite can't be imported."""
        ended = self._run(head, "--bench", "just-discover")
        try:
            return result_files.read_suite(self.scratch / result_files.SUITE)
        except result_files.ForeignError:
            raise EngineError(ended) from None

    def keep_suite(self) -> None:
        """Take the list of benchmarks over to the results, for publishing."""
        result_files.place(
            (self.scratch / result_files.SUITE).read_bytes(), self.results / result_files.SUITE
        )

    def measure(self, unit: Unit, limit: float | None) -> Ended:
        """Run one unit; its results are in `scratch` afterwards, `filing.adopt` takes them over."""
        self.clear()
        result_files.seed(self.results, self.scratch, self.host, unit.commit)
        options = ["--record-samples", "--show-stderr", "--launch-method", "forkserver"]
        return self._run(unit.commit, *options, "--bench", unit.pattern, limit=limit)

    def publish(self, limit: float | None = None) -> Ended:
        if self.publisher is None:
            return self._asv(PUBLISH_CONF, "publish", "--no-pull", limit=limit)
        words = [sys.executable if w == "python" else w for w in shlex.split(self.publisher)]
        return self._tied([*words, "--config", PUBLISH_CONF], limit)

    def command(self, *arguments: str, limit: float, stdout: Path | None = None) -> Ended:
        """Run another command of this package, tied to the night like asv."""
        program = [sys.executable, "-c", "from rnnbench.cli import app; app()", *arguments]
        return self._tied(program, limit, stdout=stdout)

    def _run(self, commit: str, *options: str, limit: float | None = None) -> Ended:
        what = ["--environment", "existing", "--set-commit-hash", commit]
        if not self.existing:
            hashes = self.folder / "commit"
            hashes.write_text(f"{commit}\n", encoding="utf-8")
            what = [f"HASHFILE:{hashes}"]
        return self._asv(OWN_CONF, "run", *what, "--no-pull", *options, limit=limit)

    def _asv(self, conf: str, *arguments: str, limit: float | None = None) -> Ended:
        own = {}
        if conf == OWN_CONF:
            # compiling for all cases of a profile takes longer than the few of a unit do
            own = {"RNNBENCH_RESULTS_DIR": str(self.scratch), "RNNBENCH_WARM": "0"}
        return self._tied([sys.executable, "-m", "asv", "--config", conf, *arguments], limit, own)

    def _tied(
        self,
        program: Sequence[str],
        limit: float | None,
        variables: Mapping[str, str] | None = None,
        stdout: Path | None = None,
    ) -> Ended:
        return supervised.run(
            program,
            self.log,
            cwd=self.root,
            environment=os.environ | (variables or {}),
            limit=limit,
            lock=self.lock,
            stdout=stdout,
            tick=self.tick,
        )

    def _has(self, branch: str) -> bool:
        from rnnbench.judge.nightly.clone import Clone

        return Clone(self.root).commit(branch) is not None

    def _register_machine(self) -> list[Trouble]:
        """See that asv knows the machine, by a file in the home folder.

        asv writes that file anew in every run, in place: a kill can leave half of it, which no asv
        of this user can start from. So there is a copy of the last whole one.
        """
        from asv.machine import MachineCollection

        file, copy = Path(MachineCollection.get_machine_file_path()), self.folder / "machines.json"
        troubles = []
        if file.exists() and not _is_json(file):
            broken = file.with_name(f"{file.name}.broken")
            file.replace(broken)
            sentence = f"It was half written when a run was killed; it was set aside as {broken}."
            troubles.append(Trouble("result file", file.name, sentence))
            if _is_json(copy):
                result_files.place(copy.read_bytes(), file)
        if not self._knows_machine():
            self._asv(OWN_CONF, "machine", "--yes")
        if _is_json(file):
            result_files.place(file.read_bytes(), copy)
        return troubles

    def _knows_machine(self) -> bool:
        from asv.machine import MachineCollection
        from asv.util import UserError

        try:
            MachineCollection.load(self.host)
        except UserError:
            return False
        return True


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True
