"""A project with made-up results, shaped as the benchmarks of this repository write them.

Everything is deterministic. What a test wants otherwise it changes before ``write``. To see what
publishing costs at some size, make a history of that size and publish it:

    python tests/judge/site/synthetic.py --commits 1000 --cases 1000 DIR
    cd DIR && rnnbench publish --timings
"""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from asv.config import Config  # type: ignore[import-untyped]

from rnnbench.files import records
from rnnbench.judge.nightly.night import Night
from rnnbench.judge.site.data import site
from rnnbench.judge.site.publish import publish
from rnnbench.judge.suite import own_module
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

ROOT = Path(__file__).resolve().parents[3]
BEGAN, DAY = 1_750_000_000, 86_400
MARKUP = "<script>alert(1)</script>"
UNFIT = "\udfff\ud800 \ufffe\ufdd0 \u202e\u2066 \x07\x1b[2J"
"""No UTF-8 file, no XML and no HTML can hold it, or it hides what is there."""
NAMES = ["backend", "cell", "T", "layers", "directions", "shape"]
AXES: dict[str, list[Any]] = {
    "backend": ["native", "manual", "numba", "compile"],
    "cell": ["rnn_tanh", "rnn_relu", "gru", "lstm"],
    "T": [16, 128],
    "layers": [1, 2],
    "directions": [1, 2],
    "shape": ["medium"],
}
FIRST_CALL: dict[str, list[Any]] = {
    "backend": AXES["backend"],
    "cell": AXES["cell"],
    "cache": ["empty", "warm"],
}
COMPILE: dict[str, list[Any]] = {
    "backend": AXES["backend"],
    "cell": AXES["cell"],
    "T": [16, 1024],
}
PASSES: dict[str, list[Any]] = {
    "mode": ["chunks", "sliding", "full", "windows"],
    "cell": ["gru"],
    "T": [256],
    "K": [16],
    "shape": ["single"],
}
BIASES: dict[str, list[Any]] = PASSES | {"mode": ["chunks", "sliding"], "K": [16, 1, 64]}
LAGS: dict[str, list[Any]] = {
    "cell": ["gru", "lstm"],
    "lag": [16, 1, 128],
    "shape": ["single"],
}
SPEED_UP = {"native": 1.0, "manual": 0.14, "numba": 2.1, "compile": 1.15}
FIRST = {"native": 0.02, "manual": 0.03, "numba": 4.9, "compile": 7.5}
KERNELS = {
    "native": "ATen loop",
    "manual": "torch loops",
    "numba": "own kernels",
    "compile": "inductor",
}
ENVIRONMENT = "virtualenv-py3.11"
COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a"]
COLUMNS += ["stats_ci_99_b", "stats_q_25", "stats_q_75", "stats_number", "stats_repeat", "samples"]
Case = dict[str, Any]


