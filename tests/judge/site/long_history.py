"""A made-up history as large as is asked for, to see what publishing costs at that size.

    python -m reports.synthetic --commits 1000 --cases 1000 DIR

makes DIR a git repository with that many empty commits and asv results, records, nights and
verdicts for each. Every tenth case steps up and down again in the course of it, torch changes its
version twice. The last commit is of yesterday; all else is the same however often it is made.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from rnnbench.files import records
from rnnbench.judge.nightly.night import Night
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

HOST = "synthetic"
DAY = 86_400
ENVIRONMENT = "virtualenv-py3.11"
NOISE = 0.02
STEP = 1.12
JUDGED = 60
"""Cases of a verdict."""
BACKENDS = {"native": 1.0, "manual": 0.2, "numba": 1.8, "compile": 1.1}
CELLS = {"rnn_tanh": 1.0, "rnn_relu": 1.0, "gru": 3.0, "lstm": 4.0}
SHAPES = {"single": 1.0, "medium": 20.0, "large": 130.0}
TORCH = ("2.11.0", "2.12.1", "2.13.0")
COLUMNS = [
    *["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b"],
    *["stats_q_25", "stats_q_75", "stats_number", "stats_repeat", "samples"],
]
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Benchmark:
    """A timing, its parameters, and the seconds of each case before any change."""

    name: str
    axes: dict[str, list[str]]
    seconds: Values

    @property
    def cases(self) -> list[tuple[str, ...]]:
        """Values of the parameters, in asv's order."""
        return list(itertools.product(*self.axes.values()))

    def entry(self) -> dict[str, Any]:
        """Of benchmarks.json."""
        return {
            "code": "",
            "name": self.name,
            "param_names": list(self.axes),
            "params": self._params(),
            "type": "time",
            "unit": "seconds",
            "version": "1",
        }

    def results(self, values: Values, at: int) -> list[Any]:
        """A benchmark's line of a result file."""

        def scaled(factor: float) -> list[float]:
            return [float(f"{value:.4g}") for value in values * factor]

        count = len(values)
        stats = [scaled(factor) for factor in (0.985, 1.015, 0.993, 1.007)]
        return [
            [float(f"{value:.7g}") for value in values],
            self._params(),
            *["1", at, 60.0],
            *stats,
            *[[10] * count, [5] * count, None],
        ]

    def _params(self) -> list[list[str]]:
        numeric = {"T", "layers", "directions"}
        return [
            values if name in numeric else [repr(value) for value in values]
            for name, values in self.axes.items()
        ]


def benchmarks(cases: int) -> list[Benchmark]:
    """Inference, training and the control: at least so many cases, in whole values of T."""
    per_step = 2 * len(BACKENDS) * len(CELLS) * len(SHAPES)
    steps = [str(16 * (number + 1)) for number in range(max(math.ceil((cases - 1) / per_step), 1))]
    axes = {
        "backend": list(BACKENDS),
        "cell": list(CELLS),
        "T": steps,
        "layers": ["1"],
        "directions": ["1"],
        "shape": list(SHAPES),
    }
    seconds = np.array(
        [
            2e-6 * int(T) * CELLS[cell] * SHAPES[shape] / BACKENDS[backend]
            for backend, cell, T, _, _, shape in itertools.product(*axes.values())
        ]
    )
    return [
        Benchmark("speed.Inference.time_inference", axes, seconds),
        Benchmark("speed.Training.time_training", axes, 3 * seconds),
        Benchmark("control.Control.time_matmul", {}, np.array([2.3e-3])),
    ]


def began(commits: int) -> int:
    """When the first of so many commits was made, in seconds."""
    return (int(time.time()) // DAY - commits) * DAY


def subject(number: int) -> str:
    """Of a commit."""
    return f"Change number {number}"


def make_repository(folder: Path, commits: int) -> list[str]:
    """A git repository with so many empty commits, a day apart; their hashes, oldest first."""
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "-q", "-b", "main")
    stream = []
    for number in range(commits):
        message = f"{subject(number)}\n"
        who = f"Nobody <nobody@example.invalid> {began(commits) + number * DAY} +0000"
        stream.append(f"commit refs/heads/main\ncommitter {who}\ndata {len(message)}\n{message}\n")
    _git(folder, "fast-import", "--quiet", stdin="".join(stream))
    return _git(folder, "log", "--reverse", "--format=%H", "main").split()


