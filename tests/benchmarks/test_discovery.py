"""What asv finds in benchmarks/, without running it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
from asv_runner.discovery import disc_benchmarks, disc_modules
from benchmarks import cases
from benchmarks.records import ROOT

NAMES = {
    "cold.Compile.track_compile_seconds",
    "cold.FirstCall.track_first_call",
    "cold.Import.track_import_seconds",
    "control.Control.time_matmul",
    "memory.Inference.track_peak_bytes",
    "memory.Training.track_peak_bytes",
    "parity.Forward.track_error",
    "parity.Gradient.track_error",
    "speed.Inference.time_inference",
    "speed.Training.time_training",
    "training.Accuracy.track_seconds_to_target",
    "training.Band.track_share",
    "training.Epoch.time_epoch",
    "training.Memory.track_peak_bytes",
    "truncation.Bias.track_bias",
    "truncation.Lag.track_norm",
    "truncation.Memory.track_peak_bytes",
    "truncation.Seconds.time_pass",
}
COUNTS = bool(cases.values(cases.INSTRUCTIONS["cell"]))
"""Whether the profile counts instructions; the small ones don't."""
if COUNTS:
    NAMES |= {f"instructions.{phase}.track_instructions" for phase in ("Inference", "Training")}


@pytest.fixture(scope="module")
def found():
    return list(disc_benchmarks(str(ROOT / "benchmarks")))


def test_each_benchmark_is_found_once_and_nothing_else_is(found):
    assert sorted(benchmark.name for benchmark in found) == sorted(NAMES)


def test_arguments_fit_as_asv_check_sees_it(found):
    assert all(benchmark.check(str(ROOT / "benchmarks")) for benchmark in found)


def test_versions_are_set_by_hand_in_each_class(found):
    for benchmark in found:
        kind = type(benchmark.func.__self__)
        assert vars(kind).get("version"), f"{kind.__qualname__} has no version of its own"
        assert benchmark.version == kind.version


def test_a_record_bears_asvs_name_of_its_benchmark(found):
    for benchmark in found:
        assert benchmark.func.__self__._name() == benchmark.name


def test_classes_are_abstract_or_final():
    """asv runs a class wherever it is imported: nothing may inherit from a benchmark."""
    from benchmarks.base import Measured
    from benchmarks.instructions import Counted

    modules = disc_modules("benchmarks")
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Measured)
    }
    assert kinds
    for kind in kinds - ({Counted} if not COUNTS else set()):
        assert inspect.isabstract(kind) == bool(kind.__subclasses__()), kind


def test_the_control_uses_nothing_of_ours_and_no_framework():
    source = (ROOT / "benchmarks" / "control.py").read_text()
    imported = [
        line.split()[1] for line in source.splitlines() if line.startswith(("import", "from"))
    ]
    assert set(imported) == {"__future__", "typing", "numpy", ".", ".base"}


def test_the_server_that_cases_are_forked_from_has_one_thread():
    """One that stays: a thread that has ended may be listed for a moment on a busy machine."""
    code = """
        import os, sys, time
        sys.argv.append("run_server")
        from asv_runner.discovery import disc_benchmarks
        sys.path.insert(0, "")
        list(disc_benchmarks("benchmarks"))
        assert "torch" in sys.modules and "rnnbench.parity.check" in sys.modules
        assert "rnnbench.backends.compiled.backend" in sys.modules
        until = time.monotonic() + 10
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        for thread in os.listdir("/proc/self/task"):
            print(open(f"/proc/self/task/{thread}/comm").read().strip())
    """
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(code)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "RNNBENCH_PROFILE": "smoke"},
        capture_output=True,
        text=True,
        check=True,
    )
    threads = done.stdout.splitlines()
    assert len(threads) == 1, threads
