"""A time limit on somebody's program in this process.

A watching thread waits until the time is up and has `TimeUpError` raised in the candidate, again
every second until that has ended: in the main thread by a signal, which interrupts loops, sleeps
and waits; in any other thread by the interpreter alone, which interrupts loops but no wait.

What it cannot interrupt: a call that stays in compiled code (one huge product, an endless loop in
TorchScript or Numba), which is cut off only when it returns, if ever; and a program that catches
BaseException over and over. The command ``rnnbench diagnose`` ends both, as they are in a process
of their own.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rnnbench.errors import InputError

AGAIN = 1.0
"""Seconds after which a program that caught the interrupt is interrupted again."""

THREAD = "rnnbench-limit"

SIGNAL = getattr(signal, "SIGALRM", None)
"""It is sent, no alarm is set: one that others have set goes to them."""


class TimeUpError(BaseException):
    """The candidate has used up its time. Not an Exception, which it may catch."""


class TimeLimit:
    """Seconds that all calls of a candidate may take together; None for no limit."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise InputError(f"time_limit must be seconds above 0, or None; got {seconds!r}")
        self.seconds = seconds
        self.left = seconds if seconds is not None else float("inf")
        self.calls = 0
        self.asked = ""

    @property
    def words(self) -> str:
        """Return what is to be said when it is over."""
        return (
            f"the candidate did not finish within {self.seconds:g} s: it was cut off in "
            f"call {self.calls} of it ({self.asked})"
        )

    @contextmanager
    def running(self, asked: str) -> Iterator[None]:
        """Run a call of the candidate's on what is left; ``asked`` names the problem.

        Raises TimeUpError, also where the candidate caught it.
        """
        if self.seconds is None:
            yield
            return
        if self.left <= 0:
            raise TimeUpError
        self.calls, self.asked = self.calls + 1, asked
        started = time.monotonic()
        try:
            with _watched(self.left):
                yield
        finally:
            self.left -= time.monotonic() - started
        if self.left <= 0:
            raise TimeUpError


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    done = threading.Event()
    main = threading.current_thread() is threading.main_thread() and SIGNAL is not None
    interrupt, undo = _by_signal(done) if main else _by_interpreter()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            interrupt()
            wait = AGAIN

    watching = threading.Thread(target=watch, daemon=True, name=THREAD)
    watching.start()
    try:
        yield
    finally:
        try:
            done.set()
        finally:  # where the interrupt came before it
            done.set()
            watching.join()
            undo()


def _by_signal(done: threading.Event) -> tuple[Callable[[], None], Callable[[], None]]:
    assert SIGNAL is not None
    number, thread = SIGNAL, threading.get_ident()
    due = threading.Event()
    before = signal.getsignal(number)

    def ring(got: int, frame: object) -> None:
        if due.is_set():
            due.clear()
            if not done.is_set():
                raise TimeUpError
        elif callable(before):
            before(got, frame)  # type: ignore[arg-type]

    def interrupt() -> None:
        due.set()
        signal.pthread_kill(thread, number)

    def undo() -> None:
        time.sleep(0)  # into the system and back: a signal on its way comes in now
        signal.signal(number, before if before is not None else signal.SIG_DFL)

    signal.signal(number, ring)
    return interrupt, undo


def _by_interpreter() -> tuple[Callable[[], None], Callable[[], None]]:
    thread = ctypes.c_ulong(threading.get_ident())

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeUpError))

    def undo() -> None:
        # One on its way is raised on the way back from here. To clear it by None would leave
        # CPython's request to look for one standing: under a tracer (a debugger, coverage) 3.11
        # then never gets past the start of the next function.
        time.sleep(0)

    return interrupt, undo
