"""The main job behind ``tox run -e bench``: measure HEAD, publish the report, say what came out.

asv does the measuring, in the environment that this runs in; its output goes to ``.asv/bench.log``.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.machine import Machine, MachineCollection
from asv.util import UserError
from benchmarks import cases, records

from reports import summary, torch_facts
from reports.records import plain
from reports.rows import load_rows
from rnnbench.cli.exits import leave
from rnnbench.cli.progress import progress
from rnnbench.exit_codes import BROKEN, USAGE
from rnnbench.judge.nightly import lock, supervised

CONFIG = Path("asv.conf.json")
LOG = Path(".asv/bench.log")
POLL_SECONDS = 0.2
BENCH_OF = {"smoke": "^(?!cold.(Compile|FirstCall))"}
"""What a profile measures unless told: a smoke run does not wait for compilers."""

Key = tuple[str, tuple[str, ...]]
"""A benchmark and its parameters."""


@dataclass
class Run:
    """What asv was told to measure, and what that took."""

    cases: set[Key]
    wall_seconds: float = 0.0
    own_seconds: float = 0.0

    @property
    def asv_cost(self) -> float:
        """Seconds per case that went neither into a set-up nor into measuring."""
        return (self.wall_seconds - self.own_seconds) / max(len(self.cases), 1)


def _known(profile: str) -> str:
    if profile not in cases.PROFILES:
        raise typer.BadParameter(f"{profile!r} is none of {', '.join(cases.PROFILES)}")
    return profile


def main(
    profile: Annotated[
        str,
        typer.Option(
            help=f"How much to measure: {', '.join(cases.PROFILES)}.",
            callback=_known,
            envvar="RNNBENCH_PROFILE",
        ),
    ] = "quick",
    bench: Annotated[
        list[str] | None, typer.Option(help="Only benchmarks that match (asv's --bench).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure HEAD in this environment, publish the report, and print a summary.

    Exit codes: 0 all good; 1 a parity failure; 2 wrong usage; 4 nothing was measured; 5 a benchmark
    broke.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    commit, dirty = _checkout()
    os.environ |= {"RNNBENCH_PROFILE": profile, "RNNBENCH_COMMIT": commit}
    if bench:
        os.environ[records.WARM] = "0"  # for a few cases it would take longer than they do
    elif profile in BENCH_OF:
        bench = [BENCH_OF[profile]]
    with _alone(), _configured():
        _register_machine()
        run = _measure(commit, bench or [])
        torch_facts.collect(records.results_dir())
        _publish()
    rows = load_rows(records.results_dir())
    found = summary.summarise(
        _rows_of(rows, commit, run.cases),
        commit=commit,
        dirty=dirty,
        profile=profile,
        wall_seconds=time.monotonic() - started,
        asv_cost=run.asv_cost,
        page=str(Path(_conf().html_dir, "index.html").resolve()),
    )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        summary.show(found)
    raise typer.Exit(found.exit_code)


def _checkout() -> tuple[str, bool]:
    """HEAD's hash, and whether files differ from it."""
    head = _git("rev-parse", "--verify", "HEAD")
    if head is None:
        leave(
            USAGE,
            "this folder is no git checkout with a commit, which asv stores results under",
        )
    return head, bool(_git("status", "--porcelain"))


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def _conf() -> Any:
    return Config.load(str(CONFIG))


@contextmanager
def _configured() -> Iterator[None]:
    """A configuration whose branches this checkout has.

    A clone of a pull request or a tag has no local main; asv then places the results on HEAD.
    """
    global CONFIG  # noqa: PLW0603 (one run a process, and every call of asv must name it)
    named = CONFIG
    conf = Config.load(str(named))
    if all(_git("rev-parse", "--verify", branch) is not None for branch in conf.branches):
        yield
        return
    own_branch = {"version": Config.api_version, "branches": ["HEAD"]}
    known = {name: value for name, value in vars(conf).items() if value is not None}
    text = json.dumps(known | own_branch)
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix=".asv-", dir=".") as own:
        own.write(text)
        own.flush()
        CONFIG = Path(own.name)
        try:
            yield
        finally:
            CONFIG = named