@dataclass
class Run:
    """One commit measured on one machine: values and records, both open to change."""

    machine: str
    commit: str
    date: int
    environment: str = ENVIRONMENT
    python: str = "3.11"
    values: dict[str, list[float | None]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Project:
    """A git repository with asv.conf.json and results."""

    path: Path
    branch: str
    commits: list[str]
    benchmarks: dict[str, dict[str, Any]]
    runs: list[Run] = field(default_factory=list)

    @property
    def results(self) -> Path:
        """asv's results_dir."""
        return self.path / ".asv" / "results"

    @property
    def html(self) -> Path:
        """asv's html_dir."""
        return self.path / "reports_html"

    def configure(self, **more: Any) -> None:
        """Write asv.conf.json, with the pages of this repository unless told otherwise."""
        conf = {
            "version": 1,
            "project": "synthetic",
            "project_url": "index.html",
            "show_commit_url": "commits.html#commit-",
            "repo": ".",
            "branches": [self.branch],
            "results_dir": ".asv/results",
            "html_dir": "reports_html",
            "env_dir": ".asv/env",
            "benchmark_dir": "benchmarks",
            "plugins": [".reports.publisher"],
            "rnnbench": {"pages": "reports.pages"},
        }
        write_json(self.path / "asv.conf.json", conf | more)

    def measure(self, commit: int = -1, machine: str = "bench", **more: Any) -> Run:
        """Add a run with every case measured, but LSTM skipped by numba's two-layer nets."""
        number = commit % len(self.commits)
        run = Run(machine, self.commits[commit], 1000 * (BEGAN + number * DAY), **more)
        noise = random.Random(number)
        for name, entry in self.benchmarks.items():
            cases = combinations(entry)
            run.values[name] = [value_of(name, case, noise) for case in cases]
            run.records += [
                record_of(run, name, case, value)
                for case, value in zip(cases, run.values[name], strict=True)
            ]
        self.runs.append(run)
        return run

    def write(self) -> None:
        """Put benchmarks.json, results and records where asv and the benchmarks put them."""
        self.results.mkdir(parents=True, exist_ok=True)
        write_json(self.results / "benchmarks.json", {**self.benchmarks, "version": 2})
        for run in self.runs:
            self._write_run(run)

    def _write_run(self, run: Run) -> None:
        folder = self.results / run.machine
        about = {"arch": "x86_64", "cpu": "Zen 4", "machine": run.machine, "num_cpu": "2"}
        about |= {"os": "Linux 6.1", "ram": "24 GiB"}
        write_json(folder / "machine.json", {**about, "version": 1})
        data = {
            "commit_hash": run.commit,
            "env_name": run.environment,
            "date": run.date,
            "params": {**about, "python": run.python},
            "python": run.python,
            "requirements": {},
            "env_vars": {},
            "result_columns": COLUMNS,
            "results": {name: self._columns(name, values) for name, values in run.values.items()},
            "durations": {},
            "version": 2,
        }
        stem = f"{run.commit[:8]}-{run.environment}"
        write_json(folder / f"{stem}.json", data)
        lines = "".join(json.dumps(record) + "\n" for record in run.records)
        target = self.results / "records" / run.machine / f"{stem}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(lines, encoding="utf-8")

    def _columns(self, name: str, values: list[float | None]) -> list[Any]:
        entry = self.benchmarks[name]
        timed = entry["type"] == "time"

        def scaled(factor: float) -> list[float | None] | None:
            if not timed:
                return None
            return [None if is_absent(v) or v is None else v * factor for v in values]

        bounds = [scaled(0.98), scaled(1.03), scaled(0.99), scaled(1.01), scaled(0), scaled(0)]
        if timed:
            bounds[4] = [None if is_absent(value) else 10 for value in values]
            bounds[5] = [None if is_absent(value) else 12 for value in values]
        return [values, entry["params"], entry["version"], 1_760_000_000_000, 3.0, *bounds, None]

    def publish(self, html: str = "reports_html") -> site.Site:
        """Publish into a folder of the project."""
        conf = self.conf()
        conf.html_dir = str(self.path / html)
        return publish.publish(conf)

    def run(self, *command: str) -> None:
        """Run a Python module in the project, with one line of output where it fails."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def load(self) -> site.Site:
        """Read what the pages are made from."""
        conf = self.conf()
        return site.load(conf, own_module("pages", Path.cwd(), vars(conf)))

    def conf(self) -> Any:
        """Return asv's configuration, its paths absolute."""
        conf = Config.from_json(json.loads((self.path / "asv.conf.json").read_text()))
        conf.results_dir, conf.html_dir = str(self.results), str(self.html)
        conf.repo = str(self.path)
        return conf

    def page(self) -> str:
        """The published landing page."""
        return (self.html / "index.html").read_text(encoding="utf-8")


def make_project(path: Path, subjects: list[str], branch: str = "main") -> Project:
    """A repository with one empty commit per subject, a day apart, and no results yet."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q", "-b", branch)
    stream = []
    for number, subject in enumerate(subjects):
        who = f"A <a@example.invalid> {BEGAN + number * DAY} +0000"
        size = len(subject.encode())
        stream.append(f"commit refs/heads/{branch}\ncommitter {who}\ndata {size}\n{subject}\n")
    git(path, "fast-import", "--quiet", stdin="".join(stream))
    commits = git(path, "log", "--reverse", "--format=%H", branch).split()
    (path / "reports").symlink_to(ROOT / "reports")
    project = Project(path, branch, commits, standard_benchmarks())
    project.configure()
    return project


def standard_benchmarks() -> dict[str, dict[str, Any]]:
    """Every group of benchmarks that the report knows."""
    entries = [
        benchmark("speed.Inference.time_inference", "seconds", AXES),
        benchmark("speed.Training.time_training", "seconds", AXES),
        benchmark("memory.Training.track_peak_bytes", "bytes", {**AXES, "T": [128]}),
        benchmark("parity.Forward.track_error", "eps", AXES),
        benchmark("parity.Gradient.track_error", "eps", AXES),
        benchmark("cold.FirstCall.track_first_call", "seconds", FIRST_CALL),
        benchmark("cold.Compile.track_compile_seconds", "seconds", COMPILE),
        benchmark("cold.Import.track_import_seconds", "seconds", {"package": ["ours", "torch"]}),
        benchmark("control.Control.time_matmul", "seconds", {}),
        benchmark("truncation.Seconds.time_pass", "seconds", PASSES),
        benchmark("truncation.Memory.track_peak_bytes", "bytes", PASSES),
        benchmark("truncation.Bias.track_bias", "relative", BIASES),
        benchmark("truncation.Lag.track_norm", "norm", LAGS),
    ]
    return {entry["name"]: entry for entry in entries}


def benchmark(name: str, unit: str, axes: dict[str, list[Any]]) -> dict[str, Any]:
    """An entry of benchmarks.json."""
    return {
        "code": "def f(): pass",
        "name": name,
        "param_names": list(axes),
        "params": [[repr(value) for value in values] for values in axes.values()],
        "type": "time" if unit == "seconds" and ".time_" in name else "track",
        "unit": unit,
        "version": "1",
    }


def combinations(entry: dict[str, Any]) -> list[Case]:
    """The cases of a benchmark, in asv's order."""
    names = entry["param_names"]
    plain = [[value.strip("'") for value in values] for values in entry["params"]]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*plain)]


