"""Parity before time, the call that is timed, and threads that are held to."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
import torch

import rnnbench
from rnnbench import Case, Spec, interface
from rnnbench.backends.native import Native
from rnnbench.comparison import compare as comparison
from rnnbench.comparison import threads, timing
from rnnbench.comparison.compare import Line, compare
from rnnbench.comparison.plan import Plan
from rnnbench.comparison.work import Work
from rnnbench.roofline.cost import flops

CASE = Case(Spec("gru", 3, 4), 5, 2)


class Counted(Native):
    """torch's own kernels; counts its runs."""

    def __init__(self):
        self.runs = 0

    def run(self, spec, inputs):
        self.runs += 1
        return super().run(spec, inputs)


class Wrong(Counted):
    """Right to three digits."""

    def run(self, spec, inputs):
        y, final = super().run(spec, inputs)
        return y * 1.001, final


class Raising(Counted):
    def run(self, spec, inputs):
        super().run(spec, inputs)
        raise OSError("no such kernel")


class RaisingLater(Counted):
    """Fails once parity is over."""

    def run(self, spec, inputs):
        if self.runs:
            raise OSError("out of memory")
        return super().run(spec, inputs)


class Unsupporting(Counted):
    def supports(self, spec, conditions):
        return "only on Sundays"


class ManyThreads(Counted):
    def identity(self, spec, inputs):
        return {"kernel": "greedy", "threads": 64}


@pytest.fixture
def synthetic():
    """Backends that go wrong, registered by the name of their class."""
    kinds = (Counted, Wrong, Raising, RaisingLater, Unsupporting, ManyThreads)
    made = {kind.__name__: kind() for kind in kinds}
    for name, backend in made.items():
        rnnbench.register(name, backend)
    yield made
    for name in made:
        interface.unregister(name)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(timing, "SAMPLE", 0.0)
    monkeypatch.setattr(threads, "seen", lambda count: {})
    # Samples as short as that say nothing of cores: the clock of the process is coarser.
    monkeypatch.setattr(threads, "SLACK", math.inf)


@pytest.mark.parametrize("phase", ["inference", "training"])
def test_who_fails_gets_no_time_and_the_line_says_why(synthetic, phase):
    case = Case(CASE.spec, 5, 2, phase)
    (lines,) = compare(Plan((case,), ("native", *synthetic), 1, 0.01))
    found = {line.backend: line for line in lines}
    assert {name: line.status for name, line in found.items()} == {
        "native": "ok", "Counted": "ok", "Wrong": "wrong", "Raising": "broke",
        "RaisingLater": "broke", "Unsupporting": "unsupported", "ManyThreads": "broke",
    }  # fmt: skip
    assert "output is over budget" in found["Wrong"].detail
    assert found["Raising"].detail == "OSError: no such kernel"
    assert found["RaisingLater"].detail == "OSError: out of memory"
    assert found["Unsupporting"].detail == "only on Sundays"
    assert "runs on 64 threads where 1 were given" in found["ManyThreads"].detail
    for line in lines:
        assert bool(line.seconds) == line.timed
        assert math.isnan(line.median) != line.timed
        assert (line.over(found["native"]) is None) != line.timed
    assert synthetic["Wrong"].runs == synthetic["Raising"].runs == 1  # parity, and no more
    assert synthetic["Counted"].runs > 1
    assert len(found["Counted"].seconds) == len(found["native"].seconds) >= timing.MIN_ROUNDS


def test_more_processor_time_than_threads_is_no_time(monkeypatch):
    def samples(calls, seconds, *, settle):
        return {name: timing.Samples(1, [1.0], wall=1.0, cpu=1.9) for name in calls}

    monkeypatch.setattr(timing, "alternate", samples)
    monkeypatch.setattr(threads, "SLACK", 1.05)
    (lines,) = compare(Plan((CASE,), ("native",), 1, 0.01))
    assert (lines[0].status, lines[0].seconds) == ("broke", ())
    assert lines[0].detail == "used 1.90 cores where 1 were given"


def test_progress_names_every_step():
    steps = []
    list(compare(Plan((CASE,), ("native", "manual"), 1, 0.01), lambda c, what: steps.append(what)))
    assert steps == ["native", "manual", "timing"]