@contextmanager
def _alone() -> Iterator[None]:
    """Two runs at once would measure each other."""
    try:
        with lock.held(lock.PLACE):
            yield
    except lock.BusyError as error:
        leave(USAGE, str(error))


def _register_machine() -> None:
    """asv asks for the machine's description once; a file it has already is left alone."""
    try:
        MachineCollection.load(Machine.get_unique_machine_name())
    except UserError:
        _asv("machine", "--yes").wait()


def _asv(*arguments: str) -> subprocess.Popen[bytes]:
    """Start asv, its output to the log."""
    with LOG.open("ab") as log:
        return supervised.interruptible(
            [sys.executable, "-m", "asv", "--config", str(CONFIG), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _measure(commit: str, bench: list[str]) -> Run:
    """Run asv and follow it."""
    LOG.write_bytes(b"")
    started, begun = time.monotonic(), time.time()
    with tempfile.TemporaryDirectory() as run_dir:
        os.environ[records.RUN_DIR] = run_dir
        arguments = ["--environment", "existing", "--set-commit-hash", commit, "--record-samples"]
        arguments += ["--launch-method", "forkserver", "--show-stderr"]
        arguments += [f"--bench={pattern}" for pattern in bench]
        with _asv("run", *arguments) as process:
            try:
                selection = _selection(process, bench, begun)
                _follow(process, Path(run_dir), sum(len(keys) * n for keys, n in selection))
            except BaseException:
                process.send_signal(signal.SIGINT)  # what makes asv take its server along
                raise
        run = Run({key for keys, _ in selection for key in keys})
        run.wall_seconds = time.monotonic() - started
        run.own_seconds = sum(float(note.read_text()) for note in _clocks(Path(run_dir)))
    if process.returncode not in (0, 2):  # 2: some benchmark failed, which its record explains
        leave(BROKEN, f"asv could not run; its last words: {_last_words()} (all of them: {LOG})")
    return run


def _selection(
    process: subprocess.Popen[bytes], bench: list[str], begun: float
) -> list[tuple[set[Key], int]]:
    """The cases of each benchmark that asv measures, and in how many rounds, once it has said."""
    listed = Path(Benchmarks.get_benchmark_file_path(_conf().results_dir))
    while process.poll() is None:
        if listed.exists() and listed.stat().st_mtime >= begun:
            break
        time.sleep(POLL_SECONDS)
    else:
        return []
    chosen = Benchmarks.load(_conf(), regex=bench)
    return [
        (_keys(name, entry["params"], chosen.benchmark_selection[name]), entry.get("rounds", 1))
        for name, entry in chosen.items()
    ]


def _keys(name: str, params: list[list[str]], selected: list[int] | None) -> set[Key]:
    combinations = list(itertools.product(*params))
    chosen = combinations if selected is None else [combinations[i] for i in selected]
    return {(name, tuple(plain(value) for value in values)) for values in chosen}


def _clocks(run_dir: Path, of: str = "*") -> list[Path]:
    """Notes of the seconds spent by cases and by asv's server."""
    return list(run_dir.glob(f"{of}-*.clock"))


def _follow(process: subprocess.Popen[bytes], run_dir: Path, total: int) -> None:
    """Show how many cases are done: each leaves a note of its clock."""
    done = 0
    with progress("measuring", total) as advance:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            notes = len(_clocks(run_dir, "case"))
            for _ in range(notes - done):
                advance()
            done = notes


def _publish() -> None:
    if _asv("publish", "--no-pull").wait():
        leave(BROKEN, f"asv publish failed; its last words: {_last_words()} (all of them: {LOG})")


def _last_words() -> str:
    lines = [line for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "none"


def _rows_of(rows: Any, commit: str, keys: set[Key]) -> Any:
    """The rows that this run measured."""
    here = (rows["commit"] == commit) & (rows["environment"] == records.environment_name())
    found = zip(rows["benchmark"], rows["params"], strict=True)
    mine = [(name, tuple(value for _, value in params)) in keys for name, params in found]
    return rows[here & np.array(mine, dtype=bool)]


if __name__ == "__main__":
    typer.run(main)
