"""A search that is killed, shared or fought over: every slot has one result, and the same one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.errors import InputError
from rnnbench.search import results, worker
from rnnbench.search.plan import STRATEGIES, Plan, Space
from rnnbench.search.worker import PULSE, SLOT, Worker, open_study, owners
from rnnbench.training import tasks
from rnnbench.training.settings import Settings

BASE = Settings(task="adding", T=8, size=40, epochs=2, batch=10, dropout=0.0)
SPACE = Space(lr=(1e-3, 1e-1), hidden_size=(4, 6), layers=(1,), dropout=(0.0,))
PLAN = Plan("random", 5, backend="native", base=BASE, space=SPACE)
ARGUMENTS = [
    "search", "--task", "adding", "--T", "8", "--size", "120", "--epochs", "4", "--batch", "10",
    "--hidden-size", "4,6", "--layers", "1", "--backend", "native", "--trials", "8", "--json",
    "--grace", "3",
]  # fmt: skip
COMMAND = [sys.executable, "-c", "from rnnbench.cli import app; app()", *ARGUMENTS]


@pytest.fixture(scope="module")
def sums():
    return tasks.load(BASE)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'search.db'}"


def work(plan, url, sums, **options):
    study = open_study(plan, url, "study")
    Worker(plan, study, sums, **options).work()
    return study


def outcome(study):
    """What a search found, but for times and the numbers of Optuna's trials."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "number")}
        for row in results.rows(study)
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_fills_each_slot_once_and_always_alike(strategy, sums, tmp_path):
    plan = replace(PLAN, strategy=strategy, trials=12 if strategy == "tpe" else 5)
    first, second = (work(plan, f"sqlite:///{tmp_path / name}.db", sums) for name in ("one", "two"))
    assert [row["slot"] for row in results.rows(first)] == list(range(plan.trials))
    assert len(first.trials) == plan.trials
    assert outcome(first) == outcome(second)
    if strategy == "random":
        other = work(replace(plan, seed=1), f"sqlite:///{tmp_path / 'three'}.db", sums)
        assert [row["lr"] for row in outcome(other)] != [row["lr"] for row in outcome(first)]


def test_the_grid_is_every_combination(sums, url):
    plan = replace(PLAN, strategy="grid")
    rows = results.rows(work(plan, url, sums))
    assert [{name: row[name] for name in vars(SPACE)} for row in rows] == SPACE.grid
    assert len(SPACE.grid) == plan.trials == 4


def test_random_stays_within_the_space(sums, url):
    for row in results.rows(work(PLAN, url, sums)):
        assert 1e-3 <= row["lr"] <= 1e-1
        assert row["hidden_size"] in (4, 6)


def test_killed_in_the_middle_it_resumes_to_the_same_result(tmp_path):
    def storage(name):
        return ["--storage", f"sqlite:///{tmp_path / name}.db"]

    whole = CliRunner().invoke(app, [*ARGUMENTS, *storage("whole")])
    killed = [*COMMAND, *storage("killed")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(killed, **quiet) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.05)
            if _running(tmp_path / "killed.db", 2):
                break
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    resumed = CliRunner().invoke(app, [*ARGUMENTS, *storage("killed")])

    def kept(done):
        rows = json.loads(done.stdout)["trials"]
        own = ("slot", "value", "lr", "hidden_size", "layers", "dropout")
        return [{name: row[name] for name in own} for row in rows]

    assert len(kept(whole)) == 8
    assert kept(resumed) == kept(whole)
    assert json.loads(resumed.stdout)["test"] == json.loads(whole.stdout)["test"]


