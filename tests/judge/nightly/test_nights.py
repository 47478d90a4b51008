"""Nights on a scratch repository, by the command; each trouble is made and looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scratch import CASES, Scratch

from rnnbench.files import records
from rnnbench.judge.nightly.night import Night

ONE = ("--bench", "time_other")
"""A suite of one unit, where it does not matter what is measured."""


def nights(scratch: Scratch) -> list[Night]:
    found = list(records.read(scratch.results, records.NIGHTS, Night.from_dict))
    assert all(one.broken is None for one in found)
    return [one.value for one in found if one.value is not None]


def last(scratch: Scratch) -> Night:
    return nights(scratch)[-1]


def kinds(night: Night) -> list[str]:
    return [one.what for one in night.troubles]


def host_folder(scratch: Scratch) -> Path:
    return next(scratch.results.glob("nights/*"))


def test_the_first_night_is_clean_and_one_with_nothing_new_measures_nothing(
    scratch: Scratch,
) -> None:
    summary = scratch.root / "summary.md"
    machine = {"host": "elsewhere", "cpu": "", "cpu_id": ""}
    other = Night(
        "2026-01-01T00:00:00+00:00", machine, "f" * 40, None, (), 1.0, 1.0, 1, 0, (), None, 0, True
    )
    records.write(
        scratch.results, records.NIGHTS, "elsewhere", records.name(other.at), other.as_dict()
    )
    done = scratch.nightly("--markdown", str(summary), "--json")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(scratch.results / "nights" / "elsewhere")  # another machine's are no base here
    assert last(scratch).base is None
    assert len(scratch.numbers()) == CASES
    shown = json.loads(done.stdout)
    assert (shown["exit_code"], shown["measured"], shown["left"]) == (0, 3, 0)
    assert shown["commits"] == [shown["head"]] == [scratch.git("rev-parse", "HEAD")]
    assert os.path.exists(shown["page"])
    assert "clean" in summary.read_text().splitlines()[0]
    assert scratch.git("status", "--porcelain") == "?? summary.md"
    again = scratch.nightly()
    assert again.returncode == 0
    assert last(scratch).measured == 0
    assert "the last clean commit" in again.stdout


def test_head_that_nobody_judged_is_inconclusive_and_does_not_move_the_base(
    scratch: Scratch,
) -> None:
    first = scratch.git("rev-parse", "HEAD")
    assert scratch.nightly(*ONE).returncode == 0
    second = scratch.commit("Two")
    third = scratch.commit("Three")
    assert scratch.nightly(*ONE).returncode == 3
    assert last(scratch).commits == (second, third)
    assert {commit for commit, _ in scratch.numbers()} == {first, second, third}
    scratch.nightly(*ONE)
    assert last(scratch).base == first


def test_what_does_not_fit_is_left_to_the_next_night(scratch: Scratch) -> None:
    short = scratch.nightly("--unit", "2", "--budget", "3s")
    assert short.returncode in (0, 4), short.stderr  # 4: listing alone took the time
    left = last(scratch).left
    assert left
    assert left + last(scratch).measured == 5  # three pairs, and two cases without parameters
    assert scratch.nightly("--unit", "2").returncode == 0
    assert last(scratch).measured == left
    assert len(scratch.numbers()) == CASES


def test_shards_measure_the_suite_between_them_and_a_pattern_is_a_series_of_its_own(
    scratch: Scratch,
) -> None:
    assert scratch.nightly("--shard", "1/2").returncode == 0
    first = scratch.numbers()
    assert scratch.nightly("--shard", "2/2").returncode == 0
    assert 0 < len(first) < CASES
    assert len(scratch.numbers()) == CASES
    scratch.nightly("--bench", "time_other")
    assert [(night.shard, night.bench, night.base) for night in nights(scratch)] == [
        ("1/2", (), None), ("2/2", (), None), ("1/1", ("time_other",), None),
    ]  # fmt: skip
    assert last(scratch).measured == 0


MOODS = {
    (1, "a"): ("crash", "crash", "SIGSEGV"),
    (1, "b"): ("killed", "memory", "SIGKILL"),
    (2, "a"): ("memory", "memory", "ran out of memory"),
    (2, "b"): ("hang", "hang", "time limit of 2 s"),
    (3, "a"): ("raises", "error", "ValueError: no such"),
    (3, "b"): ("skips", "", ""),
}
"""Case → what it does, the kind of trouble that is, and a word of its account."""


def test_a_case_that_breaks_costs_its_unit_only(scratch: Scratch) -> None:
    head = scratch.commit("Moods", moods={case: mood for case, (mood, _, _) in MOODS.items()})
    summary = scratch.root / "summary.md"
    done = scratch.nightly("--unit", "1", "--markdown", str(summary))
    assert done.returncode == 5
    assert {case for _, case in scratch.numbers()} == {
        "control.Control.time_control", "suite.Other.time_other",
    }  # fmt: skip
    troubles = {trouble.unit: trouble for trouble in last(scratch).troubles}
    assert len(troubles) == 5  # to skip is no trouble
    for number, (_, kind, word) in enumerate(list(MOODS.values())[:5]):
        trouble = troubles[f"{head[:8]} suite.Work.time_work#{number}"]
        assert trouble.what == kind
        assert word in trouble.account
        assert "tried again the next night" in trouble.account
        assert trouble.account in done.stdout
    assert "[thing](" not in summary.read_text()
    scratch.nightly("--unit", "1")
    assert last(scratch).measured == 5  # head is tried again where it failed
    scratch.commit("Mended")
    assert scratch.nightly().returncode == 0
    assert len(scratch.numbers()) == CASES + 2  # what failed at the older commit has failed


def test_what_fails_in_a_shared_run_is_told_of_its_own_unit(scratch: Scratch) -> None:
    """The second night knows how long each takes, and measures all in one run of asv."""
    assert scratch.nightly("--unit", "1").returncode == 0
    head = scratch.commit("Moods", moods={(1, "a"): "raises", (2, "b"): "crash"})
    scratch.nightly("--unit", "1")
    log = (scratch.root / ".asv" / "nightly" / "night.log").read_text()
    assert last(scratch).measured == CASES
    assert log.count("Discovering benchmarks") == 1 + 1 + 2  # listing, all, and two alone
    assert {(one.unit, one.what) for one in last(scratch).troubles} == {
        (f"{head[:8]} suite.Work.time_work#0", "error"),
        (f"{head[:8]} suite.Work.time_work#3", "crash"),
    }
    assert len([commit for commit, _ in scratch.numbers() if commit == head]) == CASES - 2


def test_a_head_that_does_not_build_is_told_and_the_others_are_measured(scratch: Scratch) -> None:
    assert scratch.nightly(*ONE).returncode == 0
    scratch.commit("Two")
    broken = scratch.commit("Three", broken=True)
    assert scratch.nightly(*ONE).returncode == 5
    (trouble,) = last(scratch).troubles
    assert (trouble.what, trouble.unit) == ("build", broken[:8])
    assert "pack cannot be built: BROKEN is there" in trouble.account
    assert len(scratch.numbers()) == 2
    scratch.commit("Four")
    assert scratch.nightly(*ONE).returncode == 3
    assert len(scratch.numbers()) == 3


def test_a_suite_that_nobody_can_import_breaks_the_night(scratch: Scratch) -> None:
    scratch.write({"benchmarks/suite.py": "raise RuntimeError('no suite today')\n"})
    done = scratch.nightly()
    assert done.returncode == 5
    assert "no suite today" in last(scratch).troubles[0].account
    assert "Traceback" not in done.stderr


def test_broken_and_foreign_files_are_set_aside_and_measured_anew(scratch: Scratch) -> None:
    assert scratch.nightly().returncode == 0
    night = host_folder(scratch)
    host = night.name
    (own,) = scratch.results.glob(f"{host}/*-folder*.json")
    text = own.read_text()
    own.write_text(text[: len(text) // 2])
    foreign = own.with_name("aaaaaaaa-folder.json")
    foreign.write_text(text)  # its commit is another
    other = own.with_name("bbbbbbbb-folder.json")
    other.write_text(json.dumps(json.loads(text) | {"version": 3}))
    (night / "20200101T000000Z.json").write_text("{")
    (scratch.results / "nightly" / host / "ledger.json").write_text('{"schema": 1, "last": []}')
    (scratch.results / "benchmarks.json").write_text("")
    machines = scratch.root / "home" / ".asv-machine.json"
    named = machines.read_text()
    machines.write_text("{")
    assert scratch.nightly().returncode == 5  # what was lost is told, and the base stays
    assert kinds(last(scratch)).count("result file") == 7
    assert json.loads(machines.read_text()) == json.loads(named)
    aside = scratch.results / "aside"
    assert (aside / host / own.name).read_text() == text[: len(text) // 2]
    assert (aside / host / foreign.name).exists()
    assert (aside / host / other.name).exists()
    assert (aside / "nights" / host / "20200101T000000Z.json").exists()
    assert len(scratch.numbers()) == CASES


def test_a_lost_record_of_the_only_clean_night_never_makes_head_the_base(scratch: Scratch) -> None:
    good = scratch.git("rev-parse", "HEAD")
    assert scratch.nightly(*ONE).returncode == 0
    (record,) = host_folder(scratch).iterdir()
    record.write_text(record.read_text()[:40])
    scratch.commit("Slower", cost=2)
    codes = [scratch.nightly(*ONE).returncode for _ in range(2)]
    assert codes == [5, 3]
    assert "--base" in next(one for one in last(scratch).troubles if one.what == "base").account
    assert scratch.nightly(*ONE, "--base", good).returncode == 3  # without a verdict
    assert last(scratch).base == good
    assert scratch.nightly(*ONE, "--base", "HEAD").returncode == 0
    assert scratch.nightly(*ONE).returncode == 0


def test_the_newest_clean_night_that_is_left_gives_the_base(scratch: Scratch) -> None:
    first = scratch.git("rev-parse", "HEAD")
    for _ in range(2):
        assert scratch.nightly(*ONE).returncode == 0
    newest = max(host_folder(scratch).iterdir())
    newest.write_text("")
    scratch.commit("Slower", cost=2)
    assert scratch.nightly(*ONE).returncode == 5
    assert (last(scratch).base, last(scratch).exit_code) == (first, 5)


def test_nights_whose_records_were_deleted_are_missed(scratch: Scratch) -> None:
    assert scratch.nightly(*ONE).returncode == 0
    shutil.rmtree(scratch.results / "nights")
    assert scratch.nightly(*ONE).returncode == 3


def test_a_calibration_that_fails_breaks_the_night(scratch: Scratch) -> None:
    """Nothing to measure, nothing to judge: but the build fails, so the night isn't clean."""
    scratch.path = str(scratch.root)
    existing = (*ONE, "--environment", "existing")
    assert scratch.nightly(*existing).returncode == 0
    shutil.rmtree(scratch.results / "nights")
    shutil.rmtree(scratch.results / "nightly")
    scratch.write({"build.py": "raise SystemExit('no hatchling')"})
    scratch.commit("Unbuildable")
    done = scratch.nightly(*existing, "--calibrate-share", "0.5")
    assert done.returncode == 5
    assert "calibrate" in {one.unit for one in last(scratch).troubles}
    assert last(scratch).base is None


