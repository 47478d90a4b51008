"""A repository of its own in a few files: a package, its suite, environments without a network.

Its environments are real asv environments, a folder with a Python of its own each, into which a
commit is built and installed. They take the libraries from the Python that runs the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import rnnbench

SOURCE = Path(rnnbench.__file__).resolve().parent.parent

CONF = {
    "version": 1,
    "project": "pack",
    "project_url": "index.html",
    "repo": ".",
    "branches": ["main"],
    "show_commit_url": "index.html#",
    "environment_type": "folder",
    "pythons": [f"{sys.version_info[0]}.{sys.version_info[1]}"],
    "build_command": ["python {build_dir}/build.py {build_cache_dir}"],
    "install_command": ["python {build_dir}/install.py {wheel_file} {env_dir}"],
    "uninstall_command": [],
    "env_dir": ".asv/env",
    "results_dir": ".asv/results",
    "html_dir": ".asv/html",
    "benchmark_dir": "benchmarks",
    "launch_method": "forkserver",
    "plugins": [".folder_environment"],
}

ENVIRONMENT = """
import os, sys, sysconfig, venv
from asv.environment import Environment

class Folder(Environment):
    tool_name = "folder"

    def __init__(self, conf, python, requirements, variables):
        self._python, self._requirements = python, requirements
        super().__init__(conf, python, requirements, variables)

    @classmethod
    def matches(cls, python):
        return True

    def check_presence(self):
        return os.path.exists(os.path.join(self._path, "bin", "python"))

    def _setup(self):
        venv.create(self._path, symlinks=True)
        own = sysconfig.get_path("purelib", "venv", vars={"base": self._path})
        with open(os.path.join(own, "libraries.pth"), "w") as file:
            file.write(sysconfig.get_path("purelib") + os.linesep)

    def run(self, args, **kwargs):
        return self.run_executable("python", args, **kwargs)
"""

BUILD = """
import os, sys, zipfile
here = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(os.path.join(here, "BROKEN")):
    raise SystemExit("pack cannot be built: BROKEN is there")
with zipfile.ZipFile(os.path.join(sys.argv[1], "pack-1-py3-none-any.whl"), "w") as wheel:
    wheel.write(os.path.join(here, "pack", "__init__.py"), "pack/__init__.py")
    about = "Wheel-Version: 1.0\\nGenerator: none\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    wheel.writestr("pack-1.dist-info/WHEEL", about)
    name = "Metadata-Version: 2.1\\nName: pack\\nVersion: 1\\n"
    wheel.writestr("pack-1.dist-info/METADATA", name)
    wheel.writestr("pack-1.dist-info/RECORD", "")
"""

INSTALL = """
import sys, sysconfig, zipfile
wheel, env_dir = sys.argv[1:]
zipfile.ZipFile(wheel).extractall(sysconfig.get_path("purelib", "venv", vars={"base": env_dir}))
"""

PACKAGE = '''
import os, signal, time

COST = {cost}
MOODS = {moods!r}

def work(n):
    """Some floating-point work, COST times n times."""
    total = 0.0
    for step in range(COST * n * 50):
        total += step * 0.5
    return total

def prepare(n, how):
    mood = MOODS.get((n, how))
    if mood == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mood == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mood == "memory":
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        bytearray(1 << 33)
    if mood == "hang":
        time.sleep(60)
    if mood == "raises":
        raise ValueError("no such [thing](http://x.example) @all")
    if mood == "skips":
        raise NotImplementedError("cannot do it")
'''

SUITE = """
try:
    import pack
except ImportError:
    pack = None

class Work:
    params = [[1, 2, 3], ["a", "b"]]
    param_names = ["n", "how"]
    repeat, sample_time, warmup_time, rounds = (1, 3, 0.02), 0.002, 0.0, 1
    timeout = 2.0
    version = "1"

    def setup(self, n, how):
        pack.prepare(n, how)

    def time_work(self, n, how):
        pack.work(n)

class Other:
    repeat, sample_time, warmup_time, rounds = (1, 3, 0.02), 0.002, 0.0, 1
    version = "1"

    def time_other(self):
        pack.work(1)
"""

CONTROL = """
class Control:
    repeat, sample_time, warmup_time, rounds = (1, 3, 0.02), 0.002, 0.0, 1
    version = "1"

    def time_control(self):
        sum(step * 0.5 for step in range(300))
"""

CASES = 8
"""Of the whole suite: six, and two without parameters."""


@dataclass
class Scratch:
    """The repository and what is done to it."""

    root: Path
    path: str = ""
    """Where an existing environment finds the package; asv drops the usual variable."""

    @property
    def results(self) -> Path:
        return self.root / ".asv" / "results"

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        return (
            os.environ
            | {"ASV_PYTHONPATH": self.path}
            | {"HOME": str(self.root / "home"), "PYTHONPATH": path, "COLUMNS": "300"}
        )

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        done = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def commit(
        self,
        subject: str,
        *,
        cost: int = 1,
        moods: Mapping[tuple[int, str], str] = MappingProxyType({}),
        broken: bool = False,
    ) -> str:
        """A commit of the package as told, its moods by case; returns its hash."""
        self.write({"pack/__init__.py": PACKAGE.format(cost=cost, moods=dict(moods))})
        (self.root / "BROKEN").unlink(missing_ok=True)
        if broken:
            self.write({"BROKEN": ""})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def start(self, *options: str) -> subprocess.Popen[str]:
        """``rnnbench nightly``, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-c", "from rnnbench.cli import app; app()", "nightly", *options],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def nightly(self, *options: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """``rnnbench nightly`` without verdict and calibration, unless the options have them."""
        shares = ["--calibrate-share", "0"]
        if "--verdict-share" not in options:
            shares += ["--verdict-share", "0"]
        process = self.start("--budget", "5m", *shares, *options)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def numbers(self) -> dict[tuple[str, str], float]:
        """Commit and case → the number in asv's results."""
        from rnnbench.judge.nightly import result_files

        found = {}
        for file in result_files.result_files(self.results):
            given = result_files.load(file)
            for cases in result_files.outcomes(given).values():
                for case, kind in cases.items():
                    if kind == "ok":
                        found[given["commit_hash"], case] = 1.0
        return found


def make(root: Path) -> Scratch:
    """A repository with one commit."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "home").mkdir()
    scratch = Scratch(root)
    scratch.write(
        {
            "asv.conf.json": json.dumps(CONF),
            "folder_environment.py": ENVIRONMENT,
            "build.py": BUILD,
            "install.py": INSTALL,
            "benchmarks/__init__.py": "",
            "benchmarks/suite.py": SUITE,
            "benchmarks/control.py": CONTROL,
            ".gitignore": ".asv/\n.asv-*\n__pycache__/\nhome/\n",
        }
    )
    scratch.git("init", "-q", "-b", "main")
    scratch.commit("One")
    return scratch
