"""rnnbench compare: what it prints, its JSON, and the way it leaves."""

from __future__ import annotations

import json
import textwrap

import pytest
from typer.testing import CliRunner

from rnnbench import Case, Spec
from rnnbench.cli import app
from rnnbench.cli import compare as command
from rnnbench.comparison import threads
from rnnbench.comparison.compare import Line
from rnnbench.roofline import store
from rnnbench.roofline.cost import flops
from rnnbench.roofline.store import Bandwidth, NoRooflineError, Rate, Roof, Roofline

SMALL = ["--shapes", "1x4", "--cells", "gru", "--steps", "3", "--seconds", "0.05"]


@pytest.fixture(autouse=True)
def no_roofline(monkeypatch):
    """Whatever this machine has stored, the tests have none."""

    def nothing():
        raise NoRooflineError("no roofline of this machine is stored: `rnnbench roofline` does it")

    monkeypatch.setattr(store, "stored", nothing)


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *arguments])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shapes", "16"], "shapes must be BxH or BxIxH, like 16x128; got '16'"),
        (["--backends", "cudnn"], "backend must be one of"),
        (["--cells", "elman"], "cell must be one of"),
        (["--phases", "both"], "phase must be one of"),
        (["--dtypes", "int8"], "dtype must be one of"),
        (["--threads", "0"], "threads must be numbers of at least 1, like 1,2; got '0'"),
        (["--threads", "two"], "threads must be numbers of at least 1, like 1,2; got 'two'"),
        (["--threads", "4096"], f"threads must be at most {threads.cores()}, the cores here"),
        (["--seconds", "0"], "seconds must be positive; got 0"),
        (["--directions", "3"], "directions must be one of 1, 2; got 3"),
        (["--backends", ","], "backends must be names, like numba,jax; got ','"),
        (["--cells", ","], "cases must be one at least; got none"),
        (["--save", __file__], "save must be a folder; got"),
    ],
)
def test_wrong_usage_is_one_sentence_and_measures_nothing(arguments, sentence, monkeypatch):
    monkeypatch.setattr(command, "_measured", lambda todo, save: pytest.fail("measured"))
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def line(backend, status="ok", seconds=(1.0, 1.0), detail="", **changes):
    spec = Spec("gru", 3, 4, **changes)
    timed = seconds if status == "ok" else ()
    return Line(Case(spec, 5, 2), backend, 1, status, detail, tuple(timed))


OUTCOMES = {
    "all timed": ([line("native"), line("numba")], [], 0),
    "wrong before broke": ([line("native"), line("numba", "wrong"), line("jax", "broke")], [], 1),
    "broke": ([line("native"), line("numba", "broke")], [], 5),
    "a process died": ([line("native"), line("numba")], ["it ended with code -6"], 5),
    "asked for and not measured": ([line("native"), line("numba", "unsupported")], [], 4),
    "nothing measured": ([line("native", "unsupported"), line("numba", "unsupported")], [], 4),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_exit_code(name, monkeypatch):
    lines, broken, code = OUTCOMES[name]
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], broken))
    result = run("--backends", "numba")
    assert result.exit_code == code, result.output
    untimed = any(one.backend == "numba" and not one.timed for one in lines)
    assert ("NOTHING MEASURED of numba" in result.output) == untimed
    assert all(sentence in result.output for sentence in broken)
    if lines[1].status != "ok":
        shown = {"unsupported": "–", "wrong": "WRONG", "broke": "BROKE"}
        assert shown[lines[1].status] in result.output


def test_without_names_an_unsupported_backend_is_no_failure(monkeypatch):
    lines = [line("native"), line("onnxruntime", "unsupported", detail="no gradients")]
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], []))
    result = run()
    assert result.exit_code == 0
    assert "unsupported: onnxruntime: no gradients" in result.output


def test_table_names_ratio_interval_peer_and_best(monkeypatch):
    lines = [
        line("native", seconds=(2.0, 2.0)), line("numba", seconds=(1.0, 1.0)),
        line("jax", seconds=(0.8, 0.8)),
    ]  # fmt: skip
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], []))
    output = run("--backends", "numba,jax").output
    best = f"jax {lines[2].gflops:.3g}"
    for text in ("gru training 2×3×4", "2.00 ±0%", "2.50 ±0%", "numba 0.80 ±0% of jax", best):
        assert text in output


def test_preset_table_is_the_published_one(monkeypatch):
    seen = []
    monkeypatch.setattr(
        command, "_measured", lambda todo, save: (seen.extend(todo), ([], [], []))[1]
    )
    run("--table", "--directions", "2")
    (plan,) = seen
    assert len(plan.cases) == 5 * 3 * 2
    assert {case.T for case in plan.cases} == {128}
    assert {case.spec.directions for case in plan.cases} == {2}
    assert {(c.B, c.spec.hidden_size) for c in plan.cases} == {
        (1, 64), (1, 256), (16, 128), (32, 256), (64, 512),
    }  # fmt: skip


