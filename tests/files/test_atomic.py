"""A file is the old one or the new one, whatever happens to its writer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from rnnbench.files import atomic


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    atomic.write(target, "old")
    with pytest.raises(ZeroDivisionError), atomic.replacing(target) as part:
        part.write_text(f"half {1 // 0}")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_leaves_is_swept(tmp_path):
    target = tmp_path / "below" / "file.json"
    program = (
        "import os, signal, sys; from pathlib import Path; from rnnbench.files import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    assert len(list(target.parent.iterdir())) == 1
    atomic.sweep(tmp_path)
    assert not list(target.parent.iterdir())


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    target = tmp_path / "file"
    contents = ["a" * 200_000, "b" * 100_000]
    begin = threading.Barrier(2)

    def write(content: str) -> None:
        begin.wait()
        for _ in range(20):
            atomic.write(target, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in contents
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_the_file_before_or_of_any_new_file(tmp_path):
    new, plain = tmp_path / "new", tmp_path / "plain"
    plain.write_text("")
    atomic.write(new, "")
    assert new.stat().st_mode == plain.stat().st_mode
    os.chmod(new, 0o640)
    atomic.write(new, "again")
    assert stat.S_IMODE(new.stat().st_mode) == 0o640


def test_a_file_with_the_same_content_is_left_alone(tmp_path):
    target = tmp_path / "file"
    assert atomic.write_if_changed(target, "one")
    before = target.stat()
    assert not atomic.write_if_changed(target, b"one")
    assert target.stat().st_ino == before.st_ino
    assert atomic.write_if_changed(target, "two")


def test_the_longest_name_can_be_written(tmp_path):
    target = tmp_path / ("n" * 255)
    assert atomic.write(target, b"x").read_bytes() == b"x"
