"""A worker takes slots until each slot of the plan has its result; any number share a storage.

A *slot* is one trial that the plan asks for; Optuna's trials are the tries to fill it. A worker
enqueues a trial for a slot that has no live one (waiting, running or finished) and takes the first
that waits. Two may enqueue for the same slot at the same moment: of a slot's live trials the one
with the smallest number owns it, the others are failed before they begin. So no slot is lost, and
none has two results, with nothing but what every storage of Optuna promises: trials are numbered in
order, and only one worker gets a waiting one.

A running trial counts up an attribute every `BEAT` seconds. A worker that has seen no change for
``grace`` seconds, on its own clock, fails the trial, and the slot is taken again with the same
parameters. If the other worker was only suspended, its later writes are refused and it takes
another slot. Clocks of different machines need not agree.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from rnnbench.errors import InputError
from rnnbench.search.plan import Plan, SearchError
from rnnbench.training import tasks
from rnnbench.training.loop import Run
from rnnbench.training.settings import VOWELS
from rnnbench.training.tasks import Task

BEAT, GRACE, POLL = 1.0, 20.0, 0.25
TRIES = 5
"""Workers that may die on the same slot before it is given up."""
HELD_OUT = 5
"""Every fifth training sequence of a class is held out, to score trials by."""
LOCKED_SECONDS = 60
OPENINGS = 20
"""Times that a storage is opened while another worker makes its tables."""
LIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SLOT, PULSE, SECONDS, DIVERGED = "slot", "pulse", "seconds", "diverged"


def open_study(plan: Plan, url: str, name: str) -> optuna.Study:
    """Return the study of that name, made if it is not there.

    Raises InputError for a storage that cannot be opened, or a study of another plan; only the
    number of trials may have grown.
    """
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = {"timeout": LOCKED_SECONDS} if url.startswith("sqlite") else {}
    try:
        storage = _storage(url, arguments)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize" if plan.base.task == VOWELS else "minimize",
            load_if_exists=True,
        )
        kept = study.user_attrs.get("plan")
    except (SQLAlchemyError, ImportError, ValueError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"storage must be a URL that Optuna can open, like sqlite:///search.db; got {url!r}: "
            f"{reason}"
        ) from error
    own = plan.as_dict()
    if kept is not None:
        apart = [part for part in own if part != "trials" and own[part] != kept.get(part)]
        if apart or own["trials"] < kept["trials"]:
            what = ", ".join(apart) or f"trials={kept['trials']}"
            raise InputError(f"study {name!r} was begun with another {what}: give it another name")
    study.set_user_attr("plan", own)
    return study


def _storage(url: str, arguments: dict[str, Any]) -> RDBStorage:
    """Return the storage with its tables; waits while another worker makes them."""
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(OPENINGS):
        try:
            return RDBStorage(url, engine_kwargs={"connect_args": arguments})
        except SQLAlchemyError as error:
            known = str(error).lower()
            making = any(words in known for words in ("already exists", "unique", "duplicate"))
            if not making or attempt + 1 == OPENINGS:
                raise
            time.sleep(2 * POLL)
    raise AssertionError("unreachable")


def owners(trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return slot → the live trial that owns it."""
    found: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda one: one.number):
        if SLOT in trial.user_attrs and trial.state in LIVE:
            found.setdefault(trial.user_attrs[SLOT], trial)
    return found


