"""The whole path on the real suite: a slowed backend in a scratch clone, found, then mended.

    python tests/judge/nightly/planted_regression.py FOLDER [--share 0.3] [--bench PATTERN]
    [--budget 8m]
        [--threshold 10]

Clones this checkout's HEAD into FOLDER and spends three nights there, in this Python's environment:
one clean, one with a commit that makes the manual backend slower by the share, in time that is
really spent, one after its revert. Prints each night; exits 0 if they ended with 0, 1 and 0, the
second named the commit and the slowed cases, and the share lies in their intervals. What a step
spends outside of the backend is not slowed: the share of the whole is a little smaller.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rnnbench.files import records
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Verdict

OUTSIDE = 1.05
"""A step is at most this much longer than what the backend spends of it."""
HERE = Path(__file__).resolve().parents[3]
MODULE = "implementations/rnnbench/backends/manual.py"
SLOWED = """

def _slowed(run):  # type: ignore[no-untyped-def]
    from time import thread_time  # what others take from the processor is not to be repeated

    def slower(self, spec, inputs):  # type: ignore[no-untyped-def]
        began = thread_time()
        found = run(self, spec, inputs)
        until = thread_time() + {share} * (thread_time() - began)
        while thread_time() < until:
            pass
        return found

    return slower


Manual.run = _slowed(Manual.run)  # type: ignore[method-assign]
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--bench", default=r"speed\.Inference.*manual.*(16|128), 1, 1")
    parser.add_argument("--budget", default="8m")
    parser.add_argument("--threshold", default="10")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    git(HERE, "clone", "--quiet", str(HERE), str(folder))

    def night() -> tuple[int, str]:
        summary = folder / "summary.md"
        options = ["--profile", "smoke", "--environment", "existing", "--calibrate-share", "0"]
        options += ["--bench", asked.bench, "--budget", asked.budget, "--markdown", str(summary)]
        options += ["--threshold", asked.threshold]
        program = [sys.executable, "-c", "from rnnbench.cli import app; app()", "nightly"]
        source = str(folder / "implementations")
        path = {"PYTHONPATH": f"{source}{os.pathsep}{folder}", "ASV_PYTHONPATH": source}
        ended = subprocess.run(
            [*program, *options], cwd=folder, env=os.environ | path, check=False
        ).returncode
        text = summary.read_text(encoding="utf-8") if summary.exists() else ""
        print(f"exit code {ended}\n\n{text}\n", flush=True)
        return ended, text

    first, _ = night()
    with (folder / MODULE).open("a", encoding="utf-8") as module:
        module.write(SLOWED.format(share=asked.share))
    commit = ("-c", "user.name=planter", "-c", "user.email=planter@localhost")
    git(folder, *commit, "commit", "--quiet", "--all", "--message", "Slow the manual backend down")
    slow = git(folder, "rev-parse", "HEAD")
    second, text = night()
    planted = [f"{case.name}: {case.low:.3f} to {case.high:.3f}" for case in slowed(folder)]
    within = [case for case in slowed(folder) if case.low < 1 + asked.share < OUTSIDE * case.high]
    git(folder, *commit, "revert", "--no-edit", "HEAD")
    third, _ = night()
    named = slow[:12] in text and "manual" in text and "Regression" in text
    told = "named" if named else "not named"
    print(f"exit codes {first}, {second}, {third}; the slowed commit was {told}")
    print(f"planted {1 + asked.share:g}; intervals: {'; '.join(planted)}")
    right = (first, second, third) == (0, 1, 0) and named and len(within) == len(planted) > 0
    return 0 if right else 1


def slowed(folder: Path) -> list[CaseAnswer]:
    """The regressions of the first verdict."""
    found = records.read(folder / ".asv" / "results", records.VERDICTS, Verdict.from_dict)
    verdicts = [one.value for one in found if one.value is not None]
    return verdicts[0].of(Status.REGRESSION) if verdicts else []


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
