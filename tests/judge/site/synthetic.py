"""A small project with made-up results, shaped as the benchmarks of this repository write them.

Everything is deterministic. What a test wants otherwise it changes before ``write``.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asv.config import Config  # type: ignore[import-untyped]

from rnnbench.judge.site.data import site

ROOT = Path(__file__).resolve().parents[2]
MARKUP = "<script>alert(1)</script>"
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

    def measure(self, commit: int = -1, machine: str = "bench", **more: Any) -> Run:
        """Add a run with every case measured, but LSTM skipped by numba's two-layer nets."""
        number = commit % len(self.commits)
        run = Run(machine, self.commits[commit], 1_750_000_000_000 + number * 86_400_000, **more)
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

    def publish(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real ``asv publish``."""
        return subprocess.run(
            [sys.executable, "-m", "asv", "publish", "--no-pull", *arguments],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def load(self) -> Any:
        """What the pages are made from, commits in the order of the branch."""
        site = site.load(self.conf())
        site.revisions = {commit: number for number, commit in enumerate(self.commits)}
        site.find_histories()
        return site

    def conf(self) -> Any:
        """asv's configuration, its paths absolute."""
        conf = Config.from_json(json.loads((self.path / "asv.conf.json").read_text()))
        conf.results_dir, conf.html_dir = str(self.results), str(self.html)
        conf.repo = str(self.path)
        return conf

    def page(self) -> str:
        """The published landing page."""
        return (self.html / "index.html").read_text(encoding="utf-8")


def make_project(path: Path, subjects: list[str], branch: str = "main") -> Project:
    """A repository with one empty commit per subject, and no results yet."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q", "-b", branch)
    for number, subject in enumerate(subjects):
        at = f"{1_750_000_000 + number * 86_400} +0000"
        git(path, "commit", "-q", "--allow-empty", "-m", subject, at=at)
    commits = git(path, "log", "--reverse", "--format=%H").split()
    (path / "reports").symlink_to(ROOT / "reports")
    project = Project(path, branch, commits, standard_benchmarks())
    conf = {
        "version": 1,
        "project": "synthetic",
        "project_url": "index.html",
        "show_commit_url": "commits.html#commit-",
        "repo": ".",
        "branches": [branch],
        "results_dir": ".asv/results",
        "html_dir": "reports_html",
        "env_dir": ".asv/env",
        "benchmark_dir": "benchmarks",
        "plugins": [".reports.publisher"],
    }
    write_json(path / "asv.conf.json", conf)
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


def git(path: Path, *arguments: str, at: str = "1750000000 +0000") -> str:
    """Run git with a name and a date of our own."""
    who = {"NAME": "A", "EMAIL": "a@example.invalid", "DATE": at}
    environment = {
        f"GIT_{role}_{key}": v for role in ("AUTHOR", "COMMITTER") for key, v in who.items()
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=path,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


COMPARED = {"native": 1.0, "numba": 1.6, "onnxruntime": 1.7, "jax": 0.9}
"""Backends of a comparison → how many times as fast as native."""
HOST = {"host": "bench", "cpu": "Zen 4", "cpu_id": "cpu family 25"}


def compared(
    cell: str = "gru",
    phase: str = "inference",
    B: int = 16,
    H: int = 128,
    threads: int = 1,
    speeds: dict[str, float] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A line as ``rnnbench compare --save`` writes it; intervals of 2 % to both sides.

    A speed of NaN is a backend that does not support the case.
    """
    speeds = COMPARED if speeds is None else speeds
    training = phase == "training"
    if training:
        speeds = {name: math.nan if name == "onnxruntime" else v for name, v in speeds.items()}
    size = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}[cell]
    flops = 2 * size * H * 2 * H * B * 128 * (3 if training else 1)
    references = [n for n in speeds if n != "numba" and not math.isnan(speeds[n])]
    peer = max(references, key=lambda name: speeds[name], default=None)

    def ratio(name: str, to: str | None) -> list[float] | None:
        value = speeds[name] / speeds.get(to or "", math.nan)
        return None if math.isnan(value) else [value, value * 0.98, value * 1.02]

    lines = []
    for name, speed in speeds.items():
        timed = not math.isnan(speed)
        seconds = flops / 30e9 / speed if timed else None
        lines.append(
            {
                "backend": name,
                "status": "ok" if timed else "unsupported",
                "detail": "" if timed else f"{name} computes no gradients",
                "median": seconds,
                "gflops": flops / seconds / 1e9 if seconds else None,
                "cores": 1.0 if timed else None,
                "identity": {"kernel": name},
                "rounds": 40 if timed else 0,
                "ratio_to_native": ratio(name, "native"),
                "ratio_to_fastest_reference": ratio(name, peer),
            }
        )
    described = {"input_size": H, "hidden_size": H, "layers": 1, "directions": 1, "bias": True}
    described |= {"cell": cell, "dtype": "float32", "proj_size": 0, "dropout": 0.0}
    case = {"spec": described | spec, "T": 128, "B": B, "phase": phase, "lengths": None}
    return {
        "schema": 1,
        "at": "2026-01-02T03:04:05+00:00",
        "machine": dict(HOST),
        "versions": {"python": "3.11.7", "torch": "2"},
        "threads": threads,
        "name": f"{cell}-{phase}-{B}-{H}",
        "case": case | {"initial_state": True, "seed": 0},
        "flops": flops,
        "fastest_reference": peer,
        "lines": lines,
    }


def roofline(threads: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """A file as ``rnnbench roofline --save`` writes it."""
    sizes = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20, "memory": None}
    speeds = {"L1": 206.0, "L2": 110.0, "L3": 80.0, "memory": 25.0}
    roofs = [
        {
            "threads": count,
            "peak_gflops": {
                "float32": {"best": 115.0 * count, "median": 113.0 * count},
                "float64": {"best": 57.0 * count, "median": 56.0 * count},
            },
            "read_gbytes": [
                {
                    "name": name,
                    "read": 16 << 10,
                    "capacity": size,
                    "best": speeds[name] * count,
                    "median": 0.97 * speeds[name] * count,
                }
                for name, size in sizes.items()
            ],
        }
        for count in threads
    ]
    about = {"machine": dict(HOST), "versions": {"python": "3.11.7"}, "vectors": "AVX-512"}
    return {"schema": 1, "at": "2026-01-02T03:00:00+00:00", **about, "roofs": roofs}


def grid() -> list[dict[str, Any]]:
    """Lines for three cells, both phases and five shapes: some won, some lost, on one thread."""
    noise = random.Random(0)
    shapes = [(1, 64), (1, 256), (16, 128), (32, 256), (64, 512)]
    lines = []
    for (B, H), cell, phase in itertools.product(
        shapes, ["rnn_tanh", "gru", "lstm"], ["inference", "training"]
    ):
        best = {"rnn_tanh": 3.0, "gru": 1.6, "lstm": 0.97}[cell] * noise.lognormvariate(0, 0.3)
        lines.append(compared(cell, phase, B, H, speeds=COMPARED | {"numba": best}))
    return lines


def write_comparison(results: Path, lines: list[dict[str, Any]], host: str = "bench") -> None:
    """Put lines where ``rnnbench compare --save`` puts them."""
    target = results / "comparison" / f"{host}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_roofline(results: Path, given: dict[str, Any], host: str = "bench") -> None:
    """Put a roofline where ``rnnbench roofline --save`` puts it."""
    target = results / "roofline" / f"{host}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(given) + "\n", encoding="utf-8")