def configure(folder: Path) -> None:
    """asv.conf.json, with the plugin of this repository."""
    (folder / "reports").symlink_to(Path(__file__).resolve().parent)
    conf = {
        "version": 1,
        "project": "synthetic",
        "project_url": "index.html",
        "show_commit_url": "commits.html#commit-",
        "repo": ".",
        "branches": ["main"],
        "results_dir": ".asv/results",
        "html_dir": "html",
        "benchmark_dir": "benchmarks",
        "plugins": [".reports.publisher"],
    }
    _write(folder / "asv.conf.json", conf)


def write_results(folder: Path, commits: list[str], grid: list[Benchmark]) -> None:
    """Result and record files for each commit."""
    results = folder / ".asv" / "results"
    about = {"arch": "x86_64", "cpu": "made up", "machine": HOST, "num_cpu": "2"}
    about |= {"os": "Linux", "ram": "25165824"}
    _write(results / HOST / "machine.json", about | {"version": 1})
    entries: dict[str, Any] = {one.name: one.entry() for one in grid}
    _write(results / "benchmarks.json", entries | {"version": 2})
    for number, commit in enumerate(track(commits, "results")):
        write_night(results, commit, number, len(commits), grid, about)


def write_night(
    results: Path,
    commit: str,
    number: int,
    of: int,
    grid: list[Benchmark],
    about: dict[str, str],
) -> None:
    """One commit's result file and its records."""
    noise = np.random.default_rng(number)
    at = 1000 * (began(of) + number * DAY)
    torch = TORCH[min(number * len(TORCH) // of, len(TORCH) - 1)]
    found, lines = {}, []
    for one in grid:
        values = one.seconds * _level(number, of, len(one.seconds))
        values = values * np.exp(noise.normal(0, NOISE, len(values)))
        found[one.name] = one.results(values, at + 7_200_000)
        lines += list(_records(one, commit, at, torch))
    data = {
        "commit_hash": commit,
        "env_name": ENVIRONMENT,
        "date": at,
        "params": about | {"python": "3.11"},
        "python": "3.11",
        "requirements": {},
        "env_vars": {},
        "result_columns": COLUMNS,
        "results": found,
        "durations": {},
        "version": 2,
    }
    stem = f"{commit[:8]}-{ENVIRONMENT}"
    _write(results / HOST / f"{stem}.json", data)
    target = results / "records" / HOST / f"{stem}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(lines), encoding="utf-8")


def _level(number: int, of: int, cases: int) -> Values:
    """Every tenth case is slower in a stretch of the history of its own."""
    cases_at = np.arange(cases)
    begin = (cases_at * 37) % max(of, 1)
    inside = (cases_at % 10 == 0) & (number >= begin) & (number < begin + max(of // 8, 1))
    return np.where(inside, STEP, 1.0)


def _records(one: Benchmark, commit: str, at: int, torch: str) -> Iterator[str]:
    """A line per case: as long as those of the real benchmarks."""
    gated = {"error": 2.4012345678901234, "budget": 12.345678901234567, "status": "ok"}
    names = ("output", "h_n", "grad_x", "grad_h0", "grad_weight_ih_l0", "grad_weight_hh_l0")
    parity = {
        "passed": True,
        "worst_quantity": "output",
        "worst_error": 2.4,
        "worst_budget": 12.3,
        "quantities": dict.fromkeys(names, gated),
    }
    whole = {
        "schema": 1,
        "benchmark": one.name,
        "params": "PARAMS",
        "commit": commit,
        "environment": ENVIRONMENT,
        "host": HOST,
        "profile": "nightly",
        "at": datetime.fromtimestamp(at / 1000, UTC).isoformat(),
        "status": "ok",
        "reason": None,
        "parity": parity if one.axes else None,
        "identity": {"kernel": "made up", "graph_breaks": 0},
        "machine": {
            "cpu": "made up",
            "instruction_sets": "avx avx2 avx512bw avx512cd avx512dq avx512f avx512vl fma",
            "cores": 2,
            "python": "3.11.7",
            "torch": torch,
            "numba": "0.68.1",
            "blas_numpy": "scipy-openblas 0.3.31",
            "asv_runner": "0.2.5",
            "threads_torch": 1,
        },
        "overhead": {"setup_seconds": 0.5},
    }
    before, after = json.dumps(whole).split('"PARAMS"')
    for values in one.cases:
        yield f"{before}{json.dumps(values)}{after}\n"


def write_verdicts(folder: Path, commits: list[str], grid: list[Benchmark]) -> None:
    """A night and a verdict for each commit but the first, of the first so many cases."""
    results = folder / ".asv" / "results"
    machine = {"host": HOST, "cpu": "made up", "cpu_id": ""}
    first = grid[0]
    known = list(zip(first.cases, range(len(first.seconds)), strict=True))[:JUDGED]
    for number in range(1, len(commits)):
        levels = [_level(at, len(commits), len(first.seconds)) for at in (number - 1, number)]
        ratios = levels[1] / levels[0]
        cases = tuple(
            _answer(first, values, float(ratios[place]), float(first.seconds[place]))
            for values, place in known
        )
        at = datetime.fromtimestamp(began(len(commits)) + number * DAY + 10_800, UTC).isoformat()
        base, head = commits[number - 1], commits[number]
        verdict = Verdict(
            at=at,
            machine=machine,
            base=Commit(base, "base", subject(number - 1)),
            head=Commit(head, "main", subject(number)),
            threshold=0.05,
            alpha=0.05,
            rounds=8,
            seconds=1800.0,
            cases=cases,
            commits=(head,),
        )
        name = records.name(at, base[:8], head[:8])
        path = records.write(results, records.VERDICTS, HOST, name, verdict.as_dict())
        night = Night(
            at=at,
            machine=machine,
            head=head,
            base=base,
            commits=(head,),
            budget=7200.0,
            seconds=5400.0,
            measured=len(cases),
            left=0,
            troubles=(),
            verdict=path.relative_to(results).as_posix(),
            exit_code=verdict.exit_code,
            finished=True,
        )
        records.write(results, records.NIGHTS, HOST, records.name(at), night.as_dict())


def _answer(one: Benchmark, values: tuple[str, ...], ratio: float, seconds: float) -> CaseAnswer:
    status = Status.NO_CHANGE if ratio == 1 else Status.REGRESSION
    return CaseAnswer(
        one.name,
        tuple(zip(one.axes, values, strict=True)),
        "time",
        Status.IMPROVEMENT if ratio < 1 else status,
        ratio=ratio,
        low=ratio * 0.98,
        high=ratio * 1.02,
        detectable=0.03,
        p=0.5 if ratio == 1 else 0.001,
        base=seconds,
        head=seconds * ratio,
        rounds=8,
    )


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")


def _git(folder: Path, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout


def main(
    folder: Annotated[Path, typer.Argument(help="Is made; must not exist.")],
    commits: Annotated[int, typer.Option(min=2, help="How many commits.")] = 1000,
    cases: Annotated[int, typer.Option(min=1, help="At least so many cases per commit.")] = 1000,
) -> None:
    """Make a history to publish: a git repository, asv results, records, nights, verdicts."""
    if folder.exists():
        raise typer.BadParameter(f"{folder} exists already")
    hashes = make_repository(folder, commits)
    configure(folder)
    grid = benchmarks(cases)
    write_results(folder, hashes, grid)
    write_verdicts(folder, hashes, grid)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    count = sum(len(one.seconds) for one in grid)
    typer.echo(f"{folder}: {len(hashes)} commits × {count} cases, {size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    typer.run(main)
