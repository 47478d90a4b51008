"""One publisher behind every command, for any suite of asv."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import ROOT, Project, write_json

from rnnbench.judge.site.publish import explorer

PUBLISH = ["-c", "from rnnbench.cli import app; app()", "publish"]
DOORS = {"command": PUBLISH, "asv": ["-m", "asv", "publish", "--no-pull"]}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def measured(project: Project) -> Project:
    """Both commits."""
    for commit in range(2):
        project.measure(commit)
    project.write()
    return project


def test_every_door_leaves_the_same_site_byte_for_byte(measured: Project) -> None:
    sites = {}
    for name, door in DOORS.items():
        measured.run(*door, "--html-dir", str(measured.path / name))
        sites[name] = content(measured.path / name)
    assert sites["command"].keys() == sites["asv"].keys()
    assert sites["command"] == sites["asv"]
    assert json.loads(sites["asv"]["index.json"])["pages"] == []  # asv writes its own list last


def test_graphs_are_those_of_asv(measured: Project) -> None:
    """The explorer is given the same figures under the same names as by asv's own publisher."""
    measured.publish()
    measured.configure(plugins=[], html_dir="theirs")
    measured.run("-m", "asv", "publish", "--no-pull")
    theirs = {
        name: json.loads(text)
        for name, text in content(measured.path / "theirs").items()
        if name.startswith("graphs/") and "summary" not in name
    }
    ours = {
        name: json.loads(text)
        for name, text in content(measured.html).items()
        if name.startswith("graphs/")
    }
    assert len(ours) == len(measured.benchmarks)
    assert ours == theirs
    index = json.loads((measured.path / "theirs" / "index.json").read_text())
    own = json.loads((measured.html / "index.json").read_text())
    for name in ("project", "revision_to_hash", "revision_to_date", "params", "graph_param_list"):
        assert own[name] == index[name], name
    assert own["machines"] == index["machines"]


def test_a_suite_without_pages_of_its_own_has_a_whole_site(measured: Project) -> None:
    (measured.path / "reports").unlink()
    measured.configure(plugins=[".rnnbench.judge.site.publish.plugin"], rnnbench={})
    forget = (
        "import sys, runpy; from rnnbench.cli import app; app(['publish'], standalone_mode=False);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", forget],
        cwd=measured.path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "numba", "reports", "benchmarks"}
    by_command = content(measured.html)
    assert "crossovers.html" not in by_command
    index = by_command["index.html"].decode()
    assert "No verdict yet" in index
    assert 'id="history"' in index
    for link in ("regressions.html", "card.html", "environment.html", "commits.html"):
        assert f'href="{link}"' in index
        assert link in by_command
    measured.run(*DOORS["asv"])
    assert content(measured.html) == by_command


def test_what_an_earlier_site_had_and_this_has_not_is_deleted(measured: Project) -> None:
    measured.publish()
    before = content(measured.html)
    (mine := measured.html / "notes.txt").write_text("not a publisher's")
    (measured.html / "graphs" / "old").mkdir()
    write_json(measured.html / "graphs" / "old" / "gone.json", [])
    name = "control.Control.time_matmul"
    del measured.benchmarks[name]
    write_json(measured.results / "benchmarks.json", {**measured.benchmarks, "version": 2})
    measured.publish()
    after = content(measured.html)
    gone = {path for path in before if name in path}
    assert len(gone) == 2  # its graph and its samples
    assert after.keys() == before.keys() - gone | {mine.name}
    assert not (measured.html / "graphs" / "old").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rnnbench": {"pages": "no_such_module"}}, "rnnbench.pages must be a module"),
        ({"repo": "/nowhere/at/all"}, "asv.conf.json"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_said(
    measured: Project, more: dict[str, object], words: str
) -> None:
    measured.configure(**more)
    done = subprocess.run(
        [sys.executable, *PUBLISH], cwd=measured.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr


def test_importing_the_plugin_is_cheap() -> None:
    code = (
        "import asv.commands, sys; sys.path.insert(0, '.'); before = set(sys.modules);"
        "import reports.publisher;"
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"reports", "rnnbench"}


def test_without_asv_tachyon_the_link_leads_to_an_explanation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explorer, "static_dir", lambda: None)
    assert explorer.files({}, []) == {"explorer.html": explorer.APOLOGY}
    assert explorer.NOT_INSTALLED in explorer.APOLOGY
