"""Results are parsed once: the store knows what changed, and survives whatever happens to it."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from reports.data.rows import PROVEN, load_rows
from synthetic import Project, long_history

from rnnbench.files import records
from rnnbench.judge.site.data import histories, store
from rnnbench.judge.site.data.site import Site


def result_files(project: Project) -> list[Path]:
    return sorted(project.results.glob("bench/*-*.json"))


@pytest.fixture
def measured(project: Project) -> Project:
    """Both commits."""
    for commit in range(2):
        project.measure(commit)
    project.write()
    return project


def test_the_store_says_what_the_rows_say(measured: Project) -> None:
    known = store.update(measured.results, PROVEN)
    rows = load_rows(measured.results)
    told = {
        (visit.commit, case.benchmark, case.params): (store.STATUSES[line.status], line.value)
        for line in known.frame.itertuples()
        for visit, case in [(known.visits[line.visit], known.cases[line.case])]
    }
    assert len(told) == len(rows)
    for row in rows.to_dict("records"):
        key = (row["commit"], row["benchmark"], tuple(value for _, value in row["params"]))
        status, value = told[key]
        assert status == row["status"]
        assert value == pytest.approx(row["value"], nan_ok=True)


def test_only_what_changed_is_parsed_again(measured: Project) -> None:
    assert store.update(measured.results).parsed == 2
    assert store.update(measured.results).parsed == 0
    first = result_files(measured)[0]
    data = json.loads(first.read_text())
    data["results"]["control.Control.time_matmul"][0] = [0.512345]
    first.write_text(json.dumps(data))
    known = store.update(measured.results)
    assert known.parsed == 1
    assert (known.frame["value"] == 0.512345).sum() == 1
    records = next(measured.results.glob("records/*/*.jsonl"))
    records.write_text(records.read_text().replace('"status": "ok"', '"status": "error"', 1))
    assert store.update(measured.results).parsed == 1


def test_a_commit_whose_files_are_gone_is_forgotten(measured: Project) -> None:
    store.update(measured.results)
    gone = result_files(measured)[0]
    gone.unlink()
    (measured.results / "records" / "bench" / f"{gone.stem}.jsonl").unlink()
    known = store.update(measured.results)
    assert (known.parsed, len(known.visits)) == (0, 1)
    assert len(store.update(measured.results).visits) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", b"{}"])
def test_a_broken_store_is_built_anew(measured: Project, damage: bytes) -> None:
    before = store.update(measured.results).frame
    store.path(measured.results).write_bytes(damage)
    again = store.update(measured.results)
    assert again.parsed == 2
    assert again.frame.equals(before)
    assert store.update(measured.results).parsed == 0


def test_a_store_cut_short_is_built_anew(measured: Project) -> None:
    store.update(measured.results)
    whole = store.path(measured.results).read_bytes()
    store.path(measured.results).write_bytes(whole[: len(whole) // 2])
    assert store.update(measured.results).parsed == 2


def test_a_store_of_other_code_is_built_anew(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update(measured.results)
    monkeypatch.setattr(store, "_code", lambda _: "another")
    assert store.update(measured.results).parsed == 2


def test_nothing_is_left_behind_where_the_store_cannot_be_written(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(store.np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        store.update(measured.results)
    assert not [path for path in measured.results.parent.iterdir() if path.is_file()]


def test_what_cannot_be_read_is_told_as_long_as_it_is_there(measured: Project) -> None:
    result_files(measured)[0].write_text("{")
    for _ in range(2):
        assert any(
            "cannot be read" in problem for problem in store.update(measured.results).problems
        )


def test_parallel_and_alone_parse_the_same(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = store.update(measured.results, processes=1).frame
    store.path(measured.results).unlink()
    monkeypatch.setattr(store, "IN_PARALLEL", 1)
    assert store.update(measured.results, processes=2).frame.equals(alone)


def test_machines_are_not_mixed(project: Project) -> None:
    project.measure(0, machine="ash")
    project.measure(1, machine="oak")
    project.write()
    site = project.load()
    assert {name: len(one.visits) for name, one in site.histories.items()} == {"ash": 1, "oak": 1}


def test_a_commit_measured_twice_counts_with_the_newest_figure(project: Project) -> None:
    first = project.measure(0)
    second = project.measure(0, environment="virtualenv-py3.12")
    second.values["control.Control.time_matmul"] = [0.25]
    project.write()
    newer = project.results / "bench" / f"{first.commit[:8]}-virtualenv-py3.12.json"
    data = json.loads(newer.read_text())
    data["results"]["control.Control.time_matmul"][3] += 1000
    newer.write_text(json.dumps(data))
    (history,) = project.load().histories.values()
    values, _, _ = history.of(("control.Control.time_matmul", ()))
    assert values.tolist() == [0.25]
    assert history.visits[0].environment == "virtualenv-py3.12"


def test_another_version_of_a_benchmark_is_another_history(measured: Project) -> None:
    measured.benchmarks["control.Control.time_matmul"]["version"] = "2"
    last = measured.runs[-1]
    measured.runs = [last]
    measured.write()
    (history,) = measured.load().histories.values()
    values, _, _ = history.of(("control.Control.time_matmul", ()))
    assert [value == value for value in values] == [False, True]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """24 commits of some hundred cases, as large as one asks for."""
    return long_history(tmp_path_factory.mktemp("long") / "history", commits=24, cases=90)


def published(project: Project) -> tuple[Site, set[str]]:
    """The site, and the files that were written for it."""
    html = project.html
    before = {path: path.stat().st_mtime_ns for path in html.rglob("*") if path.is_file()}
    site = project.publish()
    after = {path: path.stat().st_mtime_ns for path in html.rglob("*") if path.is_file()}
    new = {path.relative_to(html).as_posix() for path in after if after[path] != before.get(path)}
    return site, new


def test_one_night_more_is_one_commit_parsed(long: Project) -> None:
    site, _ = published(long)
    assert site.known.parsed == 24
    again, written = published(long)
    assert again.known.parsed == 0
    assert not written
    newest = max(
        (long.results / "synthetic").glob("*-*.json"), key=lambda path: path.stat().st_mtime_ns
    )
    os.utime(newest, ns=(1, 1))
    assert published(long)[0].known.parsed == 1


def test_older_verdicts_are_reachable(long: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnbench.judge.site.data import judged

    monkeypatch.setattr(judged, "WINDOW", 5)
    published(long)
    page = (long.html / "regressions.html").read_text()
    assert "18 older verdicts" in page
    for file in records.files(long.results, records.VERDICTS):
        link = f"verdicts/synthetic/{file.name}"
        assert f'href="{link}"' in page
        assert (long.html / link).read_bytes() == file.read_bytes()


def test_a_level_that_moved_is_dated() -> None:
    """Twenty quiet commits, then one case takes half as long again: the others do not move."""
    where = ("control.Control.time_matmul", ())
    noise = random.Random(0)
    quiet = {name: [noise.gauss(1, 0.01) for _ in range(24)] for name in "abc"}
    for night in range(14, 24):
        quiet["b"][night] *= 1.5
    visits = [store.Visit("bench", f"{night:040x}", "env") for night in range(24)]
    table = np.array([*quiet.values(), [1.0] * 24]).T
    places = {("speed." + name, ()): place for place, name in enumerate("abc")} | {where: 3}
    machine = histories.Machine("bench", visits, places, table, table, table)
    (found,) = histories.since(machine)
    assert found.key == ("speed.b", ())
    assert found.suspects == (visits[14],)
    assert found.last_before == visits[13]
    assert found.change.low < 1.5 < found.change.high


def test_the_key_of_a_case_is_the_same_in_asvs_words() -> None:
    quoted = (("backend", "'numba'"), ("T", "16"))
    assert histories.key("b", quoted) == histories.key("b", (("backend", "numba"), ("T", "16")))
