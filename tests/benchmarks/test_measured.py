"""No parity, no time; and every case that has no number says why. Run by asv_runner itself."""

from __future__ import annotations

import math

import pytest
from benchmarks import agreement, base, cold, machine, memoised, memory, parity, speed

import rnnbench
from rnnbench.backends.manual import Manual

CASE = ["gru", 3, 1, 1, "small"]


class Wrong(Manual):
    """Right, but for an output that is a little too large."""

    def run(self, spec, inputs):
        y, final = super().run(spec, inputs)
        return y * 1.001, final


class Unable(Manual):
    def supports(self, spec, conditions):
        return "it is a test"


class Broken(Manual):
    def run(self, spec, inputs):
        raise NotImplementedError("a kernel that was not written")


class Breaking(Manual):
    """Right until it is timed."""

    calls = 0

    def run(self, spec, inputs):
        self.calls += 1
        if self.calls > 4:
            raise ZeroDivisionError("the fifth call")
        return super().run(spec, inputs)


class Recompiling(Manual):
    """Says that its graph broke."""

    def identity(self, spec, inputs):
        return {"kernel": "test", "graph_breaks": 2, "recompilations": 0}


@pytest.fixture
def planted(monkeypatch):
    """Register a backend under its class's name and put it into the benchmarks of one class."""
    from rnnbench import interface

    names = []

    def plant(kind, benchmark):
        name = kind.__name__.lower()
        rnnbench.register(name, kind())
        names.append(name)
        monkeypatch.setattr(benchmark, "params", [[name], *([value] for value in CASE)])

    yield plant
    for name in names:
        interface.unregister(name)


def test_a_right_backend_has_a_time_and_a_record(suite, planted, monkeypatch):
    clocks = suite.folder / "clocks"
    clocks.mkdir()
    monkeypatch.setenv("RNNBENCH_RUN_DIR", str(clocks))
    planted(type("Right", (Manual,), {}), speed.Training)
    answer = suite.run("speed.Training.time_training")
    assert min(answer["samples"]) > 0
    (record,) = suite.records()
    assert record["status"] == "ok"
    assert record["params"] == ["right", *map(str, CASE)]
    assert record["parity"]["passed"]
    assert {"output", "h_n", "grad_x", "grad_h0", "grad_weight_hh_l0"} <= set(
        record["parity"]["quantities"]
    )
    assert "kernel" in record["identity"]
    assert record["machine"]["threads_torch"] == 1
    (clock,) = clocks.iterdir()
    assert float(clock.read_text()) > record["overhead"]["setup_seconds"] > 0


def test_training_has_all_gradients(suite, planted):
    from benchmarks.cases import Network
    from benchmarks.network import Running

    running = Running(Network("training", "manual", "lstm", 3, 2, 2, "small"))
    gradients = running.step()
    assert len(gradients) == 1 + 2 + len(list(running.module.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("speed.Inference.time_inference", speed.Inference),
        ("speed.Training.time_training", speed.Training),
        ("memory.Training.track_peak_bytes", memory.Training),
        ("parity.Gradient.track_error", parity.Gradient),
    ],
)
def test_a_wrong_backend_gets_no_number(suite, planted, name, kind):
    planted(Wrong, kind)
    with pytest.raises(agreement.ParityFailureError, match="output"):
        suite.run(name)
    (record,) = suite.records()
    assert record["status"] == "parity"
    assert "output" in record["reason"]
    assert not record["parity"]["passed"]
    assert record["parity"]["worst_error"] > record["parity"]["worst_budget"]


def test_an_unsupported_case_is_skipped_with_the_backends_reason(suite, planted):
    planted(Unable, speed.Inference)
    assert math.isnan(suite.run("speed.Inference.time_inference"))
    (record,) = suite.records()
    assert (record["status"], record["reason"]) == ("unsupported", "it is a test")


def test_a_commit_without_a_name_says_which(suite, planted, monkeypatch):
    planted(type("Early", (Manual,), {}), speed.Inference)
    monkeypatch.delitem(rnnbench._HOME, "check")
    monkeypatch.setattr(rnnbench, "__all__", sorted(rnnbench._HOME))
    assert math.isnan(suite.run("speed.Inference.time_inference"))
    (record,) = suite.records()
    assert record["reason"] == "this commit has no rnnbench.check"


