"""Small suites and projects in which the truth is known, for the tests of verdicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.answer import Commit
from rnnbench.judge.verdict.process import Sampling
from rnnbench.judge.verdict.sides import Side

QUICK = Sampling(sweeps=2, samples=2, sample_time=0.001, sweep_time=0.004, limit=3.0)

SPIN = '''
import time
import planted

class Spin:
    """Seconds of the processor: who else is on the machine does not count."""
    params = [["a", "b"]]
    param_names = ["which"]
    timer = time.process_time
    def time_spin(self, which):
        planted.spin()
    def track_error(self, which):
        return planted.ERROR
    track_error.unit = "eps"
    def track_held(self, which):
        return planted.BYTES
    track_held.unit = "bytes"
'''


def suite(folder: Path, text: str, name: str = "suite") -> Suite:
    """A benchmark_dir with one module, ``work``."""
    made = folder / name
    made.mkdir()
    (made / "__init__.py").touch()
    (made / "work.py").write_text(text)
    return Suite(made)


def package(loops: int = 1000, error: float = 2.0, held: int = 4096) -> str:
    """Source of the package under test."""
    return (
        f"ERROR, BYTES = {error}, {held}\ndef spin():\n    for _ in range({loops}):\n        pass\n"
    )


def side(folder: Path, name: str, text: str) -> Side:
    """An installed commit."""
    made = folder / name
    made.mkdir()
    (made / "planted.py").write_text(text)
    return Side(Commit(name[0] * 40, name), sys.executable, made)


class Repository:
    """A git repository of a project that asv can measure."""

    def __init__(self, folder: Path, benchmarks: str = SPIN) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "asv.conf.json").write_text(
            '{"version": 1, "project": "planted", "repo": ".", "branches": ["HEAD"],'
            ' "environment_type": "virtualenv", "results_dir": ".asv/results",'
            ' "build_command": ["python -m pip wheel --no-deps --no-index -w {build_cache_dir}'
            ' {build_dir}"]}'
        )
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            '[project]\nname = "planted"\nversion = "1"\n'
            '[tool.hatch.build.targets.wheel]\ninclude = ["planted.py"]\n'
        )
        (folder / ".gitignore").write_text(".asv\n__pycache__\n")
        suite(folder, benchmarks, "benchmarks")
        self.git("init", "-q")

    def git(self, *arguments: str) -> str:
        named = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        command = ["git", "-C", str(self.folder), *named, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, text: str, subject: str) -> str:
        """Commit the package's source; returns the hash."""
        (self.folder / "planted.py").write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")