def _running(path, number):
    """Whether trial ``number`` is under way."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        try:
            found = connection.execute("SELECT state FROM trials WHERE number = ?", [number])
        except sqlite3.OperationalError:  # its tables are in the making
            return False
        return found.fetchall() == [("RUNNING",)]


def test_two_workers_share_a_study_and_double_nothing(tmp_path):
    command = [*COMMAND, "--strategy", "random", "--storage", f"sqlite:///{tmp_path / 's'}.db"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    outputs = [json.loads(text) for text, _ in said]
    assert outputs[0]["trials"] == outputs[1]["trials"]
    assert [row["slot"] for row in outputs[0]["trials"]] == list(range(8))
    study = optuna.load_study(
        study_name="adding-gru-random", storage=f"sqlite:///{tmp_path / 's'}.db"
    )
    finished = [t.user_attrs[SLOT] for t in study.trials if t.state is TrialState.COMPLETE]
    assert sorted(finished) == list(range(8))


def test_two_trials_for_one_slot_have_one_owner(sums, url):
    study = open_study(PLAN, url, "study")
    for _ in range(2):  # as if two workers had seen the slot free at the same moment
        study.enqueue_trial({}, user_attrs={SLOT: 0})
    Worker(PLAN, study, sums).work()
    own = [t for t in study.trials if t.user_attrs.get(SLOT) == 0]
    assert [t.state for t in own] == [TrialState.COMPLETE, TrialState.FAIL]
    assert owners(study.trials)[0].number == own[0].number
    assert len(results.rows(study)) == PLAN.trials


def test_a_dead_workers_trial_is_taken_anew_with_its_parameters(sums, url):
    study = open_study(PLAN, url, "study")
    study.enqueue_trial({}, user_attrs={SLOT: 0})
    study.sampler = PLAN.sampler(0)
    dead = study.ask()
    parameters = SPACE.suggest(dead)
    dead.set_user_attr(PULSE, 3)
    Worker(PLAN, study, sums, grace=0.5).work()
    first, *_, last = [t for t in study.trials if t.user_attrs.get(SLOT) == 0]
    assert first.state is TrialState.FAIL
    assert last.state is TrialState.COMPLETE
    assert last.params == parameters


def test_a_result_that_comes_after_the_burial_is_dropped(sums, url):
    study = open_study(PLAN, url, "study")
    study.enqueue_trial({}, user_attrs={SLOT: 0})
    slow = study.ask()
    Worker(PLAN, study, sums, grace=0.3).work()
    study.tell(slow, 123.0, skip_if_finished=True)
    assert all(row["value"] != 123.0 for row in results.rows(study))


@pytest.mark.parametrize(
    ("where", "name"),
    [(worker, "owners"), (Space, "suggest"), (worker.Run, "epoch")],
    ids=["asked", "begun", "trained"],
)
def test_a_worker_taken_for_dead_goes_on_with_the_rest(sums, url, monkeypatch, where, name):
    """One that slept beyond the grace wakes to a trial that is no longer its own."""
    study, other = open_study(PLAN, url, "study"), open_study(PLAN, url, "study")
    plain, buried = getattr(where, name), []

    def buried_meanwhile(*arguments):
        running = [t.number for t in other.get_trials() if t.state is TrialState.RUNNING]
        if running and not buried:
            other.tell(running[0], state=TrialState.FAIL)
            buried.extend(running)
        return plain(*arguments)

    monkeypatch.setattr(where, name, buried_meanwhile)
    Worker(PLAN, study, sums).work()
    assert [t.number for t in study.trials if t.state is TrialState.FAIL] == buried
    assert len(buried) == 1
    assert [row["slot"] for row in results.rows(study)] == list(range(PLAN.trials))


def test_a_slot_that_kills_every_worker_is_given_up(sums, url):
    study = open_study(PLAN, url, "study")
    for _ in range(worker.TRIES):
        study.enqueue_trial({}, user_attrs={SLOT: 0})
        trial = study.ask()
        trial.set_user_attr(PULSE, 1)
        study.tell(trial, state=TrialState.FAIL)
    with pytest.raises(worker.SearchError, match="slot 0 was given up: 5 workers died on it"):
        Worker(PLAN, study, sums).work()


def test_a_trial_that_diverges_has_an_account_and_no_value(sums, url):
    base = replace(BASE, cell="rnn_relu", optimiser="sgd", clip=0.0)
    wild = replace(PLAN, trials=1, base=base, space=replace(SPACE, lr=(1e12,)))
    study = work(wild, url, sums)
    (row,) = results.rows(study)
    assert row["value"] is None
    assert "no clipping" in row["diverged"]
    assert results.best(study) is None


def test_the_test_part_is_not_looked_at_by_a_trial(sums, url, monkeypatch):
    kept, held = tasks.held_out(sums.train, worker.HELD_OUT)
    own = Worker(PLAN, open_study(PLAN, url, "study"), sums)
    assert [id(x) for x in own.task.train.sequences] == [id(x) for x in kept.sequences]
    assert [id(x) for x in own.task.test.sequences] == [id(x) for x in held.sequences]


def test_more_trials_go_on_another_plan_does_not(sums, url):
    work(replace(PLAN, trials=2), url, sums)
    study = work(replace(PLAN, trials=4), url, sums)
    assert len(results.rows(study)) == 4
    with pytest.raises(InputError, match="was begun with another seed: give it another name"):
        open_study(replace(PLAN, trials=4, seed=3), url, "study")
    with pytest.raises(InputError, match="was begun with another trials=4"):
        open_study(replace(PLAN, trials=3), url, "study")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--strategy", "bayes"], "strategy must be one of 'grid', 'random', 'tpe'; got 'bayes'"),
        (["--lr", "fast"], "lr must be numbers, like 0.001,0.003,0.01,0.03; got 'fast'"),
        (["--lr", "-1"], "lr must be a positive number"),
        (["--hidden-size", "4,4"], "hidden_size must be one or more different values"),
        (["--layers", ","], "layers must be one or more different values"),
        (["--trials", "0"], "trials must be at least 1"),
        (["--backend", "onnx"], "backend must be one of"),
        (["--storage", "nosuch://x"], "storage must be a URL that Optuna can open"),
        (["--storage", "sqlite:////nosuch/folder/x.db"], "storage must be a URL that Optuna can"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, sentence):
    result = CliRunner().invoke(app, [*ARGUMENTS, *arguments])
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_without_optuna_the_extra_is_named(monkeypatch):
    from rnnbench.cli import search as command

    monkeypatch.setattr(command, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ARGUMENTS)
    assert result.exit_code == 2
    assert "pip install 'rnnbench[search]'" in result.stderr


def test_the_table_and_what_is_kept(tmp_path):
    storage = ["--storage", f"sqlite:///{tmp_path / 's'}.db"]
    arguments = [one for one in ARGUMENTS if one != "--json"] + ["--trials", "2", *storage]
    result = CliRunner().invoke(app, [*arguments, "--save", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "trained on the whole training part" in result.output
    (path,) = (tmp_path / results.FOLDER).glob("*.jsonl")
    kept = json.loads(path.read_text())
    assert len(kept["trials"]) == 2
    assert kept["best"] in (0, 1)
    assert kept["test"] > 0