def test_a_backend_that_breaks_is_an_error_and_no_skip(suite, planted):
    planted(Broken, speed.Inference)
    with pytest.raises(RuntimeError, match="not written"):
        suite.run("speed.Inference.time_inference")
    (record,) = suite.records()
    assert record["status"] == "error"
    assert "a kernel that was not written" in record["reason"]


def test_breaking_while_timed_is_an_error(suite, planted):
    planted(Breaking, speed.Inference)
    with pytest.raises(ZeroDivisionError):
        suite.run("speed.Inference.time_inference")
    (record,) = suite.records()
    assert (record["status"], record["reason"]) == ("error", "ZeroDivisionError: the fifth call")


def test_a_graph_break_is_an_error(suite, planted):
    planted(Recompiling, speed.Inference)
    with pytest.raises(base.RecompiledError, match="2 graph breaks"):
        suite.run("speed.Inference.time_inference")
    assert suite.records()[0]["status"] == "error"


def test_compiling_between_the_timed_calls_is_an_error(suite, planted, monkeypatch):
    counts = iter([(1, 0), (2, 0)])
    monkeypatch.setattr(base, "_dynamo_counts", lambda: next(counts))
    planted(type("Late", (Manual,), {}), memory.Inference)
    with pytest.raises(base.RecompiledError):
        suite.run("memory.Inference.track_peak_bytes")
    assert suite.records()[0]["status"] == "error"


def test_a_set_up_that_compiles_is_not_blamed_on_another_case_of_the_process(
    suite, planted, monkeypatch
):
    planted(type("Several", (Manual,), {}), memory.Inference)
    one, other = memory.Inference(), memory.Inference()
    params = [values[0] for values in memory.Inference.params]
    counts = [(1, 0)]
    monkeypatch.setattr(base, "_dynamo_counts", lambda: counts[-1])
    one.setup(*params)
    counts.append((2, 0))
    other.setup(*params)
    one.teardown(*params)
    counts.append((3, 0))  # the calls of the other
    with pytest.raises(base.RecompiledError):
        other.teardown(*params)
    one.teardown(*params)


def test_dynamos_own_counts_are_read():
    import torch

    before = base._dynamo_counts()
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(3))
    after = base._dynamo_counts()
    assert after[0] == before[0] + 1


def test_threads_that_are_not_pinned_are_an_error(suite, planted, monkeypatch):
    monkeypatch.setattr(machine, "_threads", lambda controller: {"threads_torch": 2})
    planted(type("Threaded", (Manual,), {}), speed.Inference)
    with pytest.raises(machine.ThreadsError):
        suite.run("speed.Inference.time_inference")
    assert suite.records()[0]["status"] == "error"


def test_parity_of_a_case_is_checked_once_in_a_run(suite, planted, monkeypatch):
    checks = []
    monkeypatch.setattr(
        agreement,
        "_check",
        lambda network, real=agreement._check: checks.append(1) or real(network),
    )
    planted(type("Once", (Manual,), {}), speed.Inference)
    monkeypatch.setattr(parity.Forward, "params", speed.Inference.params)
    suite.run("parity.Forward.track_error")
    suite.run("speed.Inference.time_inference")
    assert len(checks) == 1
    assert len(suite.records()) == 2


def test_what_is_the_same_is_kept_for_other_processes_and_seconds_are_not(tmp_path, monkeypatch):

    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(memoised, "KEPT", str(kept))
    for process in ("one", "two"):
        own = tmp_path / process
        own.mkdir()
        monkeypatch.setattr(memoised, "FOLDER", own)
        assert memoised.once(("parity",), lambda: process, same=True) == "one"  # noqa: B023
        assert memoised.once(("seconds",), lambda: process) == process  # noqa: B023


def test_memory_counts_what_a_call_touches_and_frees():
    import torch

    size = 32 * 2**20
    assert memory.rise(lambda: None) < 2**20
    assert abs(memory.rise(lambda: torch.ones(size // 4)) - size) < 2 * 2**20


def test_a_first_call_is_timed_in_a_fresh_process(suite):
    from benchmarks.cases import Network

    network = Network("training", "manual", "gru", 3, 1, 1, "small")
    empty = cold._first_call(network, "empty")
    assert empty["first"] > 0
    assert empty["later"] > 0
    assert "kernel" in empty["identity"]
    assert cold._first_call(network, "empty") == empty


def test_what_a_fresh_process_complains_of_is_passed_on():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        cold._fresh("-c", "1/0", environment={})