def test_a_night_after_a_clock_that_ran_ahead_keeps_the_order(scratch: Scratch) -> None:
    assert scratch.nightly(*ONE).returncode == 0
    ahead = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0).isoformat()
    folder = host_folder(scratch)
    (file,) = folder.iterdir()
    wrong = json.loads(file.read_text()) | {"at": ahead}
    records.write(scratch.results, records.NIGHTS, folder.name, records.name(ahead), wrong)
    file.unlink()
    assert scratch.nightly(*ONE).returncode == 0
    first, second = nights(scratch)
    assert first.at == ahead < second.at
    assert "clock" in kinds(second)
    assert 0 < second.seconds < 120


def test_a_detached_head_is_told_and_measured(scratch: Scratch) -> None:
    scratch.git("checkout", "-q", "--detach")
    assert scratch.nightly(*ONE).returncode == 0
    (trouble,) = last(scratch).troubles
    assert trouble.what == "clone"
    assert "detached" in trouble.account
    assert len(scratch.numbers()) == 1


def test_a_shallow_clone_is_told_and_measured(scratch: Scratch, tmp_path: Path) -> None:
    assert scratch.nightly(*ONE).returncode == 0
    scratch.commit("Two")
    scratch.commit("Three")
    shallow = tmp_path / "shallow"
    command = ["git", "clone", "-q", "--depth", "1", f"file://{scratch.root}", str(shallow)]
    subprocess.run(command, check=True)
    clone = Scratch(shallow)
    (shallow / "home").mkdir()
    shutil.copytree(scratch.results, clone.results)
    assert clone.nightly(*ONE).returncode == 3
    assert "the clone is shallow" in last(clone).troubles[0].account
    assert len(clone.numbers()) == 2