class Worker:
    """Takes slots of ``plan`` in ``study``; `work` returns when all have their results."""

    def __init__(self, plan: Plan, study: optuna.Study, task: Task, grace: float = GRACE) -> None:
        self.plan, self.study, self.grace = plan, study, grace
        kept, held = tasks.held_out(task.train, HELD_OUT)
        self.task = replace(task, train=kept, test=held)
        self._pulses: dict[int, tuple[Any, float]] = {}

    def work(self, on_progress: Callable[[int], None] = lambda done: None) -> None:
        """Fill slots until all have their results.

        ``on_progress`` gets the number of slots done by all workers. Raises SearchError where a
        slot has killed `TRIES` workers.
        """
        while True:
            trials = self.study.get_trials(deepcopy=False)
            owned = owners(trials)
            done = sum(trial.state in FINISHED for trial in owned.values())
            on_progress(done)
            if done >= self.plan.trials:
                return
            if self._bury(trials):
                continue
            slot = next((n for n in range(self.plan.trials) if n not in owned), None)
            if slot is not None:
                self._enqueue(slot, trials)
            elif not any(trial.state is TrialState.WAITING for trial in owned.values()):
                time.sleep(POLL)  # the rest is with others, who may yet die
                continue
            self._take()

    def _enqueue(self, slot: int, trials: list[FrozenTrial]) -> None:
        """Enqueue a trial for a slot, with the parameters of the one that died on it, if any."""
        tries = [trial for trial in trials if trial.user_attrs.get(SLOT) == slot]
        dead = [trial for trial in tries if PULSE in trial.user_attrs]
        if len(dead) >= TRIES:
            raise SearchError(
                f"slot {slot} was given up: {len(dead)} workers died on it, with {dead[-1].params}"
            )
        whole = set(self.plan.space.grid[0])
        known = [trial.params for trial in tries if set(trial.params) == whole]
        self.study.enqueue_trial(
            known[0] if known else self.plan.fixed(slot), user_attrs={SLOT: slot}
        )

    def _take(self) -> None:
        """Run the first trial that waits, if its slot is still to be filled."""
        trial = self.study.ask()
        slot = trial.user_attrs.get(SLOT)
        owner = owners(self.study.get_trials(deepcopy=False)).get(-1 if slot is None else slot)
        if slot is None or owner is None or owner.number != trial.number:
            self._finish(trial.number, TrialState.FAIL)
            return
        self.study.sampler = self.plan.sampler(slot)
        try:
            with _beating(trial):
                value = self._value(trial)
        except UpdateFinishedTrialError:
            return  # others took this worker for dead and have the slot now
        except BaseException:
            self._finish(trial.number, TrialState.FAIL)
            raise
        if math.isfinite(value):
            self._finish(trial.number, TrialState.COMPLETE, value)
        else:
            self._finish(trial.number, TrialState.PRUNED)

    def _finish(self, number: int, state: TrialState, value: float | None = None) -> None:
        """End a trial, unless another worker has."""
        with suppress(UpdateFinishedTrialError):  # it may have between Optuna's look and its write
            self.study.tell(number, value, state=state, skip_if_finished=True)

    def _value(self, trial: optuna.Trial) -> float:
        """Return the score on the sequences held out; NaN if the run stopped being numbers."""
        settings = self.plan.settings(self.plan.space.suggest(trial))
        run = Run(settings, self.plan.backend, self.task)
        while not run.finished:
            run.epoch()
        if run.curve.divergence is not None:
            trial.set_user_attr(DIVERGED, str(run.curve.divergence))
            return math.nan
        trial.set_user_attr(SECONDS, run.curve.seconds[-1])
        return run.curve.scores[-1]

    def _bury(self, trials: list[FrozenTrial]) -> bool:
        """Fail the running trials whose workers are dead; returns whether there was one."""
        now, found = time.monotonic(), False
        for trial in trials:
            if trial.state is not TrialState.RUNNING:
                continue
            pulse = trial.user_attrs.get(PULSE)
            last, since = self._pulses.setdefault(trial.number, (pulse, now))
            if pulse != last:
                self._pulses[trial.number] = (pulse, now)
            elif now - since > self.grace:
                self._finish(trial.number, TrialState.FAIL)
                found = True
        return found


@contextmanager
def _beating(trial: optuna.Trial) -> Iterator[None]:
    """Count up the trial's pulse while the block runs."""
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                trial.set_user_attr(PULSE, count)
            except UpdateFinishedTrialError:
                return
            stop.wait(BEAT)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