def is_absent(value: float | None) -> bool:
    """None or NaN: failed or skipped."""
    return value is None or math.isnan(value)


def value_of(name: str, case: Case, noise: random.Random) -> float | None:
    """A plausible figure; NaN where numba says no."""
    jitter = noise.lognormvariate(0, 0.03)
    backend = case.get("backend", "native")
    if unsupported(name, case):
        return math.nan
    if name.startswith("speed."):
        work = int(case["T"]) * int(case["layers"]) * (1 if case["shape"] == "small" else 6)
        gain = SPEED_UP.get(backend, 1.3) * (
            0.55 if case["cell"] == "lstm" and backend == "numba" else 1
        )
        return 4e-6 * work * (3 if "Training" in name else 1) / gain * jitter
    if name.startswith("memory."):
        return 3e6 * int(case["layers"]) * (1 + AXES["backend"].index(backend)) * jitter
    if name.startswith("parity."):
        return 2.4 * jitter
    if name.startswith("cold.FirstCall"):
        return FIRST[backend] * (1 if case["cache"] == "empty" else 0.3) * jitter
    if name.startswith("cold.Compile"):
        return FIRST[backend] * 0.9 * jitter
    if name.startswith("truncation."):
        return truncation_value(name, case)
    return 0.8 * jitter if name.startswith("cold.") else 2.3e-3 * jitter


def truncation_value(name: str, case: Case) -> float:
    """Without noise: gradients that halve with each step of lag."""
    if ".Lag." in name:
        return 0.5 ** int(case["lag"])
    if ".Bias." in name:
        return 1 / int(case["K"])
    seconds = {"chunks": 1e-3, "sliding": 2e-3, "full": 4e-3, "windows": 2e-2}[case["mode"]]
    return seconds if ".Seconds." in name else 1e9 * seconds


def unsupported(name: str, case: Case) -> bool:
    """One hole in the grid: compile does not take two-layer LSTM."""
    hole = (case.get("backend"), case.get("cell"), case.get("layers")) == ("compile", "lstm", "2")
    return hole and name.startswith(("speed.", "memory."))


def record_of(run: Run, name: str, case: Case, value: float | None) -> dict[str, Any]:
    """The record that the benchmark would have written."""
    skipped = value is not None and math.isnan(value)
    backend = case.get("backend", "")
    checked = name.startswith(("speed.", "parity.")) and not skipped
    quantity = "output" if "Inference" in name or "Forward" in name else "grad_weight_hh_l0"
    gated = {"error": 2.4, "budget": 12.0, "status": "ok"}
    return {
        "schema": 1,
        "benchmark": name,
        "params": list(case.values()),
        "commit": run.commit,
        "environment": run.environment,
        "host": run.machine,
        "profile": "quick",
        "at": "2026-01-02T03:04:05Z",
        "status": "unsupported" if skipped else "ok",
        "reason": "no two-layer LSTM" if skipped else None,
        "parity": parity(quantity, gated) if checked else None,
        "identity": {"kernel": KERNELS.get(backend, "numpy"), "graph_breaks": 0},
        "machine": {"cpu": "Zen 4", "cores": 2, "threads": {"torch": 1, "numba": 1}, "torch": "2"},
        "overhead": {"setup_seconds": 0.05},
    }