def line(backend, *seconds, status="ok"):
    return Line(CASE, backend, 1, status, seconds=seconds)


def test_fastest_of_the_references_and_of_ours():
    lines = [
        line("native", 3.0), line("jax", 2.0), line("onnxruntime", status="wrong"),
        line("manual", 1.0), line("numba", 0.5),
    ]  # fmt: skip
    assert comparison.fastest(lines, references=True).backend == "jax"
    assert comparison.fastest(lines, references=False).backend == "numba"
    assert comparison.fastest(lines[:2], references=False) is None
    assert comparison.line_of(lines, "native").median == 3.0


@pytest.mark.parametrize("made", [line("native", 1.0, 2.0), line("numba", status="unsupported")])
def test_a_line_survives_the_way_to_another_process(made):
    text = json.dumps(made.as_dict(), allow_nan=False)
    got = Line.from_dict(json.loads(text))
    assert got.seconds == made.seconds
    assert (got.case, got.backend, got.status) == (made.case, made.backend, made.status)


def test_counted_operations():
    T, B, I, H = 5, 2, 3, 4  # noqa: E741 (the field's name)
    for cell, gates in (("rnn_tanh", 1), ("gru", 3), ("lstm", 4)):
        one = 2 * gates * H * (I + H) * B * T
        assert flops(Case(Spec(cell, I, H), T, B, "inference")) == one
        assert flops(Case(Spec(cell, I, H), T, B, "training")) == 3 * one
    two = Spec("gru", I, H, layers=2, directions=2)
    products = (I + H) + (2 * H + H)
    assert flops(Case(two, T, B, "inference")) == 2 * 2 * 3 * H * products * B * T
    projected = Spec("lstm", I, H, proj_size=2)
    assert flops(Case(projected, T, B, "inference")) == 2 * (4 * H * (I + 2) + 2 * H) * B * T


@pytest.mark.parametrize("spec", [
    Spec("lstm", 3, 4, 2, 2), Spec("rnn_relu", 3, 4, bias=False, dtype="float64"),
    Spec("lstm", 3, 4, proj_size=2),
], ids=lambda spec: spec.name)  # fmt: skip
@pytest.mark.parametrize("phase", ["inference", "training"])
def test_the_timed_call_is_the_same_on_every_backend_and_gives_all(spec, phase):
    case = Case(spec, 5, 2, phase)
    theirs, ours = Work("native", case), Work("manual", case)
    got, expected = ours.call(), theirs.call()
    parts = 2 if spec.cell == "lstm" else 1
    assert len(got) == (1 + parts + (len(spec.parameters) if case.training else 0))
    assert not any(t.requires_grad for t in got)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert a.abs().max() > 0
    assert ours.identity()["kernel"].startswith("torch loop")


HELD = """
import json, os, sys, time
from rnnbench.comparison import threads
threads.confine(1)
import torch
from rnnbench import Case, Spec
from rnnbench.comparison import timing
from rnnbench.comparison.work import Work
threads.pin(1)
names = json.loads(sys.argv[1])
works = {n: Work(n, Case(Spec("lstm", 64, 64), 16, 16, "inference")) for n in names}
for work in works.values():
    work.call()
    threads.of_backend(work.identity(), 1)
seen = threads.seen(1)
found = timing.alternate({n: w.call for n, w in works.items()}, 0.0)
for samples in found.values():
    threads.of_time(samples.cores, 1)
print(json.dumps(seen))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_one_thread_is_held_by_every_runtime_at_once():
    names = [n for n in ("native", "numba", *interface.PEERS) if n in rnnbench.backends()]
    out = subprocess.run(
        [sys.executable, "-c", HELD, json.dumps(names)],
        env=threads.environment(1), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    seen = json.loads(out.stdout)
    assert set(seen.values()) == {1}
    assert {"torch", "numba", "cores"} < set(seen)


def test_a_pool_of_another_size_is_an_error(monkeypatch):
    monkeypatch.undo()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with pytest.raises(threads.ThreadsError, match="every pool must have 2 threads; got"):
            threads.seen(2)
    finally:
        torch.set_num_threads(before)


def test_environment_sets_what_every_runtime_reads():
    made = threads.environment(2)
    assert {made[name] for name in threads.VARIABLES} == {"2"}
    assert set(os.environ) <= set(made)
