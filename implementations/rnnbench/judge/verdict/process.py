"""Run the measuring processes of one round: start them, give them their turns, end them.

The sides live at the same time and sweep over the cases by turns, A B B A A B …: what is slow for
longer than a sweep is slow for both. They start and set up side by side, where nothing is measured.

A case that brings its process down or never ends costs that case: the others are measured in
processes of their own. A process has an end: it is killed, with all that it started, when a step
takes longer than its limit.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from rnnbench.errors import BrokenError
from rnnbench.files.machine import THREAD_VARIABLES
from rnnbench.judge.suite import Suite
from rnnbench.judge.verdict.sides import VALUE, Case, Side, quantity

WORKER = Path(__file__).with_name("worker.py")
LISTING_LIMIT = 300.0


class WorkerError(BrokenError):
    """A measuring process ended, or had to be ended, before it was at any case."""


@dataclass(frozen=True)
class Sampling:
    """The sampling of a case in one process, in sweeps (`rnnbench.judge.verdict.worker`)."""

    sweeps: int = 6
    samples: int = 2
    """Most samples of a case in a sweep."""
    least: int = 1
    """Samples that even a slow case gets."""
    sample_time: float = 0.005
    sweep_time: float = 0.06
    """Seconds after which a case gets no further sample in this sweep."""
    limit: float = 120.0
    """Seconds that a step may take: a set-up, the samples of a case in a sweep, a tear-down."""
    threads: int = 1


@dataclass(frozen=True)
class Failure:
    """The reason why a case has no number."""

    reason: str
    kind: str
    """Class of the exception; ``crash`` or ``hang``."""


@dataclass
class Measured:
    """The findings of one process on one side, or of several where cases brought some down."""

    samples: dict[Case, list[float]] = field(default_factory=dict)
    """Seconds per call of each sample, or the one value of a benchmark that gives a number."""
    skipped: dict[Case, str] = field(default_factory=dict)
    failed: dict[Case, Failure] = field(default_factory=dict)
    control: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Listed:
    """The cases of a side with their places in asv's grid, and versions."""

    index: Mapping[Case, int]
    versions: Mapping[str, str]
    control: str | None


def listed(side: Side, suite: Suite, scratch: Path) -> Listed:
    """List all cases; raises WorkerError."""
    order = {"list": True}
    with _started(side, suite, order, scratch, Sampling()) as worker:
        (found,) = worker.turn(LISTING_LIMIT)
    index: dict[Case, int] = {}
    control = _control(suite, found["benchmarks"])
    for one in found["benchmarks"]:
        own = suite.quantities.get(one["name"])
        measures = own or quantity(one["name"], one["type"], one["unit"])
        if one["name"] == control:
            continue
        unit = one["unit"] if measures == VALUE else None
        for place, values in enumerate(itertools.product(*one["params"])):
            params = tuple(zip(one["param_names"], map(_plain, values), strict=True))
            alone = one["type"] == "peakmemory"
            index[Case(one["name"], params, measures, alone, unit)] = place
    return Listed(index, found["versions"], control)


