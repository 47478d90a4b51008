"""The driver behind ``tox run -e bench``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from benchmarks.records import ROOT
from reports import main_job, summary
from reports.rows import COLUMNS


def _run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "reports.main_job", *arguments],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    """What the main job needs of the checkout, in a folder of its own."""
    for name in ("benchmarks", "reports"):
        skip = shutil.ignore_patterns("__pycache__", "html")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
    shutil.copy(ROOT / "asv.conf.json", tmp_path)
    (tmp_path / ".gitignore").write_text("*\n!asv.conf.json\n")
    return tmp_path


@pytest.fixture
def checkout(copy):
    """The same as a git checkout of one commit."""
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "one"],
    ):
        subprocess.run(["git", *command], cwd=copy, check=True)
    return copy


def test_no_checkout_is_said_in_one_sentence(copy):
    done = _run(copy, GIT_CEILING_DIRECTORIES=str(copy.parent))
    assert done.returncode == 2
    assert "no git checkout with a commit" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_is_refused(copy):
    done = _run(copy, "--profile", "quik")
    assert done.returncode == 2
    assert "smoke, quick, nightly, full" in done.stderr


def test_from_measuring_to_the_page(checkout):
    """One case for real, in a checkout whose files differ from its commit."""
    (checkout / "asv.conf.json").open("a").write("\n")
    only = r"^speed.Inference.*\('manual', 'gru', 16, 1, 1, 'medium'\)"
    done = _run(checkout, "--profile", "smoke", "--json", "--bench", only)
    assert done.returncode == 0, done.stderr + (checkout / ".asv" / "bench.log").read_text()
    found = json.loads(done.stdout)
    assert found["statuses"] == {"ok": 1}
    (line,) = found["speed"]
    assert (line["cell"], line["backend"], line["right"], line["cases"]) == ("gru", "manual", 1, 1)
    assert line["seconds"] > 0
    assert found["dirty"]
    assert 0 < found["asv_cost"] < found["wall_seconds"]
    assert os.path.samefile(found["page"], checkout / "reports" / "html" / "index.html")


def test_sigterm_ends_it_with_asv_though_it_was_started_in_the_background(checkout):
    """A script's background jobs ignore SIGINT, by which the main job ends asv."""
    log = checkout / ".asv" / "bench.log"
    log.parent.mkdir()
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "reports.main_job",
         "--profile", "quick", "--bench", "^speed"],
        cwd=checkout, env=os.environ | {"HOME": str(checkout)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not (log.exists() and "Benchmarking" in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(3)  # into the first of two minutes
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert "nterrupt" in log.read_text()  # asv says so, in one way or another


def _rows(*statuses, backend="numba"):
    return pd.DataFrame(
        [
            dict.fromkeys(COLUMNS)
            | dict.fromkeys(["ci_a", "ci_b"], float("nan"))
            | {
                "status": status,
                "backend": backend,
                "cell": "gru",
                "group": "speed",
                "kind": "inference",
                "params": (("backend", backend),),
                "value": 0.5 if status == "ok" else float("nan"),
                "parity": {"passed": True} if status == "ok" else None,
                "reason": "[b]why[/b]",
            }
            for status in statuses
        ],
        columns=COLUMNS,
    )


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (("ok", "unsupported"), 0),
        (("ok", "parity", "error"), 1),
        (("ok", "error"), 5),
        (("ok", "missing"), 5),
        (("unsupported",), 4),
        ((), 4),
    ],
)
def test_exit_codes(statuses, code, capsys):
    facts = {"commit": "0" * 40, "dirty": False, "profile": "quick", "wall_seconds": 1.0}
    found = summary.summarise(_rows(*statuses), asv_cost=0.1, page="p", **facts)
    assert found.exit_code == code
    summary.show(found)
    shown = capsys.readouterr().out
    assert statuses == ("ok",) * len(statuses) or not statuses or "[b]why[/b]" in shown


def test_a_control_alone_is_nothing_measured_where_backends_were_asked_for():
    rows = pd.concat([_rows("ok", backend=None), _rows("unsupported")])
    assert summary._exit_code(rows) == 4


def test_asvs_cost_is_what_is_left_of_the_wall_time():
    run = main_job.Run({("a", ("1",)), ("a", ("2",))}, wall_seconds=10.0, own_seconds=9.0)
    assert run.asv_cost == 0.5


def test_checkout_without_the_named_branch_is_measured_on_head(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    shutil.copy(ROOT / "asv.conf.json", tmp_path)
    for arguments in (["init", "-q", "-b", "topic"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with main_job._configured():
        assert main_job._conf().branches == ["HEAD"]
        assert len(list(tmp_path.glob(".asv-*.json"))) == 1
    assert main_job._conf().branches == ["main"]
    assert not list(tmp_path.glob(".asv-*.json"))