def parity(quantity: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The parity part of a record, with one gated and one chaotic quantity."""
    return {
        "passed": entry["status"] == "ok",
        "worst_quantity": quantity,
        "worst_error": entry["error"],
        "worst_budget": entry["budget"],
        "quantities": {
            quantity: entry,
            "h_n": {"error": 9e9, "budget": 4.0, "status": "chaotic"},
        },
    }


def fail_parity(run: Run, name: str, index: int, error: float = 48.0) -> None:
    """Let one case fail: its record says so, while asv still holds an older time."""
    start = 0
    for other, values in run.values.items():
        if other == name:
            break
        start += len(values)
    record = run.records[start + index]
    entry = {"error": error, "budget": 12.0, "status": "FAIL"}
    record.update(status="parity", reason="output is beyond its budget")
    record["parity"] = parity("output", entry)


def write_json(path: Path, data: Any) -> None:
    """Write JSON as asv does, NaN included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def git(path: Path, *arguments: str, stdin: str = "") -> str:
    """Run git without anybody's settings."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=path,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(path)},
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# A history as large as one asks for.

STEP = 1.12
TORCH = ("2.11.0", "2.12.1", "2.13.0")
SHAPES = {"single": 1, "medium": 20, "large": 130}
JUDGED = 60
"""Cases of a verdict."""


def long_history(path: Path, commits: int, cases: int) -> Project:
    """Make a history of nights, each with its verdict: at least so many cases per commit.

    Every tenth case steps up and down again in the course of it, torch changes its version twice.
    """
    project = make_project(path, [f"Change number {number}" for number in range(commits)])
    per_step = 2 * len(AXES["backend"]) * len(AXES["cell"]) * len(SHAPES)
    steps = [16 * (number + 1) for number in range(max(math.ceil((cases - 1) / per_step), 1))]
    axes = AXES | {"T": steps, "layers": [1], "directions": [1], "shape": list(SHAPES)}
    entries = [
        benchmark("speed.Inference.time_inference", "seconds", axes),
        benchmark("speed.Training.time_training", "seconds", axes),
        benchmark("control.Control.time_matmul", "seconds", {}),
    ]
    project.benchmarks = {entry["name"]: entry for entry in entries}
    project.write()
    for number in range(commits):
        run = project.measure(number, machine="synthetic")
        for values in run.values.values():
            for place in range(0, len(values), 10):
                values[place] = (values[place] or 0.0) * level(place, number, commits)
        for record in run.records:
            record["machine"]["torch"] = TORCH[number * len(TORCH) // commits]
        project.write()
        project.runs.clear()
        if number:
            _judge(project, entries[0], number)
    return project


def level(case: int, commit: int, commits: int) -> float:
    """How many times its usual time a case takes at a commit."""
    begin = (case * 37) % commits
    slow = case % 10 == 0 and begin <= commit < begin + max(commits // 8, 1)
    return STEP if slow else 1.0


def _judge(project: Project, entry: dict[str, Any], number: int) -> None:
    """Write the night and the verdict of a commit."""
    base, head = project.commits[number - 1], project.commits[number]
    cases = []
    for place, case in enumerate(combinations(entry)[:JUDGED]):
        before, after = (level(place, n, len(project.commits)) for n in (number - 1, number))
        ratio = after / before
        status = Status.REGRESSION if ratio > 1 else Status.IMPROVEMENT
        status, p = (Status.NO_CHANGE, 0.5) if ratio == 1 else (status, 0.001)
        interval = {"low": ratio * 0.98, "high": ratio * 1.02, "detectable": 0.03, "p": p}
        sides = {"base": before, "head": after, "rounds": 8}
        params = tuple(case.items())
        answer = CaseAnswer(entry["name"], params, "time", status, ratio=ratio, **interval, **sides)
        cases.append(answer)
    at = f"{datetime.fromtimestamp(BEGAN + number * DAY + 10_800, UTC).isoformat()}"
    about = {"at": at, "machine": {"host": "synthetic", "cpu": "made up", "cpu_id": ""}}
    verdict = Verdict(
        **about,
        base=Commit(base, "base", f"Change number {number - 1}"),
        head=Commit(head, "main", f"Change number {number}"),
        threshold=0.05, alpha=0.05, rounds=8, seconds=1800.0, cases=tuple(cases), commits=(head,),
    )  # fmt: skip
    name = records.name(at, base[:8], head[:8])
    where = records.write(
        project.results, records.VERDICTS, "synthetic", name, verdict.as_dict()
    ).relative_to(project.results)
    night = Night(
        **about, head=head, base=base, commits=(head,), budget=7200.0, seconds=5400.0,
        measured=len(cases), left=0, troubles=(), verdict=where.as_posix(),
        exit_code=verdict.exit_code, finished=True,
    )  # fmt: skip
    records.write(project.results, records.NIGHTS, "synthetic", records.name(at), night.as_dict())


def main(
    folder: Annotated[Path, typer.Argument(help="Is made; must not exist.")],
    commits: Annotated[int, typer.Option(min=2, help="How many commits.")] = 1000,
    cases: Annotated[int, typer.Option(min=1, help="At least so many cases per commit.")] = 1000,
) -> None:
    """Make a history to publish: a git repository, asv results, records, nights, verdicts."""
    if folder.exists():
        raise typer.BadParameter(f"{folder} exists already")
    project = long_history(folder, commits, cases)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    count = sum(len(combinations(entry)) for entry in project.benchmarks.values())
    typer.echo(f"{folder}: {commits} commits × {count} cases, {size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    typer.run(main)