def test_json_has_every_line_with_its_numbers():
    result = run(*SMALL, "--backends", "manual", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(entry["backend"], entry["case"]["phase"]) for entry in found["lines"]] == [
        ("native", "inference"), ("manual", "inference"),
        ("native", "training"), ("manual", "training"),
    ]  # fmt: skip
    for entry in found["lines"]:
        assert entry["status"] == "ok"
        assert len(entry["seconds"]) >= 7
        value, low, high = entry["ratio_to_native"]
        assert low <= value <= high
        assert entry["fastest_reference"] == "native"
        assert entry["gflops"] > 0
        assert entry["cores"] <= 1.05
        assert entry["identity"]["kernel"]
    (process,) = found["processes"]
    assert set(process["threads"].values()) == {1}


def with_roof(monkeypatch, *threads):
    """A machine that makes 1e-6 GFLOP/s, whatever it reads."""
    levels = (Bandwidth("memory", 64, None, 1.0, 1.0),)
    roofs = tuple(Roof(count, {"float32": Rate(1e-6, 1e-6)}, levels) for count in threads)
    monkeypatch.setattr(store, "stored", lambda: Roofline({}, {}, "", "", roofs))


def test_share_of_the_roofline_is_a_column_and_in_the_json(monkeypatch):
    lines = [line("native", seconds=(4.0, 4.0)), line("numba", seconds=(2.0, 2.0))]
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], []))
    with_roof(monkeypatch, 1)
    share = flops(lines[1].case) / 2.0 / 1e3
    assert f"numba {share:.0%} FMA" in run("--backends", "numba").output
    native, numba = json.loads(run("--backends", "numba", "--json").stdout)["lines"]
    assert numba["of_roofline"] == pytest.approx(share)
    assert native["of_roofline"] == pytest.approx(share / 2)
    assert numba["attainable"]["bound"] == "multiply-adds"
    assert numba["attainable"]["gflops"] == 1e-6


def test_without_a_roofline_it_is_said_how_to_make_one(monkeypatch):
    lines = [line("native"), line("numba")]
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], []))
    result = run("--backends", "numba")
    assert result.exit_code == 0
    assert "of the roofline: no roofline of this machine is stored" in result.output
    entry = json.loads(run("--backends", "numba", "--json").stdout)["lines"][0]
    assert entry["of_roofline"] is None
    assert entry["attainable"] is None


def test_without_a_roof_for_the_threads_the_command_names_all(monkeypatch):
    lines = [line("native"), line("numba")]
    monkeypatch.setattr(command, "_measured", lambda todo, save: ([lines], [], []))
    with_roof(monkeypatch, 2, 8)
    assert "`rnnbench roofline --threads 1,2,8` measures it" in run("--backends", "numba").output


def test_what_is_saved_is_what_was_printed(tmp_path):
    arguments = [*SMALL, "--phases", "inference", "--backends", "manual", "--json"]
    result = run(*arguments, "--save", str(tmp_path))
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.rglob("*.jsonl")
    (saved,) = [json.loads(text) for text in path.read_text().splitlines()]
    printed = json.loads(result.stdout)["lines"]
    assert [entry["backend"] for entry in saved["lines"]] == ["native", "manual"]
    for one, other in zip(saved["lines"], printed, strict=True):
        for name in ("status", "median", "gflops", "ratio_to_native"):
            assert one[name] == other[name]
        assert one["rounds"] == len(other["seconds"])


def test_what_cannot_be_saved_is_shown_and_said(tmp_path):
    (tmp_path / "comparison").write_text("a file where the folder should be")
    arguments = [*SMALL, "--phases", "inference", "--backends", "manual"]
    result = run(*arguments, "--save", str(tmp_path))
    assert result.exit_code == 5
    assert "gru inference 1×4" in result.output
    assert "could not be saved" in result.output


PLUGGED = """
import os
from rnnbench.backends.native import Native

class Wrong(Native):
    def run(self, spec, inputs):
        print("a library that talks", flush=True)
        y, final = super().run(spec, inputs)
        return 2 * y, final

class Dying(Native):
    def run(self, spec, inputs):
        if spec.hidden_size == 5:
            os.abort()
        return super().run(spec, inputs)
"""


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """A distribution with two backends, in the measuring process and in this one."""
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (tmp_path / "plugged.py").write_text(PLUGGED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    entries = """
        [rnnbench.backends]
        wrong = plugged:Wrong
        dying = plugged:Dying
    """
    (info / "entry_points.txt").write_text(textwrap.dedent(entries))
    from rnnbench import interface

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    interface._third_party.cache_clear()
    yield
    interface._third_party.cache_clear()
    interface._load.cache_clear()


def test_a_wrong_backend_of_a_third_party_gets_no_time(plugged):
    result = run(*SMALL, "--phases", "inference", "--backends", "wrong")
    assert result.exit_code == 1, result.output
    assert "WRONG" in result.output
    assert "wrong: wrong in gru-I4-H4" in result.output
    assert "output is over budget" in result.output


def test_what_was_measured_before_a_process_died_is_kept(plugged, tmp_path):
    arguments = ["--shapes", "1x4,1x5", *SMALL[2:], "--phases", "inference"]
    result = run(*arguments, "--backends", "dying", "--json", "--save", str(tmp_path))
    assert result.exit_code == 5
    (path,) = tmp_path.glob("comparison/*.jsonl")
    assert len(path.read_text().splitlines()) == 1
    found = json.loads(result.stdout)
    assert {entry["case"]["spec"]["hidden_size"] for entry in found["lines"]} == {4}
    assert "ended with code -6" in found["broken"][0]
