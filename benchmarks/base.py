"""What every benchmark does around its measuring: pin, prove, record.

A class here is abstract, a benchmark is final: asv runs whatever class it can make an instance of,
also where it was only imported.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from time import perf_counter
from typing import Any

from . import agreement, cases, machine, package, records
from .cases import Network
from .memoised import again
from .network import Running


class RecompiledError(RuntimeError):
    """The timed calls did not only run compiled code."""


class Measured(ABC):
    """One benchmark of one case.

    asv_runner calls `teardown` and `setup` again before every sample: all but the first `setup` of
    a process return at once.
    """

    timeout = 600.0
    graphs = (0, 0)
    """Dynamo's counts after the last set-up of any case in this process: a verdict has many."""
    version = ""
    """Set by hand in each benchmark: raise it when the numbers mean something else."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None

    @abstractmethod
    def prepare(self, *params: Any) -> dict[str, Any]:
        """All that is not measured, warm-up included; returns ``parity`` and ``identity``."""

    def setup(self, *params: Any) -> None:
        """Prepare once, and record the outcome; NotImplementedError is asv's word for a skip."""
        if self.record is not None:
            return
        self.started = perf_counter()
        self.record = records.new(self._name(), params)
        try:
            self.record["machine"] = machine.pin()
            self.record |= self.prepare(*params)
        except package.UnsupportedCaseError as error:
            self._close("unsupported", str(error))
            raise NotImplementedError(str(error)) from error
        except agreement.ParityFailureError as error:
            self.record["parity"] = error.parity
            self._close("parity", str(error))
            raise
        except Exception as error:
            self._close("error", _sentence(error))
            if isinstance(error, NotImplementedError):  # would read as a skip
                raise RuntimeError(_sentence(error)) from error
            raise
        Measured.graphs = _dynamo_counts()
        self._close("ok")

    def teardown(self, *params: Any) -> None:
        """Look back at the calls that were measured, and stop the clock."""
        records.leave_clock("case", self.started)
        if self.record is None or self.record["status"] != "ok":
            return
        error = sys.exception()
        if error is not None:
            self._close("error", _sentence(error))
            return
        before, Measured.graphs = Measured.graphs, _dynamo_counts()
        if before != Measured.graphs:  # and the cases that follow are not to blame
            reason = "graphs were compiled or broken between the timed calls"
            self._close("error", reason)
            raise RecompiledError(reason)

    def _close(self, status: str, reason: str | None = None) -> None:
        assert self.record is not None
        self.record |= {"status": status, "reason": reason}
        self.record["overhead"] = {"setup_seconds": perf_counter() - self.started}
        records.append(self.record)
        records.leave_clock("case", self.started)

    def _name(self) -> str:
        """asv's name of the benchmark: module, class, method."""
        kind = type(self)
        method = next(name for name in dir(kind) if name.startswith(("time_", "track_")))
        return f"{kind.__module__.split('.', 1)[1]}.{kind.__name__}.{method}"


class OnNetwork(Measured):
    """A benchmark of one phase of a network: no parity, no measuring."""

    param_names = cases.names(cases.NETWORKS)

    @property
    @abstractmethod
    def phase(self) -> str:
        """Return which step is measured: inference or training."""

    def prepare(self, *params: Any) -> dict[str, Any]:
        network = Network(self.phase, *params)
        parity = agreement.require(network)
        self.running = Running(network)
        # torch's profiler, which says what ran, takes a second in each process
        identity = again(("identity", *vars(network).values()), self.running.identity)
        _require_compiled(identity)
        for _ in range(2):
            self.running.step()
        return {"parity": parity, "identity": identity}


def _require_compiled(identity: dict[str, Any]) -> None:
    """One graph break means that it timed eager: no data point."""
    for key in ("graph_breaks", "recompilations"):
        if identity.get(key):
            raise RecompiledError(f"compiled code has {identity[key]} {key.replace('_', ' ')}")


def _dynamo_counts() -> tuple[int, int]:
    """Graphs compiled and graph breaks so far in this process, by Dynamo's own count."""
    utils = sys.modules.get("torch._dynamo.utils")
    if utils is None:
        return (0, 0)
    return (utils.counters["stats"]["unique_graphs"], sum(utils.counters["graph_break"].values()))


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
