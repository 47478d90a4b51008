"""Keep a script that is diagnosed from changing files, starting programs and using the network.

`raise_fence` makes the whole process so, for good: an audit hook refuses with a sentence, and on
Linux with Landlock the kernel refuses besides, to compiled code and to processes started after it.
Files that the script opens for writing, and what `torch.save` writes, go to a folder that is
thrown away; it may read them back. Windows are not opened: matplotlib draws into memory.

Not guarded: reading files, memory, processor time up to the time limit, and, without Landlock, what
compiled code does by itself.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

REFUSED = {
    "os.fork": "start processes", "os.forkpty": "start processes", "os.system": "start programs",
    "os.exec": "start programs", "os.posix_spawn": "start programs", "os.spawn": "start programs",
    "subprocess.Popen": "start programs", "pty.spawn": "start programs",
    "socket.connect": "use the network", "socket.bind": "use the network",
    "socket.sendto": "use the network", "socket.getaddrinfo": "use the network",
    "webbrowser.open": "open windows",
}  # fmt: skip
"""Audit events that end with an error, and what a script may not do there."""
OF_FILES = {
    "os.remove": "delete files", "os.rmdir": "delete folders", "os.rename": "rename files",
    "os.truncate": "change files", "os.chmod": "change files", "os.chown": "change files",
    "os.link": "make links", "os.symlink": "make links", "os.utime": "change files",
    "os.mkdir": "make folders", "shutil.rmtree": "delete folders", "shutil.move": "move files",
}  # fmt: skip
"""The same, allowed in the scratch folder."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FREE = ("/dev/null", "/dev/tty", "/dev/shm")  # noqa: S108 (shared memory of torch)


class FenceError(PermissionError):
    """A script did what it may not do here."""


def raise_fence(scratch: Path) -> None:
    """Refuse the script whatever changes something outside of ``scratch``, for good."""
    scratch = scratch.resolve()
    os.environ |= {"TMPDIR": str(scratch), "MPLBACKEND": "Agg"}
    tempfile.tempdir = None  # where it was is known no more
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)
    _redirect(scratch)
    _load_in_process()
    free = (str(scratch), *FREE)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in REFUSED:
            _refuse(REFUSED[event], event)
        if event in OF_FILES and not _within(args[0], free):
            _refuse(OF_FILES[event], args[0])
        if (event == "os.kill" and args[0] != os.getpid()) or event == "os.killpg":
            _refuse("send signals", event)
        if event == "open" and args[2] & WRITES and not _within(args[0], free):
            _refuse("write files", args[0])

    sys.addaudithook(hook)
    _landlock([scratch, *map(Path, FREE)])


def _refuse(what: str, where: Any) -> None:
    raise FenceError(f"a script may not {what} while it is diagnosed ({where})")


def _within(path: Any, free: tuple[str, ...]) -> bool:
    """Return whether a path, or an open file, lies where a script may write."""
    if not isinstance(path, str | bytes | os.PathLike):
        return True  # by its number: it was opened before, and judged then
    whole = os.path.realpath(os.fsdecode(path))
    return any(whole == f or whole.startswith(f + os.sep) for f in free)


def _redirect(scratch: Path) -> None:
    """Have files that are opened for writing made in the scratch folder, and read back there."""
    real_open, real_mkdir, real_save = io.open, os.mkdir, torch.save
    free = (str(scratch), *FREE)

    def elsewhere(path: Any) -> Path:
        return scratch / "written" / os.path.abspath(os.fsdecode(path)).lstrip(os.sep)

    def writable(path: Any, keep: bool) -> Any:
        if not isinstance(path, str | bytes | os.PathLike) or _within(path, free):
            return path
        copy = elsewhere(path)
        Path.mkdir(copy.parent, parents=True, exist_ok=True)
        if keep and not copy.exists() and os.path.isfile(path):
            shutil.copyfile(path, copy)
        return copy

    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(mode, str) and set(mode) & set("wax+"):
            file = writable(file, keep="w" not in mode)
        elif isinstance(file, str | bytes | os.PathLike) and elsewhere(file).is_file():
            file = elsewhere(file)
        return real_open(file, mode, *args, **options)

    def made(path: Any, *args: Any, **options: Any) -> None:
        if _within(path, free):
            real_mkdir(path, *args, **options)
        else:
            os.makedirs(elsewhere(path), exist_ok=True)

    def saved(thing: Any, f: Any, *args: Any, **options: Any) -> Any:
        return real_save(thing, writable(f, keep=False), *args, **options)

    for module in (builtins, io):
        setattr(module, "open", opened)  # noqa: B010 (of another type than the one it replaces)
    for module, name, function in ((os, "mkdir", made), (torch, "save", saved)):
        setattr(module, name, function)


def _load_in_process() -> None:
    """Have a DataLoader read in this process, as it may start none: the numbers are the same."""
    init = DataLoader.__init__

    def initialised(self: Any, *args: Any, **options: Any) -> None:
        for name in ("num_workers", "prefetch_factor", "persistent_workers"):
            options.pop(name, None)
        init(self, *args, **options)

    DataLoader.__init__ = initialised  # type: ignore[method-assign]


CREATE, ADD, RESTRICT, NO_NEW_PRIVILEGES = 444, 445, 446, 38
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
CHANGES = {1: WRITE_FILE | sum(1 << bit for bit in range(4, 13)), 2: 1 << 13, 3: TRUNCATE}
"""Rights to change something, by the version of Landlock that has them."""


def _landlock(free: list[Path]) -> bool:
    """Have the kernel refuse changes outside of some folders; return whether it can."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = sum(right for since, right in CHANGES.items() if since <= version)
    fields = [rights, *([0b11] * (version >= 4)), *([0b10] * (version >= 6))]  # TCP; signals
    asked = struct.pack(f"={len(fields)}Q", *fields)
    rules = libc.syscall(CREATE, asked, ctypes.c_size_t(len(asked)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    for path in free:
        if path.exists():
            allowed = rights if path.is_dir() else rights & (WRITE_FILE | TRUNCATE)
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", allowed, at)
            libc.syscall(ADD, rules, ctypes.c_int(1), rule, ctypes.c_uint32(0))
            os.close(at)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done: int = libc.syscall(RESTRICT, rules, ctypes.c_uint32(0))
    os.close(rules)
    return done == 0
