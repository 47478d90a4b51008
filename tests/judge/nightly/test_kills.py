"""Killed at any moment: nothing measured is lost, nothing is half, the next night goes on.

RNNBENCH_KILLS is the number of kills (CI: 4), RNNBENCH_KILLS_SEED draws their moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from scratch import CASES, Scratch

from rnnbench.files import records
from rnnbench.judge.nightly import lock, result_files
from rnnbench.judge.nightly.night import Night

KILLS = int(os.environ.get("RNNBENCH_KILLS", "4"))
SEED = int(os.environ.get("RNNBENCH_KILLS_SEED", "0"))
OPTIONS = ("--unit", "2", "--wait", "60", "--budget", "10m", "--verdict-share", "0")
WITHIN = 2.0
"""Seconds after a moment of a night in which it is killed: a unit takes about one."""


def all_whole(scratch: Scratch) -> None:
    for file in scratch.results.rglob("*.json"):
        if not result_files.PART.fullmatch(file.name):
            json.loads(file.read_text())


def measuring(folder: Path) -> list[int]:
    """Living processes that work below a folder or were started for it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in command:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def reached(scratch: Scratch, units: int, known: set[tuple[str, str]]) -> bool:
    """Whether the night has begun to measure, or has kept so many units."""
    if units == 0:
        return bool(measuring(scratch.root / "benchmarks"))
    return len(set(scratch.numbers()) - known) >= units


@pytest.mark.timeout(60 + 30 * KILLS)
def test_no_kill_loses_a_result_or_leaves_half_a_file(scratch: Scratch) -> None:
    draw = random.Random(SEED)
    known = set(scratch.numbers())
    grown = 0
    for kill in range(KILLS):
        if len(known) % CASES == 0 and known:
            scratch.commit(f"Commit {kill}", cost=1 + kill % 2)
        process = scratch.start(*OPTIONS, "--calibrate-share", "0")
        after = draw.choice([None, 0, 1, 3])
        while after is not None and process.poll() is None and not reached(scratch, after, known):
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, WITHIN))
        process.kill()
        process.wait()
        now = set(scratch.numbers())
        assert known <= now, f"kill {kill} lost {sorted(known - now)}"
        all_whole(scratch)
        grown += now > known
        known = now
    assert grown  # else the kills came before there was anything to lose
    done = scratch.nightly(*OPTIONS)
    assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: nobody judges here
    assert known <= set(scratch.numbers())
    head = scratch.git("rev-parse", "HEAD")
    assert len([1 for commit, _ in scratch.numbers() if commit == head]) == CASES
    assert not [
        file for file in scratch.results.rglob("*") if result_files.PART.fullmatch(file.name)
    ]
    found = [one.value for one in records.read(scratch.results, records.NIGHTS, Night.from_dict)]
    assert found[-1] is not None
    assert found[-1].finished
    assert found[-1].left == 0


def test_a_night_killed_after_its_last_unit_is_clean_when_it_is_ended(scratch: Scratch) -> None:
    options = (*OPTIONS, "--calibrate-share", "0", "--bench", "time_other")
    process = scratch.start(*options)
    until = time.monotonic() + 60
    while not scratch.numbers():
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert scratch.nightly(*options).returncode == 0


def test_a_killed_night_is_told_by_the_next(scratch: Scratch) -> None:
    process = scratch.start(*OPTIONS, "--calibrate-share", "0")
    until = time.monotonic() + 60
    while not scratch.results.exists() or not scratch.numbers():
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = scratch.nightly(*OPTIONS)
    assert "killed: " in done.stdout
    assert "units that it had measured are kept" in done.stdout


def test_a_kill_takes_all_processes_along_and_then_frees_the_lock(scratch: Scratch) -> None:
    scratch.commit("Slow", moods={(1, "a"): "hang"})
    process = scratch.start(*OPTIONS, "--calibrate-share", "0", "--bench", "time_work")
    until = time.monotonic() + 60
    while not measuring(scratch.root / "benchmarks"):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    with lock.held(scratch.root / lock.PLACE, wait=20):
        assert measuring(scratch.root / "benchmarks") == []


def test_a_second_run_leaves_or_waits(scratch: Scratch) -> None:
    with lock.held(scratch.root / lock.PLACE):
        left = scratch.nightly()
        assert left.returncode == 4
        assert "another run is measuring on this machine" in left.stderr
        options = ("--wait", "1m", "--bench", "time_other", "--calibrate-share", "0")
        waiting = scratch.start(*options)
        time.sleep(2)
        assert waiting.poll() is None
        assert not (scratch.root / ".asv" / "nightly").exists()
    assert waiting.wait(60) == 0


def test_the_main_job_and_a_night_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reports import main_job

    monkeypatch.chdir(tmp_path)
    with lock.held(tmp_path / lock.PLACE), pytest.raises(typer.Exit), main_job._alone():
        pass
    assert "another run is measuring" in capsys.readouterr().err
    with main_job._alone(), pytest.raises(lock.BusyError), lock.held(tmp_path / lock.PLACE):
        pass


def test_a_command_past_its_limit_is_ended_with_what_it_started(tmp_path: Path) -> None:
    from rnnbench.judge.nightly import supervised

    script = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]],"
        " start_new_session=True);"
        "print('started', flush=True); time.sleep(600)"
    )
    began = time.monotonic()
    ended = supervised.run(
        [sys.executable, "-c", script, str(tmp_path)],
        tmp_path / "log",
        cwd=tmp_path,
        environment=os.environ,
        limit=2.0,
    )
    assert ended.cut_off
    assert ended.text == "started\n"
    assert time.monotonic() - began < 20
    assert measuring(tmp_path) == []


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_with_its_own_code(tmp_path: Path, code: int) -> None:
    from rnnbench.judge.nightly import supervised

    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    ended = supervised.run(command, tmp_path / "log", cwd=tmp_path, environment=os.environ)
    assert ended.code == code


def test_a_command_that_a_signal_ends_is_told_apart(tmp_path: Path) -> None:
    from rnnbench.judge.nightly import supervised

    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]
    ended = supervised.run(command, tmp_path / "log", cwd=tmp_path, environment=os.environ)
    assert ended.code == 128 + signal.SIGTERM


IGNORING = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
"""Runs a command as a script's background job is run: with SIGINT ignored."""

INTERRUPTS = """
import os, signal, subprocess, sys
from rnnbench.nightly import tied
sleeps = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
child = tied.interruptible(sleeps, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
child.stdout.readline()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    os.killpg(0, signal.SIGINT)  # as the terminal does
print(os.getpgid(child.pid) == os.getpgid(0), child.poll(), end=" ")
child.send_signal(signal.SIGINT)
print(child.wait(30))
"""


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_process_that_ignores_sigint_can_start_one_that_does_not(ignoring: bool) -> None:
    """Ctrl-C reaches neither: it goes to their terminal's group."""
    command = [*IGNORING * ignoring, sys.executable, "-c", INTERRUPTS]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, process_group=0
    )  # fmt: skip
    assert done.stdout.split() == [str(not ignoring), "None", str(-signal.SIGINT)]


def test_sigterm_ends_a_night_with_its_commands(scratch: Scratch) -> None:
    process: subprocess.Popen[str] = scratch.start(*OPTIONS, "--calibrate-share", "0")
    until = time.monotonic() + 60
    while not measuring(scratch.root / "benchmarks"):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    with lock.held(scratch.root / lock.PLACE, wait=20):
        assert measuring(scratch.root / "benchmarks") == []
