"""Results of a study: a row for each slot that has one, and the record for the report.

    {"schema", "at", "machine", "versions", "study", "plan", "failed": tries that came to nothing,
     "trials": [{"slot", "number", "value", "lr", "hidden_size", "layers", "dropout", "seconds",
     "diverged"}], "best": slot or null, "test": score of the best on the test part or null}

A record is a line; of the lines of a study the newest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from rnnbench.files import records
from rnnbench.search.plan import Plan
from rnnbench.search.worker import DIVERGED, FINISHED, SECONDS, owners
from rnnbench.training.loop import Run
from rnnbench.training.tasks import Task

FOLDER = "search"


def rows(study: optuna.Study) -> list[dict[str, Any]]:
    """Return the results in the order of their slots."""
    owned = owners(study.get_trials(deepcopy=False))
    return [
        {
            "slot": slot,
            "number": trial.number,
            "value": trial.value if trial.state is TrialState.COMPLETE else None,
            **trial.params,
            "seconds": trial.user_attrs.get(SECONDS),
            "diverged": trial.user_attrs.get(DIVERGED),
        }
        for slot, trial in sorted(owned.items())
        if trial.state in FINISHED
    ]


def best(study: optuna.Study) -> FrozenTrial | None:
    """Return the best of the slots' owners; of equals the one with the smallest slot."""
    owned = sorted(owners(study.get_trials(deepcopy=False)).items())
    found = [trial for _, trial in owned if trial.state is TrialState.COMPLETE]
    if not found:
        return None
    sign = 1.0 if study.direction is optuna.study.StudyDirection.MAXIMIZE else -1.0
    return max(found, key=lambda trial: sign * (trial.value or 0.0))


def tested(plan: Plan, parameters: Mapping[str, Any], task: Task) -> float | None:
    """Return the test score of a run on the whole training part; None if it diverged."""
    run = Run(plan.settings(parameters), plan.backend, task)
    while not run.finished:
        run.epoch()
    return None if run.curve.divergence else run.curve.scores[-1]


def record(plan: Plan, study: optuna.Study, test: float | None) -> dict[str, Any]:
    """Return a study for JSON."""
    trials = study.get_trials(deepcopy=False)
    found = best(study)
    return records.about() | {
        "study": study.study_name,
        "plan": plan.as_dict(),
        "failed": sum(trial.state is TrialState.FAIL for trial in trials),
        "trials": rows(study),
        "best": found and found.user_attrs["slot"],
        "test": test,
    }