def test_a_branch_that_was_rewritten_is_told(scratch: Scratch) -> None:
    scratch.commit("Two")
    assert scratch.nightly(*ONE).returncode == 0
    scratch.git("reset", "-q", "--hard", "HEAD~1")
    scratch.commit("Another two", cost=2)
    scratch.nightly(*ONE)
    assert "no ancestor" in last(scratch).troubles[0].account


def test_a_full_disk_costs_what_could_not_be_written(scratch: Scratch) -> None:
    """On a file system of a few pages, in a mount namespace of its own; then on a larger one."""
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("unshare(1) makes no mount namespace here")
    scratch.results.mkdir(parents=True)
    nightly = (
        f"{sys.executable} -c 'from rnnbench.cli import app; app()' nightly --budget 5m --unit 1 "
        "--verdict-share 0 --calibrate-share 0"
    )
    script = f"""
        mount -t tmpfs -o size=16k none {scratch.results} || exit 99
        {nightly}; echo "first $?"
        cp -r {scratch.results} small
        mount -o remount,size=10m {scratch.results}
        {nightly}; echo "second $?"
        cp -r {scratch.results} large
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=scratch.root,
        env=scratch.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "first 5" in done.stdout, done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "second 0" in done.stdout, done.stdout + done.stderr
    for copy in ("small", "large"):
        for file in (scratch.root / copy).rglob("*.json"):
            json.loads(file.read_text())
    shutil.rmtree(scratch.results)
    shutil.copytree(scratch.root / "large", scratch.results)
    assert len(scratch.numbers()) == CASES


def test_a_pattern_that_nothing_matches_measures_nothing(scratch: Scratch) -> None:
    assert scratch.nightly("--bench", "no_such_case").returncode == 4
    assert kinds(last(scratch)) == ["cases"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--budget", "soon"), "budget must be a time"),
        (("--budget", "0"), "budget must be seconds above 0"),
        (("--shard", "3/2"), "shard must be i/n"),
        (("--bench", "("), "bench must be a regular expression"),
        (("--threshold", "0.5", "--verdict-share", "0.4"), "threshold must be above the floor"),
        (("--verdict-share", "0.7", "--calibrate-share", "0.7"), "must not be more than 1"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(
    scratch: Scratch, options: tuple[str, ...], sentence: str
) -> None:
    done = scratch.nightly(*options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not scratch.results.exists()


def test_a_folder_without_a_configuration_is_refused_in_a_sentence(scratch: Scratch) -> None:
    (scratch.root / "asv.conf.json").unlink()
    done = scratch.nightly()
    assert done.returncode == 2
    assert "asv.conf.json must be asv's configuration" in done.stderr


@pytest.mark.parametrize("broken", [False, True])
def test_another_command_may_publish_and_its_failure_is_a_trouble(
    scratch: Scratch, broken: bool
) -> None:
    program = scratch.root / "publish.py"
    program.write_text(
        "import json, pathlib, sys\n"
        "conf = json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
        "pathlib.Path('said').write_text(' '.join([sys.argv[1], conf['project']]))\n"
        f"sys.exit({int(broken)})\n"
    )
    done = scratch.nightly(*ONE, "--publish", "python publish.py")
    assert (scratch.root / "said").read_text() == "--config pack"
    assert [one.unit for one in last(scratch).troubles] == ["publish"] * broken
    assert done.returncode == (5 if broken else 0)