def _control(suite: Suite, benchmarks: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the benchmark that no commit changes."""
    plain = [one["name"] for one in benchmarks if not one["params"]]
    if suite.control in plain:
        return suite.control
    return next((name for name in plain if name.split(".")[0] == "control"), None)


def _plain(value: str) -> str:
    """Return a parameter without the quotes of its repr."""
    return value[1:-1] if value[:1] == value[-1:] and value[:1] in ("'", '"') else value


Places = Mapping[Case, int]
"""Cases, each with its place in asv's grid."""


def measure(
    sides: Sequence[tuple[Side, Places]],
    suite: Suite,
    scratch: Path,
    sampling: Sampling,
    core: int | None = None,
) -> list[Measured]:
    """Measure each side's cases once, the sides by turns; raises WorkerError.

    ``core`` is the processor on which all samples are taken, whose turn it may be; None leaves that
    to the system.
    """
    found = [Measured() for _ in sides]
    started = time.monotonic()
    every = dict.fromkeys(case for _, places in sides for case in places)
    together = [case for case in every if not case.alone]
    for group in ([together] if together else []) + [[case] for case in every if case.alone]:
        _measure_group(group, sides, suite, scratch, sampling, core, found)
    for one in found:
        one.seconds = time.monotonic() - started
    return found


def _measure_group(
    group: Sequence[Case],
    sides: Sequence[tuple[Side, Places]],
    suite: Suite,
    scratch: Path,
    sampling: Sampling,
    core: int | None,
    found: Sequence[Measured],
) -> None:
    left = [{case: places[case] for case in group if case in places} for _, places in sides]
    repeated = False
    while any(left):
        have = [n for n, places in enumerate(left) if places]
        parts = {n: Measured() for n in have}
        with ExitStack() as running:
            workers = {}
            for n in have:
                order = _order(left[n], suite, sampling, core)
                started = _started(sides[n][0], suite, order, scratch, sampling)
                workers[n] = running.enter_context(started)
            at = have[0]
            try:
                for turn in range(sampling.sweeps + 2):  # set up, sweeps, tear down
                    for at in have if turn % 2 else have[::-1]:
                        for message in workers[at].turn(sampling.limit):
                            _take(message, list(left[at]), parts[at])
            except _EndedError as end:
                if end.at is None:
                    if turn == 0 or repeated:
                        raise WorkerError(str(end)) from end
                    repeated = True  # while it waited: the other one may have taken all the memory
                    continue
                culprit = list(left[at])[end.at]
                found[at].failed[culprit] = Failure(str(end), end.kind)
                del left[at][culprit]
                continue
        for n, part in parts.items():
            for case in part.failed:
                part.samples.pop(case, None)
            found[n].samples |= part.samples
            found[n].skipped |= part.skipped
            found[n].failed |= part.failed
            found[n].control += part.control
        return


def _order(places: Places, suite: Suite, sampling: Sampling, core: int | None) -> dict[str, Any]:
    cases = [[case.benchmark, place] for case, place in places.items()]
    return asdict(sampling) | {"cases": cases, "control": suite.control, "core": core}


def _take(message: Mapping[str, Any], names: Sequence[Case], part: Measured) -> None:
    if "control" in message:
        part.control += message["control"]
        return
    case = names[message["case"]]
    if "skipped" in message:
        part.skipped[case] = message["skipped"]
    elif "failed" in message:
        part.failed[case] = Failure(message["failed"], message["type"])
    else:
        samples = message.get("samples") or [message["value"]]
        part.samples.setdefault(case, []).extend(samples)


class _EndedError(WorkerError):
    """Ended early, at the case in place ``at`` of its order."""

    def __init__(self, sentence: str, at: int | None, kind: str) -> None:
        super().__init__(sentence)
        self.at, self.kind = at, kind


@contextmanager
def _started(
    side: Side, suite: Suite, order: Mapping[str, Any], scratch: Path, sampling: Sampling
) -> Iterator[_Worker]:
    """Start a worker with its order; kill it, with all that it started, when the block ends."""
    environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(sampling.threads))
    environment["RNNBENCH_THREADS"] = str(sampling.threads)
    environment |= {"ASV": "true", "ASV_COMMIT": side.commit.hash, **side.environment}
    environment.pop("PYTHONPATH", None)  # asv drops it, too: it would hide the side's own
    if side.path is not None:
        environment["PYTHONPATH"] = str(side.path)
    with (
        tempfile.TemporaryDirectory(dir=scratch) as folder,
        tempfile.TemporaryFile() as words,
        subprocess.Popen(  # noqa: S603
            [side.python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            cwd=folder,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        worker = _Worker(process, words)
        try:
            worker.tell({**order, "suite": str(side.suite or suite.folder)})
            yield worker
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(BrokenPipeError):
                worker.orders.close()


class _Worker:
    """A running worker: it is told to go on, and listened to."""

    def __init__(self, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.words, self.orders = process, words, process.stdin
        self.lines = _Lines(process.stdout)
        self.at: int | None = None
        self.begun = False

    def tell(self, message: Any) -> None:
        """Send a message, unless the worker has ended: its last words say why."""
        with suppress(BrokenPipeError):
            self.orders.write(json.dumps(message).encode() + b"\n")
            self.orders.flush()

    def turn(self, limit: float) -> Iterator[dict[str, Any]]:
        """Yield the messages of its next turn, but for its place; raises _EndedError."""
        if self.begun:
            self.tell("go")
        self.begun = True
        try:
            while (line := self.lines.next(limit)) is not None:
                message = json.loads(line)
                if "turn" in message:
                    return
                if "at" in message:
                    self.at, limit = message["at"], message["limit"]
                else:
                    yield message
        except TimeoutError as error:
            sentence = f"did not end within {limit:.0f} s"
            raise _EndedError(sentence, self.at, "hang") from error
        code = self.process.wait()
        raise _EndedError(f"{_end(code)}: {_last(self.words)}", self.at, "crash")


def _end(code: int) -> str:
    if code < 0:
        return f"the measuring process was ended by {signal.Signals(-code).name}"
    return f"the measuring process ended with code {code}"


def _last(words: IO[bytes]) -> str:
    words.seek(0)
    said = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return said[-1].strip()[:300] if said else "it said nothing"


class _Lines:
    """Lines of a pipe, waited for with a limit."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.descriptor = pipe.fileno()
        self.rest = b""

    def next(self, limit: float) -> bytes | None:
        """Return the next line, None at the end; raises TimeoutError after ``limit`` seconds."""
        until = time.monotonic() + limit
        while b"\n" not in self.rest:
            if not select.select([self.descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            got = os.read(self.descriptor, 1 << 16)
            if not got:
                return None
            self.rest += got
        line, _, self.rest = self.rest.partition(b"\n")
        return line
