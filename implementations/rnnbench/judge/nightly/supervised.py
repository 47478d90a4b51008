"""A command tied to the process that started it: when that is gone, however it went, so is this.

``python -m rnnbench.judge.nightly.supervised LIFELINE -- COMMAND…`` runs the command and watches
the pipe LIFELINE, whose other end only the starter holds. When it closes, and also when the command
has ended, everything that the command started is killed: a night that is killed with SIGKILL leaves
nothing behind that goes on measuring. The lock is inherited here, so that the next run waits until
the last process is gone. The command's temporary files go with it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK_SECONDS = 0.2
KILL_SECONDS = 10.0
CUT_OFF = 124
"""Exit code of a command that ran past its limit; timeout(1) has the same."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    seconds: float
    text: str
    """What it printed."""

    @property
    def cut_off(self) -> bool:
        return self.code == CUT_OFF


def run(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limit: float | None = None,
    lock: int | None = None,
    stdout: Path | None = None,
    tick: Callable[[float], None] = lambda _: None,
) -> Ended:
    """Run a command tied to this process.

    Its output is appended to ``log``, but for standard output if ``stdout`` names a file. ``tick``
    is called a few times a second with the seconds passed. Past ``limit`` seconds it is killed.
    """
    began = time.monotonic()
    theirs, ours = os.pipe()
    offset = log.stat().st_size if log.exists() else 0
    inherited = [theirs] if lock is None else [theirs, lock]
    code: int | None = None
    try:
        with log.open("ab") as err, (stdout or log).open("ab" if stdout is None else "wb") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", __spec__.name, str(theirs), "--", *command],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=inherited,
                start_new_session=True,
            )
        os.close(theirs)
        theirs = -1
        while code is None:
            try:
                code = process.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                passed = time.monotonic() - began
                tick(passed)
                if limit is not None and passed > limit:
                    code = CUT_OFF
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    process.wait()
    with log.open("rb") as stream:
        stream.seek(offset)
        text = stream.read().decode(errors="replace")
    return Ended(code, time.monotonic() - began, text)


def interruptible(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command that SIGINT ends, also from a process that was started to ignore it.

    A script's background jobs ignore it, and what they start inherits that: an ignored signal stays
    ignored across execve(2), where one with a handler is the default's again. They do so to be left
    alone by the terminal's Ctrl-C, and so is the command then, in a process group of its own.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored:
        return subprocess.Popen(command, **options)  # noqa: S603
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.Popen(command, process_group=0, **options)  # noqa: S603
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(arguments: Sequence[str]) -> int:
    """Watch one command; returns its exit code, negative signals as 128 + their number."""
    lifeline, command = int(arguments[0]), list(arguments[2:])
    wake, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="rnnbench-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, env=os.environ | {"TMPDIR": folder}
        )
        code = None
        try:
            while code is None:
                ready, _, _ = select.select([lifeline, wake], [], [])
                if lifeline in ready:
                    code = CUT_OFF
                elif os.read(wake, 512):
                    code = child.poll()
        finally:
            child.kill()
            _end_descendants()
    return code if code >= 0 else 128 - code


def _adopt_orphans() -> None:
    """Become the parent of what the command leaves behind, whatever its session or group.

    PR_SET_CHILD_SUBREAPER of prctl(2); other systems have no such thing, and lose sight of orphans.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _end_descendants() -> None:
    """Kill what descends from this process until there is nothing left."""
    until = time.monotonic() + KILL_SECONDS
    while (living := _descendants()) and time.monotonic() < until:
        for other in living:
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _descendants() -> list[int]:
    """Of this process, the dead but for their parents left out; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, open_ = [], [os.getpid()]
    while open_:
        mine = children.get(open_.pop(), [])
        found += mine
        open_ += mine
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
