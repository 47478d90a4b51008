"""The main job behind ``tox run -e bench``: measure HEAD, publish the report, sum it up.

asv does the measuring, in the environment that this runs in; its output goes to ``.asv/bench.log``.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from benchmarks import cases, records

from reports.data.rows import load_rows
from reports.jobs import summary, torch_facts
from rnnbench.cli.exits import leave
from rnnbench.cli.progress import showing
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, USAGE
from rnnbench.files import git
from rnnbench.judge import lock
from rnnbench.judge.engine import SHARED, SUITE, Engine, ForeignError, case_names, read_suite
from rnnbench.judge.nightly.accounts import last_words
from rnnbench.judge.project import Project
from rnnbench.judge.site.data.results import plain
from rnnbench.judge.supervised import Ended

CONFIG = Path("asv.conf.json")
LOG = Path(".asv/bench.log")
PUBLISHER = "rnnbench publish"
BENCH_OF = {"smoke": "^(?!cold.(Compile|FirstCall))"}
"""Pattern of what a profile measures by default: a smoke run does not wait for compilers."""

Key = tuple[str, tuple[str, ...]]
"""A benchmark and its parameters."""


@dataclass
class Run:
    """The cases that asv was to measure, and the time that it took."""

    cases: set[Key]
    wall_seconds: float
    own_seconds: float

    @property
    def asv_cost(self) -> float:
        """Return the seconds per case that went neither into a set-up nor into measuring."""
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
    engine = _engine()
    os.environ |= {"RNNBENCH_PROFILE": profile, "RNNBENCH_COMMIT": commit}
    if bench:
        os.environ[records.WARM] = "0"  # for a few cases it would take longer than they do
    elif profile in BENCH_OF:
        bench = [BENCH_OF[profile]]
    with _alone() as engine.lock, engine.opened([commit]):
        run = _measure(engine, commit, bench or [])
        torch_facts.collect(records.results_dir())
        _require("the publisher", engine.publish())
    rows = load_rows(records.results_dir())
    found = summary.summarise(
        _rows_of(rows, commit, run.cases),
        commit=commit,
        dirty=dirty,
        profile=profile,
        wall_seconds=time.monotonic() - started,
        asv_cost=run.asv_cost,
        page=str(engine.project.html / "index.html"),
    )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        summary.show(found)
    raise typer.Exit(found.exit_code)


def _checkout() -> tuple[str, bool]:
    """Return HEAD's hash, and whether files differ from it."""
    head = git.ask(Path(), "rev-parse", "--verify", "HEAD")
    if head is None:
        leave(USAGE, "this folder is no git checkout with a commit, which asv stores results under")
    return head, bool(git.ask(Path(), "status", "--porcelain"))


def _engine() -> Engine:
    try:
        return Engine(Project(CONFIG), LOG, existing=True, publisher=PUBLISHER)
    except InputError as error:
        leave(USAGE, str(error))


@contextmanager
def _alone() -> Iterator[int]:
    """Hold the machine's lock: two runs at once would measure each other."""
    try:
        with lock.held(lock.PLACE) as descriptor:
            yield descriptor
    except lock.BusyError as error:
        leave(USAGE, str(error))


def _measure(engine: Engine, commit: str, bench: list[str]) -> Run:
    """Run asv, and show how many cases are done: each leaves a note of its clock."""
    started = time.monotonic()
    listed = engine.project.results / SUITE
    before = listed.stat().st_mtime_ns if listed.exists() else None
    selected: list[tuple[Key, int]] = []
    with tempfile.TemporaryDirectory() as run_dir, showing() as show:
        os.environ[records.RUN_DIR] = run_dir

        def follow(_: float) -> None:
            if not selected and listed.exists() and listed.stat().st_mtime_ns != before:
                with suppress(ForeignError):  # still being written
                    selected.extend(_selected(listed, bench))
            done, total = len(_clocks(Path(run_dir), "case")), sum(n for _, n in selected)
            show(f"measuring: {done} of {total or '?'}", done, total or None)

        engine.tick = follow
        # 2: some benchmark failed, which its record explains
        _require("asv", engine.measure(commit, bench, conf=SHARED), good=(0, 2))
        engine.tick = lambda _: None
        own_seconds = sum(float(note.read_text()) for note in _clocks(Path(run_dir)))
    keys = {key for key, _ in _selected(listed, bench)}
    return Run(keys, time.monotonic() - started, own_seconds)


def _selected(listed: Path, bench: list[str]) -> Iterator[tuple[Key, int]]:
    """Yield the cases that asv measures, by its list of benchmarks, and in how many rounds."""
    for entry in read_suite(listed):
        values = itertools.product(*entry["params"])
        for name, params in zip(case_names(entry), values, strict=True):
            if not bench or any(re.search(pattern, name) for pattern in bench):
                yield (entry["name"], tuple(map(plain, params))), entry.get("rounds", 1)


def _clocks(run_dir: Path, of: str = "*") -> list[Path]:
    """Return the notes of the seconds spent by cases and by asv's server."""
    return list(run_dir.glob(f"{of}-*.clock"))


def _require(what: str, ended: Ended, good: tuple[int, ...] = (0,)) -> None:
    if ended.code not in good:
        words = f"its last words: {last_words(ended.text)} (all of them: {LOG})"
        leave(BROKEN, f"{what} ended with code {ended.code}; {words}")


def _rows_of(rows: Any, commit: str, keys: set[Key]) -> Any:
    """Return the rows that this run measured."""
    here = (rows["commit"] == commit) & (rows["environment"] == records.environment_name())
    found = zip(rows["benchmark"], rows["params"], strict=True)
    mine = [(name, tuple(value for _, value in params)) in keys for name, params in found]
    return rows[here & np.array(mine, dtype=bool)]


if __name__ == "__main__":
    typer.run(main)
